"""A circuit breaker of one target: what fails is left alone for a while, then tried with a few exchanges."""

from __future__ import annotations

from math import inf
from typing import Any, Final

from apigateway.config.model import Breaker
from apigateway.flow.failure_window import FailureWindow
from apigateway.text import format_duration

CLOSED: Final = 0
HALF_OPEN: Final = 1
OPEN: Final = 2

NAMES: Final = ("closed", "half-open", "open")

# In the window that opens it, unless the settings say otherwise.
FAILURES: Final = 5


class Ticket:
    """That an attempt was let in, and when: what its result counts for.

    began: monotonic seconds, from which on the target is waited for; infinite while its client still sends.
    generation: of the breaker when it was let in. probe: it holds one of the permits of the half-open state. told: its
    result is known, or it left without one.
    """

    __slots__ = ("began", "generation", "probe", "told")

    def __init__(self, began: float, generation: int = 0, probe: bool = False) -> None:
        self.began = began
        self.generation = generation
        self.probe = probe
        self.told = False


class TargetBreaker:
    """State, and what changes it:

        state      lets in            a failure                    went well                     time
        CLOSED     everyone           counts; too many: OPEN       counts, by percent            the window moves
        OPEN       nobody             changes nothing              changes nothing               open_for: HALF_OPEN
        HALF_OPEN  one per permit     OPEN, for open_for anew      all permits did: CLOSED       -

    A permit is used up by an exchange that goes well, and free again when one leaves without a result, as with its
    client. Each change of state begins a new generation; the result of an exchange that was let in in an earlier one
    says nothing of this one, and changes nothing. OPEN becomes HALF_OPEN when the next exchange is let in, so that
    nothing has to be timed.

    opened: how often it did. why: the last time. It outlives reloads; the number of permits is that of the settings by
    which it became half-open.
    """

    __slots__ = (
        "_failures", "_passed", "_permits", "_running", "_window", "generation", "open_until", "opened", "state", "why",
    )

    def __init__(self) -> None:
        self.state = CLOSED
        self.generation = self.opened = 0
        self.open_until = -inf
        self.why = ""
        self._running = self._passed = self._permits = 0
        # Times of the failures that count towards `failures`, the oldest first; shares have their own window.
        self._failures: list[float] = []
        self._window = FailureWindow()

    @property
    def out_until(self) -> float:
        """Until when nobody is let in: monotonic seconds; infinite while all permits are out, -inf where it is no
        obstacle."""
        if self.state == OPEN:
            return self.open_until
        if self.state == HALF_OPEN and self._running + self._passed >= self._permits:
            return inf
        return -inf

    def seen(self, now: float) -> int:
        """The state as the next exchange will find it."""
        return HALF_OPEN if self.state == OPEN and self.open_until <= now else self.state

    def shown(self, now: float) -> dict[str, Any]:
        """As the management API shows it. open_seconds: how long yet; probes_running: those that hold a permit; why: of
        the last time that it opened."""
        state = self.seen(now)
        return {
            "state": NAMES[state], "open_seconds": round(self.open_until - now, 3) if state == OPEN else 0.0,
            "probes_running": self._running if self.state == HALF_OPEN else 0, "opened": self.opened, "why": self.why,
        }

    def let_in(self, now: float, settings: Breaker) -> Ticket:
        """An exchange goes to the target. Who is sent there past `out_until` takes no permit, and tells nothing."""
        if self.state == OPEN and self.open_until <= now:
            self._to(HALF_OPEN)
            self._running = self._passed = 0
            self._permits = settings.half_open_probes
        probe = self.state == HALF_OPEN and self._running + self._passed < self._permits
        if probe:
            self._running += 1
        return Ticket(now, self.generation, probe)

    def result(self, ticket: Ticket, failure: str, now: float, settings: Breaker) -> bool:
        """What came of an exchange that was let in; failure: "" where it went well. To be told once. Tells whether the
        breaker opened or closed."""
        if ticket.generation != self.generation:
            return False
        if self.state == CLOSED:
            why = self._count(failure, now, settings)
            if why:
                self._open(why, now, settings)
            return bool(why)
        if not ticket.probe:
            return False
        self._running -= 1
        if failure:
            self._open(f"a probe failed: {failure}", now, settings)
            return True
        self._passed += 1
        if self._passed < self._permits:
            return False
        self._to(CLOSED)
        return True

    def left(self, ticket: Ticket) -> None:
        """It is over without a result, that is without one having been told."""
        if ticket.probe and ticket.generation == self.generation:
            self._running -= 1

    def reset(self) -> None:
        """Nobody wants it any more: whoever is let in from now on finds it closed."""
        self._to(CLOSED)

    def out(self, now: float) -> str:
        """Why nobody is let in, for people; "" where somebody is."""
        if self.out_until <= now:
            return ""
        if self.state == OPEN:
            return f"breaker open for {format_duration(round(self.open_until - now, 3))} more: {self.why}"
        return f"breaker half-open: all probes are running ({self._running}), {self._passed} went well"

    def _count(self, failure: str, now: float, settings: Breaker) -> str:
        if settings.percent is not None:
            window = self._window
            window.add(bool(failure), now, settings.window)
            if failure and window.over(settings.percent, settings.minimum):
                return f"{window.failed} of {window.total} failed, the last one: {failure}"
            return ""
        if not failure:
            return ""
        failures = self._failures
        failures.append(now)
        while failures[0] <= now - settings.window:
            del failures[0]
        if len(failures) < (settings.failures or FAILURES):
            return ""
        return f"{len(failures)} failures in {format_duration(settings.window)}, the last one: {failure}"

    def _open(self, why: str, now: float, settings: Breaker) -> None:
        self._to(OPEN)
        self.open_until = now + settings.open_for
        self.opened += 1
        self.why = why

    def _to(self, state: int) -> None:
        self.state = state
        self.generation += 1
        self._failures.clear()
        self._window.clear()
