"""What operators read of a server that does not answer: when it began, that it goes on, and when it is over."""

from __future__ import annotations

from collections.abc import Callable

from apigateway.ports.interfaces import IEventLog

# Seconds from one line to the next.
INTERVAL = 30.0


class Outage:
    """Writes a line when an outage begins and one when it ends; and, however often that happens and however long it
    lasts, no more than one such pair in an interval.

    where: which server, without a password. out, back: what is said. missed: what has been decided without it so far.
    """

    def __init__(
        self, events: IEventLog, now: Callable[[], float], where: str, out: str, back: str,
        missed: Callable[[], int] = lambda: 0,
    ) -> None:
        self._events, self._now, self._where = events, now, where
        self._out, self._back, self._missed = out, back, missed
        self._told_at = -INTERVAL
        self._told = False
        self._began = now()
        self._missed_before = 0

    def began(self, why: str) -> None:
        """From now on there is no answer."""
        if not self._told:
            self._began = self._now()
        self.goes_on(why)

    def goes_on(self, why: str) -> None:
        """One more attempt has failed."""
        now = self._now()
        if now - self._told_at >= INTERVAL:
            self._told_at, self._told = now, True
            self._say("error", self._out, why=why)

    def ended(self) -> None:
        """It answers again."""
        if self._told:
            self._told = False
            self._say("info", self._back, seconds=round(self._now() - self._began, 3))
            self._missed_before = self._missed()

    def _say(self, level: str, message: str, **fields: object) -> None:
        missed = self._missed() - self._missed_before
        self._events.event(level, message, state=self._where, decided_without=missed, **fields)
