"""Which target of an upstream gets an exchange."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import ceil, inf

from apigateway.config.check_upstreams import target_name
from apigateway.config.fields import format_percent
from apigateway.config.model import Target, Upstream
from apigateway.flow.balance_methods import (
    Choice,
    HashRing,
    Method,
    TwoChoices,
    in_turn,
    least_connections,
    level,
    round_robin,
)
from apigateway.flow.breaker import Ticket
from apigateway.flow.canary import Canaries, CanaryState
from apigateway.flow.exchange import Exchange
from apigateway.flow.hash_key import CompileText, HashKey, hash_key
from apigateway.flow.members import Member, is_service
from apigateway.flow.sticky import Sticky
from apigateway.flow.target_state import (
    HealthChange,
    TargetState,
    TargetStates,
    TrafficOutcome,
)
from apigateway.flow.timed_methods import Ewma, LeastRecentlyUsed, Rising, TimedMethod
from apigateway.flow.traffic import TrafficHealth
from apigateway.ports.interfaces import IRandom

__all__ = ["Balancer", "HealthChange", "TargetState", "TargetStates", "TargetVerdict", "target_name"]


@dataclass(frozen=True, slots=True)
class TargetVerdict:
    """A target as `explain` shows it. why_not: "" for the one that would be chosen."""

    state: TargetState
    why_not: str


class Balancer:
    """The targets of an upstream, as one revision has them.

    A target is usable while its weight is over 0 and nothing keeps it out (TargetState). Primaries come
    first; where none is usable, the first usable failover target, in the order written. Under `panic_threshold`
    health is ignored: primaries are chosen that checks or traffic keep out. A target that stands
    for a service has the places that `expand` told last. compile_text: see hash_key; ValueError where `hash_on`
    cannot be made.
    """

    def __init__(
        self, upstream: Upstream, states: TargetStates, random: IRandom,
        compile_text: CompileText | None = None,
    ) -> None:
        self.upstream = upstream
        self._states = states
        self._random = random
        consistent = upstream.balance == "consistent-hash"
        self._key: HashKey | None = hash_key(upstream.hash_on, compile_text) if consistent else None
        # By the number of a target: the places of its service, () until they are known.
        self._members: dict[int, Sequence[Member]] = {
            number: () for number, target in enumerate(upstream.targets) if is_service(target)
        }
        self.traffic = TrafficHealth(upstream)
        self._passive = upstream.health.passive
        # Attempts are told of with a ticket (traffic.let_in); asked for each one, so it stands here.
        self.tickets = self.traffic.tickets
        self._panic = upstream.panic_threshold
        roles = {target.role for target in upstream.targets}
        self.canaries: Canaries | None = None
        if "canary" in roles:
            self.canaries = Canaries(upstream.name, upstream.canary, states.beside(upstream.name, CanaryState))
        self.sticky = Sticky(upstream.name, upstream.sticky) if upstream.sticky is not None else None
        self._steered = self.canaries is not None or self.sticky is not None
        self._arrange()

    def expand(self, number: int, members: Sequence[Member]) -> None:
        """The target of this number, which stands for a service, leads to these places from now on."""
        self._members[number] = members
        self._arrange()
        self._level()

    def takes_over(self) -> None:
        """This revision serves from now on."""
        self.traffic.takes_over(self.states)
        self._level()

    def without_places(self) -> list[Target]:
        """The targets that stand for services of which no place is known."""
        return [self.upstream.targets[number] for number, members in self._members.items() if not members]

    def forget(self, state: TargetState) -> None:
        """A place of a service that is not there any more: if it comes again, it is a new one."""
        self._states.forget(state)

    def _arrange(self) -> None:
        """Whatever hangs on which targets there are."""
        name, states = self.upstream.name, self._states
        self._all: list[tuple[Target, TargetState]] = []
        tiers: list[list[Choice]] = []
        for number, target in enumerate(self.upstream.targets):
            of_target: dict[int, list[Choice]] = {}
            for member in self._members.get(number, (Member(target, 0),)):
                state = states.of(name, member.target)
                self._all.append((member.target, state))
                if number in self._members:
                    state.label = target_name(target)
                if member.target.role == "failover" and member.target.weight:
                    of_target.setdefault(member.tier, []).append(Choice(state, member.target.weight))
            tiers += of_target.values()
        self.states = tuple(dict.fromkeys(state for _, state in self._all))
        self._primaries = self._choices("primary")
        self._failovers = tuple(tuple(tier) for tier in tiers)
        self._spare = (*self._primaries, *(choice for tier in tiers for choice in tier))
        self.mirrors = self._choices("mirror")
        if self.canaries is not None:
            self.canaries.arrange(self._choices("canary"), self._primaries)
        if self.sticky is not None:
            self.sticky.arrange(state for target, state in self._all if target.role in ("primary", "canary"))
        self._method = self._make_method()
        self._timed = self._make_timed()

    def _level(self) -> None:
        canaries = () if self.canaries is None else self.canaries.choices
        for choices in (self._primaries, *self._failovers, canaries, self.mirrors):
            level(choices)

    def pick(self, exchange: Exchange, now: float, tried: Collection[TargetState] = ()) -> TargetState | None:
        """The target for an exchange, or None where none is usable (503).

        tried: those that failed this exchange before; they are taken again only where there is no other one.
        The caller tells the state that the exchange began and ended. A Fault of a hash expression is not held
        back.
        """
        if self._steered:
            steered = self._steer(exchange, now, tried)
            if steered is not None:
                return steered
        usable: Sequence[Choice] = self._primaries
        for choice in usable:
            if choice.state.out_until > now:
                usable = [choice for choice in usable if choice.state.out_until <= now]
                if self._panic and self.panics(now):
                    usable = [choice for choice in self._primaries if choice.state.ignoring_health(now)]
                break
        if tried:
            fresh = [choice for choice in usable if choice.state not in tried]
            if not fresh:
                return self._again(usable, exchange, now, tried)
            usable = fresh
        if not usable:
            return self._failover(exchange, now)
        return self._take(usable, exchange, now)

    def report(
        self, state: TargetState, outcome: TrafficOutcome, now: float, ticket: Ticket | None = None
    ) -> HealthChange | None:
        """An attempt ended with this status, or with this word for what went wrong instead; not to be told of
        attempts that the client gave up. ticket: what it was let in with, where the balancer wants `tickets`."""
        change: HealthChange | None = None
        passive = self._passive
        if ticket is not None or (passive is not None and (
            state.failures or not isinstance(outcome, int) or outcome in passive.statuses
        )):
            change = self.traffic.result(state, outcome, now, ticket, self._may_be_put_aside)
        canaries = self.canaries
        if canaries is not None:
            canaries.report(state, outcome, now)
            if change is None:
                change = canaries.take_news()
        return change

    def check_result(self, state: TargetState, good: bool, why: str, now: float) -> HealthChange | None:
        """An active check of this target ended."""
        return state.check_result(good, why, now, self.upstream.health)

    def another(self, tried: Collection[TargetState], now: float) -> bool:
        """Whether a target is usable that was not tried."""
        return any(
            choice.state.out_until <= now and choice.state not in tried
            for choice in self._spare
        )

    def panics(self, now: float) -> bool:
        """Whether so few targets are usable that health is ignored: those that are left would only follow."""
        usable = sum([choice.state.out_until <= now for choice in self._spare])
        return usable < self._panic * len(self._spare)

    def retry_after(self, now: float) -> int:
        """Whole seconds until the next target may be usable, as far as that is known; 1 where it is not."""
        ends = [choice.state.out_until - now for choice in self._spare if choice.state.out_until < inf]
        return max(1, ceil(min(ends, default=1.0)))

    def why_not(self, exchange: Exchange, now: float) -> list[TargetVerdict]:
        """Every target, and why it would not get this exchange; changes nothing."""
        chosen = self._peek(exchange, now)
        return [
            TargetVerdict(state, self._reason(target, state, chosen, now)) for target, state in self._all
        ]

    # ---- choosing

    def _steer(self, exchange: Exchange, now: float, tried: Collection[TargetState]) -> TargetState | None:
        """The target that the client had before, or the canary that gets this exchange; None: any primary may."""
        canaries = self.canaries
        if self.sticky is not None:
            state = self.sticky.target(exchange)
            if state is not None and state.stays(now) and state not in tried and not (
                canaries is not None and canaries.has(state) and canaries.cools(now)
            ):
                state.last_used = now
                return state
        return canaries.pick(exchange, now) if canaries is not None and not tried else None

    def _take(self, usable: Sequence[Choice], exchange: Exchange, now: float) -> TargetState:
        if self._timed is not None:
            state = self._timed(usable, exchange, now)
        else:
            state = usable[0].state if len(usable) == 1 else self._method(usable, exchange)
        state.last_used = now
        return state

    def _may_be_put_aside(self, state: TargetState, now: float) -> bool:
        """The last usable target never is: nothing would be served at all. Nor is one while `max_aside` are."""
        if self._passive is None or not self.another((state,), now):
            return False
        aside = sum([choice.state.aside_until > now for choice in self._spare])
        return aside < self._passive.max_aside * len(self._spare)

    def _failover(
        self, exchange: Exchange, now: float, tried: Collection[TargetState] = ()
    ) -> TargetState | None:
        for tier in self._failovers:
            state = in_turn(tier, exchange, now, tried)
            if state is not None:
                return state
        return None

    def _again(
        self, usable: Sequence[Choice], exchange: Exchange, now: float, tried: Collection[TargetState]
    ) -> TargetState | None:
        """No fresh primary: a fresh failover target, then a primary once more, then a failover target once
        more."""
        fresh = self._failover(exchange, now, tried)
        if fresh is not None:
            return fresh
        return self._take(usable, exchange, now) if usable else self._failover(exchange, now)

    # ---- building

    def _choices(self, role: str) -> tuple[Choice, ...]:
        return tuple(
            Choice(state, target.weight)
            for target, state in self._all
            if target.role == role and target.weight
        )

    def _make_method(self) -> Method:
        balance = self.upstream.balance
        if self._key is not None:
            return HashRing(self._primaries, self._key)
        if balance == "random":
            return TwoChoices(self._random)
        return least_connections if balance == "least-connections" else round_robin

    def _make_timed(self) -> TimedMethod | None:
        """The way to balance, where it looks at the clock."""
        timed: TimedMethod | None = None
        if self.upstream.balance == "ewma":
            timed = Ewma(self._random)
        elif self.upstream.balance == "least-recently-used":
            return LeastRecentlyUsed(self.states)
        if self.upstream.slow_start is None or self._key is not None:
            return timed
        return Rising(self.upstream.slow_start, self._method, timed)

    # ---- explaining

    def _peek(self, exchange: Exchange, now: float) -> TargetState | None:
        kept = [(state, state.current, state.turn, state.last_used, state.rising_since) for state in self.states]
        steered, self._steered = self._steered, False
        try:
            if self.sticky is not None:
                self.sticky.begin(exchange, now)
                state = self.sticky.target(exchange)
                if state is not None and state.stays(now):
                    return state
            return self.pick(exchange, now)
        finally:
            self._steered = steered
            for state, current, turn, last_used, rising_since in kept:
                state.current, state.turn, state.last_used, state.rising_since = current, turn, last_used, rising_since

    def _reason(self, target: Target, state: TargetState, chosen: TargetState | None, now: float) -> str:
        if state is chosen:
            return ""
        if target.weight == 0:
            return "weight 0"
        out = state.out(now)
        if out:
            return out
        if target.role == "mirror":
            return "mirror: gets copies only"
        if target.role == "canary" and self.canaries is not None:
            share = format_percent(self.upstream.canary.percent)
            return self.canaries.out(now) or f"canary: gets {share} of the exchanges"
        if target.role == "failover":
            primary = any(choice.state is chosen for choice in self._primaries)
            return f"failover, and {'a primary' if primary else 'an earlier one'} is usable"
        return f"another one by {self.upstream.balance}"
