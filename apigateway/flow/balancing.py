"""Which target of an upstream gets an exchange."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from apigateway.config.check_upstreams import target_name
from apigateway.config.model import Target, Upstream
from apigateway.flow.balance_methods import (
    Choice,
    HashRing,
    Method,
    TwoChoices,
    least_connections,
    least_recently_used,
    round_robin,
)
from apigateway.flow.exchange import Exchange
from apigateway.flow.hash_key import CompileText, hash_key
from apigateway.flow.target_state import (
    HealthChange,
    TargetState,
    TargetStates,
    TrafficOutcome,
    report,
)
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
    first; where none is usable, the first usable failover target, in the order written. compile_text: see
    hash_key; ValueError where `hash_on` cannot be made.
    """

    def __init__(
        self, upstream: Upstream, states: TargetStates, random: IRandom,
        compile_text: CompileText | None = None,
    ) -> None:
        self.upstream = upstream
        self._all = [(target, states.of(upstream.name, target)) for target in upstream.targets]
        self.states = tuple(dict.fromkeys(state for _, state in self._all))
        self._primaries = self._choices("primary")
        self._failovers = self._choices("failover")
        self._method = self._make_method(random, compile_text)
        self._by_turn = self._method is least_recently_used
        self._passive = upstream.health.passive

    def pick(self, exchange: Exchange, now: float, tried: Collection[TargetState] = ()) -> TargetState | None:
        """The target for an exchange, or None where none is usable (503).

        tried: those that failed this exchange before; they are taken again only where there is no other one.
        The caller tells the state that the exchange began and ended. A Fault of a hash expression is not held
        back.
        """
        usable: Sequence[Choice] = self._primaries
        for choice in usable:
            if choice.state.out_until > now:
                usable = [choice for choice in usable if choice.state.out_until <= now]
                break
        if tried:
            fresh = [choice for choice in usable if choice.state not in tried]
            if not fresh:
                return self._again(usable, exchange, now, tried)
            usable = fresh
        if not usable:
            return self._failover(now)
        return self._take(usable, exchange, now)

    def report(self, state: TargetState, outcome: TrafficOutcome, now: float) -> HealthChange | None:
        """An attempt ended with this status, or with this word for what went wrong instead; not to be told of
        attempts that the client gave up."""
        passive = self._passive
        if passive is None:
            return None
        if not state.failures and isinstance(outcome, int) and outcome not in passive.statuses:
            return None
        return report(state, outcome, now, passive, spare=self.another((state,), now))

    def check_result(self, state: TargetState, good: bool, why: str, now: float) -> HealthChange | None:
        """An active check of this target ended."""
        return state.check_result(good, why, now, self.upstream.health)

    def another(self, tried: Collection[TargetState], now: float) -> bool:
        """Whether a target is usable that was not tried."""
        return any(
            choice.state.out_until <= now and choice.state not in tried
            for choice in (*self._primaries, *self._failovers)
        )

    def why_not(self, exchange: Exchange, now: float) -> list[TargetVerdict]:
        """Every target, and why it would not get this exchange; changes nothing."""
        chosen = self._peek(exchange, now)
        return [
            TargetVerdict(state, self._reason(target, state, chosen, now)) for target, state in self._all
        ]

    # ---- choosing

    def _take(self, usable: Sequence[Choice], exchange: Exchange, now: float) -> TargetState:
        state = usable[0].state if len(usable) == 1 else self._method(usable, exchange)
        state.last_used = now
        if self._by_turn:
            state.turn = 1 + max(other.turn for other in self.states)
        return state

    def _failover(self, now: float, tried: Collection[TargetState] = ()) -> TargetState | None:
        for choice in self._failovers:
            if choice.state.out_until <= now and choice.state not in tried:
                choice.state.last_used = now
                return choice.state
        return None

    def _again(
        self, usable: Sequence[Choice], exchange: Exchange, now: float, tried: Collection[TargetState]
    ) -> TargetState | None:
        """No fresh primary: a fresh failover target, then a primary once more, then a failover target once
        more."""
        fresh = self._failover(now, tried)
        if fresh is not None:
            return fresh
        return self._take(usable, exchange, now) if usable else self._failover(now)

    # ---- building

    def _choices(self, role: str) -> tuple[Choice, ...]:
        return tuple(
            Choice(state, target.weight)
            for target, state in self._all
            if target.role == role and target.weight
        )

    def _make_method(self, random: IRandom, compile_text: CompileText | None) -> Method:
        balance = self.upstream.balance
        if balance == "consistent-hash":
            return HashRing(self._primaries, hash_key(self.upstream.hash_on, compile_text))
        if balance == "random":
            return TwoChoices(random)
        return {
            "round-robin": round_robin,
            "least-connections": least_connections,
            "least-recently-used": least_recently_used,
        }[balance]

    # ---- explaining

    def _peek(self, exchange: Exchange, now: float) -> TargetState | None:
        kept = [(state, state.current, state.turn, state.last_used) for state in self.states]
        try:
            return self.pick(exchange, now)
        finally:
            for state, current, turn, last_used in kept:
                state.current, state.turn, state.last_used = current, turn, last_used

    def _reason(self, target: Target, state: TargetState, chosen: TargetState | None, now: float) -> str:
        if state is chosen:
            return ""
        if target.weight == 0:
            return "weight 0"
        out = state.out(now)
        if out:
            return out
        if target.role == "failover":
            primary = any(choice.state is chosen for choice in self._primaries)
            return f"failover, and {'a primary' if primary else 'an earlier one'} is usable"
        return f"another one by {self.upstream.balance}"
