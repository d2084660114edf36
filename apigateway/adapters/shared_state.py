"""What a worker shares with others, made from the settings of its state: in its memory, or in Redis."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, succeed

from apigateway.adapters.redis.dialling import Reach
from apigateway.adapters.redis.remote import Remote
from apigateway.adapters.redis.store import RedisStore
from apigateway.config.model import State
from apigateway.ports.interfaces import (
    IClock,
    IEventLog,
    INotices,
    IQuotaStore,
    IRandom,
    IStateStore,
    Reading,
    StoreUnavailable,
)
from apigateway.ports.memory_notices import MemoryNotices
from apigateway.ports.memory_store import MemoryStore

# Seconds that the start of a worker waits for its state, no longer: it can serve without.
FIRST_ANSWER = 1.0


class SharedState:
    """The ports of a worker whose state others may share: `store`, `quotas`, `notices`.

    local_quotas: those of a worker that keeps its state itself.
    """

    store: IStateStore
    quotas: IQuotaStore
    notices: INotices

    def __init__(
        self, settings: State, environment: str, reach: Reach, clock: IClock, random: IRandom, events: IEventLog,
        local_quotas: IQuotaStore,
    ) -> None:
        self._clock, self._timers = clock, reach.timers
        self._kind = settings.where.kind
        self._url = settings.url
        self._remote: Remote | None = None
        if not settings.remote:
            self.store, self.quotas, self.notices = MemoryStore(clock), local_quotas, MemoryNotices()
            return
        self._remote = Remote(settings, environment, reach, random, events)
        store = RedisStore(self._remote.link, environment)
        self.store, self.quotas, self.notices = store, store, self._remote.notices

    def start(self) -> Deferred[None]:
        """Fires when the state was reached, or was not within FIRST_ANSWER: a worker serves without it."""
        if self._remote is None:
            return succeed(None)
        waited: Deferred[None] = Deferred()
        late = self._timers.call_later(FIRST_ANSWER, waited.callback, None)

        def answered(_: None) -> None:
            late.cancel()
            if not waited.called:
                waited.callback(None)

        self._remote.link.start().addCallback(answered)
        return waited

    def close(self) -> Deferred[Any]:
        """Fires when what was asked for is answered, or failed, and the connections are ended."""
        remote = self._remote
        if remote is None:
            return succeed(None)
        try:
            last = remote.link.call(b"PING")  # the answer to which comes after all others
        except StoreUnavailable:
            last = succeed(None)
        else:
            # And another one: a script that the server did not know has been sent once more meanwhile.
            last.addCallback(lambda _: remote.link.call(b"PING"))
        return last.addErrback(lambda _: None).addCallback(lambda _: remote.close())

    # ---- what operators see

    def shown(self) -> dict[str, Any]:
        """For the status of a worker. since: when it began to be connected, or not to be. failures: commands that got
        no answer that could be used. refused: those that were not sent, since it was not connected."""
        if self._remote is None:
            return {"kind": self._kind, "connected": True}
        link = self._remote.link
        began = self._clock.wall() - (self._clock.monotonic() - link.since)
        since = datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {
            "kind": self._kind, "url": self._url, "connected": link.connected, "since": since, "why_not": link.why,
            "failures": link.counts.failed, "refused": link.counts.without,
        }

    def readings(self) -> list[Reading]:
        """For the metrics page; nothing where there is no server."""
        if self._remote is None:
            return []
        link = self._remote.link
        counts = link.counts
        results = {
            "answered": counts.answered, "error": counts.errors, "unavailable": counts.unavailable,
            "late": counts.late, "lost": counts.lost, "refused": counts.without,
        }
        return [
            Reading("store_connected", (), float(link.connected)),
            Reading("store_circuit_opened", (), float(link.openings)),
            *(Reading("store_commands", (result,), float(count)) for result, count in results.items()),
        ]
