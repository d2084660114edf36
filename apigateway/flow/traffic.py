"""What traffic itself says of targets: passive health, breakers, latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from apigateway.config.model import PassiveHealth, Upstream
from apigateway.flow.breaker import Ticket
from apigateway.flow.failure_window import FailureWindow
from apigateway.flow.target_state import HealthChange, TargetState, TrafficOutcome
from apigateway.flow.timed_methods import FAILED, observe

# Answers that count as slow where no settings say which ones are failures.
_FAILURES: Final = (502, 503, 504)


class TrafficHealth:
    """Learns from the results of attempts, by the settings of one revision.

    Passive health puts aside who fails `failures` times in a row, or, by `percent`, too large a share of the window
    (outlier ejection). It prefers others, so it ends by itself, stops at `max_aside` and spares the last one that is
    left. A breaker protects the target: it opens on the last one as well. Where there is one, failures in a row are its
    business, and passive health looks at shares only.

    An exchange that the client gave up says nothing of the target's health. tickets: attempts have to be let
    in with one.
    """

    def __init__(self, upstream: Upstream) -> None:
        self.passive = upstream.health.passive
        self._breaker = upstream.breaker
        self._timed = upstream.balance == "ewma"
        by_share = self.passive is not None and self.passive.percent is not None
        self.tickets = self._breaker is not None or self._timed or by_share

    def takes_over(self, targets: Sequence[TargetState]) -> None:
        """This revision serves from now on."""
        for target in targets:
            target.unlearn(breaker=self._breaker is None, passive=self.passive is None)

    def let_in(self, target: TargetState, now: float) -> Ticket:
        """An attempt at this target begins."""
        return Ticket(now) if self._breaker is None else target.let_in(now, self._breaker)

    def left(self, target: TargetState, ticket: Ticket, now: float) -> None:
        """The attempt is over. Where it left without a result, its permit is free again, and of its time so much is
        known: the target took longer."""
        if ticket.told:
            return
        ticket.told = True
        target.left(ticket)
        if self._timed and now - ticket.began > target.latency:
            observe(target, now - ticket.began, now)

    def result(
        self, target: TargetState, outcome: TrafficOutcome, now: float, ticket: Ticket | None,
        may_be_put_aside: Callable[[TargetState, float], bool],
    ) -> HealthChange | None:
        """An attempt ended so; what operators want to read of it. may_be_put_aside(target, now): whether the upstream
        can do without it; not kept, since who gives it has this."""
        change: HealthChange | None = None
        if ticket is not None and not ticket.told:
            ticket.told = True
            if self._timed:
                self._observe(target, outcome, now - ticket.began, now)
            breaker = self._breaker
            if breaker is not None:
                failure = str(outcome) if _failed(outcome, breaker.statuses) else ""
                change = target.breaker_result(ticket, failure, now, breaker)
        passive = self.passive
        if passive is None:
            return change
        other = self._passively(target, outcome, now, passive, may_be_put_aside)
        return other if change is None else change

    def _observe(self, target: TargetState, outcome: TrafficOutcome, seconds: float, now: float) -> None:
        """seconds: negative where it did not wait for the end of the request, which tells nothing of its speed."""
        if self._slow(outcome):
            observe(target, max(FAILED, seconds), now)
        elif seconds >= 0.0:
            observe(target, seconds, now)

    def _slow(self, outcome: TrafficOutcome) -> bool:
        if self._breaker is not None:
            return _failed(outcome, self._breaker.statuses)
        return _failed(outcome, self.passive.statuses if self.passive is not None else _FAILURES)

    def _passively(
        self, target: TargetState, outcome: TrafficOutcome, now: float, passive: PassiveHealth,
        may_be_put_aside: Callable[[TargetState, float], bool],
    ) -> HealthChange | None:
        failed = _failed(outcome, passive.statuses)
        why = ""
        if passive.percent is not None and target.aside_until <= now:
            # What was begun before and ends meanwhile would put it aside again as soon as it is back.
            if target.window is None:
                target.window = FailureWindow()
            window = target.window
            window.add(failed, now, passive.window)
            if failed and window.over(passive.percent, passive.minimum):
                why = f"{window.failed} of {window.total} failed, the last one: {outcome}"
        if not failed:
            return target.went_well(f"answered {outcome}", now)
        # Not reset when it is put aside: after its return the next failure is enough, until one exchange goes well.
        target.failures += 1
        if self._breaker is None and target.failures >= passive.failures:
            why = f"{target.failures} failures in a row, the last one: {outcome}"
        if not why or target.out_until > now or not may_be_put_aside(target, now):
            return None
        if target.window is not None:
            target.window.clear()
        seconds = target.next_time_aside(now, passive.aside_for, passive.longest)
        return target.put_aside(now + seconds, now, why)


def _failed(outcome: TrafficOutcome, statuses: Sequence[int]) -> bool:
    return not isinstance(outcome, int) or outcome in statuses
