"""What is known of a target at this moment. It outlives reloads; the balancers of all revisions look at the
same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Literal

from apigateway.config.check_upstreams import target_name
from apigateway.config.model import Health, PassiveHealth, Target
from apigateway.text import format_duration


@dataclass(frozen=True, slots=True)
class HealthChange:
    """Something an operator wants to read. state: what the target is from now on; "back": traffic went well
    again after it had been put aside."""

    upstream: str
    target: str
    state: Literal["healthy", "unhealthy", "aside", "back"]
    why: str


class TargetState:
    """One target of one upstream.

    A target is chosen while none of three things keeps it out, each with its own way back:
      unhealthy  active checks failed `unhealthy_after` times; `healthy_after` good ones bring it back
      aside      traffic failed too often; it ends by itself at `aside_until`
      draining   an operator said so; an operator takes it back
    `out_until` is the three in one number, so that a choice costs one comparison.

    active: exchanges running, never below 0. why, since: of the last change of health, since in monotonic
    seconds. failures: of traffic, in a row. last_used: monotonic seconds of the last choice; turn: its
    number, rising, since many choices fall into one reading of the clock. current: running weight of the
    smooth round robin. checkers: who asks it actively now; those of two revisions may overlap.
    """

    __slots__ = (
        "_aside_until", "_checks_bad", "_checks_good", "_draining", "_healthy", "active", "checkers", "current",
        "failures", "last_used", "name", "out_until", "since", "turn", "upstream", "url", "why",
    )

    def __init__(self, upstream: str, name: str, url: str) -> None:
        self.upstream, self.name, self.url = upstream, name, url
        self.active = self.failures = self.turn = self.current = self.checkers = 0
        self.last_used = self.since = 0.0
        self.why = ""
        self.out_until = -inf
        self._healthy, self._draining, self._aside_until = True, False, -inf
        self._checks_good = self._checks_bad = 0

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
        self._weigh_up()

    def put_aside(self, until: float, now: float, why: str) -> HealthChange:
        """Choose it no more until then."""
        self._aside_until = until
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

    def check_result(self, good: bool, why: str, now: float, settings: Health) -> HealthChange | None:
        """An active check ended; tells when that turns its health."""
        if good:
            self._checks_good, self._checks_bad = self._checks_good + 1, 0
            if self._healthy or self._checks_good < settings.healthy_after:
                return None
            # Checked and found good: what traffic said of it before is old.
            self._healthy, self._aside_until, self.failures = True, -inf, 0
        else:
            self._checks_bad, self._checks_good = self._checks_bad + 1, 0
            if not self._healthy or self._checks_bad < settings.unhealthy_after:
                return None
            self._healthy = False
        self._changed(why, now)
        return HealthChange(self.upstream, self.name, "healthy" if self._healthy else "unhealthy", why)

    def unchecked(self, now: float) -> HealthChange | None:
        """Active checks are no longer asked for: without them it would stay unhealthy for ever."""
        self._checks_good = self._checks_bad = 0
        if self._healthy:
            return None
        self._healthy = True
        self._changed("no longer checked", now)
        return HealthChange(self.upstream, self.name, "healthy", self.why)

    def out(self, now: float) -> str:
        """Why it is not chosen, for people; "" where nothing keeps it out."""
        if self._draining:
            return "draining"
        if not self._healthy:
            return f"unhealthy: {self.why}"
        if self._aside_until > now:
            return f"put aside for {format_duration(round(self._aside_until - now, 3))} more: {self.why}"
        return ""

    def _changed(self, why: str, now: float) -> None:
        self.why, self.since = why, now
        self._weigh_up()

    def _weigh_up(self) -> None:
        self.out_until = self._aside_until if self._healthy and not self._draining else inf

    def __repr__(self) -> str:
        return f"TargetState({self.upstream}/{self.name} {self.url})"


# A status, or what went wrong instead: a reason of `retry_on`, or any other word.
TrafficOutcome = int | str


def report(
    state: TargetState, outcome: TrafficOutcome, now: float, settings: PassiveHealth, *, spare: bool
) -> HealthChange | None:
    """Traffic to a target ended; passive health learns from it.

    An exchange that the client gave up says nothing of the target and is not reported (RC-O12). spare:
    another target could be chosen; the last one is never put aside, since then nothing would be served at
    all.
    """
    if isinstance(outcome, int) and outcome not in settings.statuses:
        return state.went_well(f"answered {outcome}", now)
    # Not reset when it is put aside: after its return the next failure is enough, until one exchange goes
    # well.
    state.failures += 1
    if state.failures < settings.failures or not spare or state.out_until > now:
        return None
    why = f"{state.failures} failures in a row, the last one: {outcome}"
    return state.put_aside(now + settings.aside_for, now, why)


class TargetStates:
    """The states of a worker, by upstream, target and url: a target with another url is another one."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str, str], TargetState] = {}

    def of(self, upstream: str, target: Target) -> TargetState:
        """The state of a configured target; made where there is none."""
        name = target_name(target)
        key = (upstream, name, target.url)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = TargetState(upstream, name, target.url)
        return state

    def keep(self, states: Iterable[TargetState]) -> None:
        """Forget all others: to be called with those of every revision still in use."""
        kept = set(states)
        self._states = {key: state for key, state in self._states.items() if state in kept}

    @property
    def all(self) -> tuple[TargetState, ...]:
        """Those that are known."""
        return tuple(self._states.values())
