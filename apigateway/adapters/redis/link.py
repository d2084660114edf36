"""The link of a worker to the shared state: one connection while there is one, and a refusal at once while not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from twisted.internet.defer import Deferred

from apigateway.adapters.redis.connection import Counts, RedisConnection
from apigateway.adapters.redis.keeping import KeptConnection
from apigateway.adapters.redis.outage import Outage
from apigateway.adapters.redis.scripts import Script
from apigateway.ports.interfaces import IRandom, ITimers, StoreUnavailable


class RedisLink:
    """Asks a server. The circuit is closed while there is a connection that is ready; from its loss (or three failures
    in a row, see RedisConnection) until there is another one it is open: commands are refused, not kept, so that a
    server that comes back finds no queue.

    dial: makes a connection that is ready. counts: also those of its connections.
    """

    def __init__(
        self, dial: Callable[[], Deferred[RedisConnection]], timers: ITimers, now: Callable[[], float],
        random: IRandom, counts: Counts, outage: Outage,
    ) -> None:
        self.counts = counts
        self._now, self._outage = now, outage
        self._connection: RedisConnection | None = None
        self._kept = KeptConnection(
            dial, timers, now, random, ready=self._ready, gone=self._gone, failed=self._in_vain
        )
        self._first: Deferred[None] | None = None
        # Why there is no connection; since when it is as it is, monotonic seconds; how often the circuit opened.
        self.why = "it was not reached yet"
        self.since = now()
        self.openings = 0

    @property
    def connected(self) -> bool:
        """Whether the circuit is closed."""
        return self._connection is not None

    def start(self) -> Deferred[None]:
        """Begin to connect. Fires after the first attempt, whatever came of it."""
        first: Deferred[None] = Deferred()
        self._first = first
        self._kept.start()
        return first

    def close(self) -> None:
        """End; what is waited for fails."""
        self._kept.close()
        self._tell_first()

    # ---- asking

    def call(self, *arguments: bytes) -> Deferred[Any]:
        """One command. Raises StoreUnavailable at once while the circuit is open, or fails with it; or with StoreError
        where the command is wrong."""
        connection = self._connection
        if connection is None:
            self._refuse()
        return connection.call(*arguments)

    def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Deferred[Any]:
        """A script, which is never run twice; else as `call`."""
        connection = self._connection
        if connection is None:
            self._refuse()
        return connection.run(script, keys, arguments)

    def _refuse(self) -> NoReturn:
        self.counts.without += 1
        raise StoreUnavailable(self.why)

    # ---- the connection

    def _ready(self, connection: RedisConnection) -> None:
        self._connection = connection
        self.since, self.why = self._now(), ""
        self._outage.ended()
        self._tell_first()

    def _gone(self, why: str) -> None:
        self._connection = None
        self.since, self.why = self._now(), why
        self.openings += 1
        if not self._kept.closed:
            self._outage.began(why)

    def _in_vain(self, why: str) -> None:
        self.why = why
        self._outage.goes_on(why)
        self._tell_first()

    def _tell_first(self) -> None:
        first, self._first = self._first, None
        if first is not None:
            first.callback(None)
