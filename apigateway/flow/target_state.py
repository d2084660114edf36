"""What is known of a target at this moment. It outlives reloads; the balancers of all revisions look at the
same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, Literal, TypeVar

from apigateway.config.check_upstreams import target_name
from apigateway.config.model import Breaker, Health, Target
from apigateway.flow.breaker import TargetBreaker, Ticket
from apigateway.flow.failure_window import FailureWindow
from apigateway.text import format_duration

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HealthChange:
    """Something an operator wants to read. state: what the target is from now on; "back": traffic went well
    again after it had been put aside; "open", "closed": its breaker is."""

    upstream: str
    target: str
    state: Literal["healthy", "unhealthy", "aside", "back", "cooling", "open", "closed"]
    why: str


class TargetState:
    """One target of one upstream.

    A target is chosen while none of four things keeps it out. Each has its own way back:
      unhealthy  active checks failed `unhealthy_after` times; `healthy_after` good ones bring it back
      aside      traffic failed too often, and others can do without it; ends by itself at `aside_until`
      open       its breaker is: traffic failed too often; time makes it half-open, and probes that go well close it
      draining   an operator said so; an operator takes it back
    `out_until` is the four in one number, so that a choice costs one comparison.

    active: exchanges running, never below 0. why, since: of the last change of health, since in monotonic
    seconds. failures: of traffic, in a row. last_used: monotonic seconds of the last choice; turn: its
    number, rising, since many choices fall into one reading of the clock. current: running weight of the
    smooth round robin. rising_since: when it was first seen by a slow start since it was out, or -inf.
    latency: of response heads, seconds, as it was at latency_at; negative while not known. asides: how often it was
    put aside. window: what passive health counts by share, else None. checkers: who asks it actively now; those of
    two revisions may overlap. label: what its attempts are counted under: its name, or the target's whose service it
    is a place of, since such places come and go.
    """

    __slots__ = (
        "_aside_until", "_checks_bad", "_checks_good", "_draining", "_healthy", "_last_aside", "_times", "_why_aside",
        "_why_unhealthy", "active", "asides", "breaker", "checkers", "current", "failures", "label", "last_used",
        "latency", "latency_at", "name", "out_until", "rising_since", "since", "turn", "upstream", "url", "why",
        "window",
    )

    def __init__(self, upstream: str, name: str, url: str) -> None:
        self.upstream, self.name, self.url, self.label = upstream, name, url, name
        self.active = self.failures = self.turn = self.current = self.checkers = 0
        self.last_used = self.since = 0.0
        self.why = self._why_aside = self._why_unhealthy = ""
        self.out_until = -inf
        self._healthy, self._draining, self._aside_until = True, False, -inf
        self._checks_good = self._checks_bad = 0
        # How often it was put aside since it last did well for long, when the last time was to end, and in all.
        self._times, self._last_aside, self.asides = 0, -inf, 0
        self.breaker: TargetBreaker | None = None
        self.window: FailureWindow | None = None
        self.rising_since = -inf
        self.latency, self.latency_at = -1.0, 0.0

    @property
    def healthy(self) -> bool:
        """As active checks say; True until checked."""
        return self._healthy

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def aside_until(self) -> float:
        """Monotonic seconds; in the past, or -inf, where it is not put aside."""
        return self._aside_until

    def began(self) -> None:
        """An exchange goes to this target."""
        self.active += 1

    def ended(self) -> None:
        """An exchange with this target is over, however it ended."""
        if self.active > 0:
            self.active -= 1

    def drain(self, draining: bool) -> None:
        """Choose it no more, or again; what runs goes on."""
        self._draining = draining
        self.rising_since = -inf
        self._weigh_up()

    def next_time_aside(self, now: float, seconds: float, longest: float) -> float:
        """How long it is to be put aside now: `seconds`, longer by as much each further time, up to `longest`. Each
        `seconds` that passed since the last time take one time off."""
        rested = (now - self._last_aside) / seconds
        self._times = 1 + (max(0, self._times - int(rested)) if rested < self._times else 0)
        return max(seconds, min(seconds * self._times, longest))

    def put_aside(self, until: float, now: float, why: str) -> HealthChange:
        """Choose it no more until then."""
        self._aside_until = self._last_aside = until
        self._why_aside = why
        self.asides += 1
        self.rising_since = -inf
        self._changed(why, now)
        return HealthChange(self.upstream, self.name, "aside", why)

    def went_well(self, why: str, now: float) -> HealthChange | None:
        """Traffic succeeded. What was begun before it was put aside and ends well meanwhile does not cut that
        short."""
        self.failures = 0
        if not -inf < self._aside_until <= now:
            return None
        self._aside_until = -inf
        self._changed(why, now)
        return HealthChange(self.upstream, self.name, "back", why)

    def let_in(self, now: float, settings: Breaker) -> Ticket:
        """An attempt passes its breaker."""
        if self.breaker is None:
            self.breaker = TargetBreaker()
        ticket = self.breaker.let_in(now, settings)
        self._weigh_up()
        return ticket

    def breaker_result(self, ticket: Ticket, failure: str, now: float, settings: Breaker) -> HealthChange | None:
        """See TargetBreaker.result."""
        breaker = self.breaker
        if breaker is None or not breaker.result(ticket, failure, now, settings):
            self._weigh_up()
            return None
        if failure:
            self._changed(breaker.why, now)
            return HealthChange(self.upstream, self.name, "open", breaker.why)
        self.rising_since = -inf
        self._changed("its probes went well", now)
        return HealthChange(self.upstream, self.name, "closed", self.why)

    def left(self, ticket: Ticket) -> None:
        """See TargetBreaker.left."""
        if self.breaker is not None:
            self.breaker.left(ticket)
            self._weigh_up()

    def unlearn(self, *, breaker: bool, passive: bool) -> None:
        """A revision came that has no breaker, or no passive health: what these said keeps it out no longer."""
        if breaker and self.breaker is not None:
            self.breaker.reset()
        if passive:
            self._aside_until, self.failures = -inf, 0
        self._weigh_up()

    def check_result(self, good: bool, why: str, now: float, settings: Health) -> HealthChange | None:
        """An active check ended; tells when that turns its health."""
        if good:
            self._checks_good, self._checks_bad = self._checks_good + 1, 0
            if self._healthy or self._checks_good < settings.healthy_after:
                return None
            # Checked and found good: what traffic said of it before is old.
            self._healthy, self._aside_until, self.failures = True, -inf, 0
            self.rising_since = -inf
        else:
            self._checks_bad, self._checks_good = self._checks_bad + 1, 0
            if not self._healthy or self._checks_bad < settings.unhealthy_after:
                return None
            self._healthy, self._why_unhealthy = False, why
        self._changed(why, now)
        return HealthChange(self.upstream, self.name, "healthy" if self._healthy else "unhealthy", why)

    def unchecked(self, now: float) -> HealthChange | None:
        """Active checks are no longer asked for: without them it would stay unhealthy for ever."""
        self._checks_good = self._checks_bad = 0
        if self._healthy:
            return None
        self._healthy = True
        self.rising_since = -inf
        self._changed("no longer checked", now)
        return HealthChange(self.upstream, self.name, "healthy", self.why)

    def out(self, now: float) -> str:
        """Why it is not chosen, for people; "" where nothing keeps it out."""
        if self._draining:
            return "draining"
        if not self._healthy:
            return f"unhealthy: {self._why_unhealthy}"
        if self._aside_until > now:
            return f"put aside for {format_duration(round(self._aside_until - now, 3))} more: {self._why_aside}"
        return self.breaker.out(now) if self.breaker is not None else ""

    def _changed(self, why: str, now: float) -> None:
        self.why, self.since = why, now
        self._weigh_up()

    def stays(self, now: float) -> bool:
        """Whether clients may stay with it: draining keeps new ones away only."""
        return self._not_well_until() <= now

    def ignoring_health(self, now: float) -> bool:
        """Whether it may be chosen by who ignores what checks and traffic said (panic). Not while its breaker or an
        operator keeps it out."""
        return not self._draining and (self.breaker is None or self.breaker.out_until <= now)

    def _not_well_until(self) -> float:
        if not self._healthy:
            return inf
        return self._aside_until if self.breaker is None else max(self._aside_until, self.breaker.out_until)

    def _weigh_up(self) -> None:
        self.out_until = inf if self._draining else self._not_well_until()

    def __repr__(self) -> str:
        return f"TargetState({self.upstream}/{self.name} {self.url})"


# A status, or what went wrong instead: a reason of `retry_on`, or any other word.
TrafficOutcome = int | str


class TargetStates:
    """The states of a worker, by upstream, target and url: a target with another url is another one."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str, str], TargetState] = {}
        self._beside: dict[tuple[str, type[Any]], Any] = {}

    def of(self, upstream: str, target: Target) -> TargetState:
        """The state of a configured target; made where there is none."""
        name = target_name(target)
        key = (upstream, name, target.url)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = TargetState(upstream, name, target.url)
        return state

    def beside(self, upstream: str, kind: type[T]) -> T:
        """What else is known of an upstream, and outlives reloads as its targets' states do: the one thing of this
        kind."""
        key = (upstream, kind)
        if key not in self._beside:
            self._beside[key] = kind()
        thing: T = self._beside[key]
        return thing

    def keep(self, states: Iterable[TargetState]) -> None:
        """Forget all others: to be called with those of every revision still in use."""
        kept = set(states)
        self._states = {key: state for key, state in self._states.items() if state in kept}
        names = {state.upstream for state in kept}
        self._beside = {key: thing for key, thing in self._beside.items() if key[0] in names}

    def forget(self, state: TargetState) -> None:
        """Forget one."""
        self._states.pop((state.upstream, state.name, state.url), None)

    @property
    def all(self) -> tuple[TargetState, ...]:
        """Those that are known."""
        return tuple(self._states.values())
