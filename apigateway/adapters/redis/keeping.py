"""One connection, kept: made anew whenever it is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from apigateway.adapters.redis.connection import RedisConnection
from apigateway.ports.interfaces import IRandom, ITimers

# Seconds from one attempt to the next: the first pause, and the longest. An attempt takes up to another second, and
# within two seconds a server that is back is to be used again.
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 1.0
# A connection that lasted so long was a good one: its server restarts, or closes what is idle. Another one is tried
# nearly at once.
GOOD_FOR: Final = 1.0
SHORT_PAUSE: Final = 0.05


class KeptConnection:
    """Dials until there is a connection, and again when it is lost. Pauses grow, and are uneven, so that the workers
    of an environment do not come all at once.

    ready(connection), gone(why): in turn. failed(why): an attempt was in vain.
    """

    def __init__(
        self, dial: Callable[[], Deferred[RedisConnection]], timers: ITimers, now: Callable[[], float],
        random: IRandom, *, ready: Callable[[RedisConnection], None], gone: Callable[[str], None],
        failed: Callable[[str], None],
    ) -> None:
        self._dial, self._timers, self._now, self._random = dial, timers, now, random
        self._ready, self._gone, self._failed = ready, gone, failed
        self._connection: RedisConnection | None = None
        self._attempt: Deferred[Any] | None = None
        self._again: Any = None
        self._pause = FIRST_PAUSE
        self._since = 0.0
        self.closed = False

    def start(self) -> None:
        """Begin to connect."""
        self._again = None
        attempt = self._attempt = self._dial()
        attempt.addCallbacks(self._reached, self._not_reached)

    def close(self) -> None:
        """End. `gone` is called where it was ready."""
        self.closed = True
        if self._again is not None:
            self._again.cancel()
        if self._attempt is not None:
            self._attempt.cancel()
        if self._connection is not None:
            self._connection.end("it is not needed any more")

    def _reached(self, connection: RedisConnection) -> None:
        self._attempt = None
        if self.closed:
            connection.end("it is not needed any more")
        elif connection.over:
            self._in_vain("the connection was lost")
        else:
            connection.on_lost = self._lost
            self._connection, self._since = connection, self._now()
            self._ready(connection)

    def _not_reached(self, failure: Failure) -> None:
        self._attempt = None
        if not self.closed:
            self._in_vain(failure.getErrorMessage())

    def _in_vain(self, why: str) -> None:
        self._start_in(self._pause)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        self._failed(why)

    def _lost(self, connection: RedisConnection, why: str) -> None:
        self._connection = None
        if not self.closed:
            if self._now() - self._since >= GOOD_FOR:
                self._pause = FIRST_PAUSE
                self._start_in(SHORT_PAUSE)
            else:
                self._start_in(self._pause)
                self._pause = min(LONGEST_PAUSE, self._pause * 2)
        self._gone(why)

    def _start_in(self, seconds: float) -> None:
        self._again = self._timers.call_later(seconds * (0.75 + 0.25 * self._random.random()), self.start)
