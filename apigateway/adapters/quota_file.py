"""Quotas in a file (SQLite), for one machine without a shared store: its workers share the counters exactly, and they
outlive restarts.

All waiting calls go to one thread together, and are one transaction there (BEGIN IMMEDIATE: workers take turns).
The journal is a write-ahead log that is not flushed to the disk at each transaction: what was counted outlives a killed
process, but a machine that loses power may forget its last moments.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from apigateway.adapters.quota_table import QuotaTable
from apigateway.ports.interfaces import (
    Decision,
    ICancellable,
    IClock,
    IEventLog,
    IQuotaStore,
    ITimers,
    Quota,
    StoreUnavailable,
    Usage,
)

# Seconds that a call waits for the disk, and for the transactions of other workers; and after which a disk that
# answered nothing is told of again.
PATIENCE = 0.5
TELL_EVERY = 30.0
CLOSE_TIMEOUT = 5.0
# Calls of one transaction: many more would let others wait for too long.
AT_ONCE = 200
ENDS = "the gateway ends"

Work = Callable[[QuotaTable], Any]


class _Call:
    __slots__ = ("answer", "work")

    def __init__(self, work: Work) -> None:
        self.work = work
        self.answer: Deferred[Any] = Deferred(_called_off)


def _called_off(answer: Deferred[Any]) -> None:
    """Nobody waits any more; what was asked for happens all the same."""


@implementer(IQuotaStore)
class FileQuotas:
    """Counters in a file; opened, and the thread begun, with the first call.

    call_from_thread: has a function called on the reactor's thread. Every call answers with a Deferred, within twice
    PATIENCE; StoreUnavailable where the file does not take it (a full disk, a lock that is held, no such folder): then
    nothing was counted, unless the disk was only late. While it is late, every call fails at once.
    """

    def __init__(
        self, path: Path, clock: IClock, timers: ITimers, call_from_thread: Callable[..., Any], events: IEventLog
    ) -> None:
        self._table = QuotaTable(path, clock.wall, PATIENCE / 2)
        self._monotonic = clock.monotonic
        self._timers, self._call_from_thread, self._events = timers, call_from_thread, events
        self._waiting: list[_Call] = []
        self._running: list[_Call] | None = None
        self._late: ICancellable | None = None
        self._stuck = False
        self._ended: Deferred[None] | None = None
        self._work: SimpleQueue[list[Work] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._told = -TELL_EVERY

    def consume(self, quotas: Sequence[Quota], cost: int = 1) -> Deferred[Decision]:
        """See IQuotaStore. ValueError for a cost below 0."""
        if cost < 0:
            raise ValueError(f"a cost is not negative: {cost}")
        return self._ask(lambda table: table.consume(quotas, cost))

    def usage(self, quotas: Sequence[Quota]) -> Deferred[Sequence[Usage]]:
        return self._ask(lambda table: table.usage(quotas))

    def used_by(self, prefix: str, most: int) -> Deferred[Sequence[Usage]]:
        return self._ask(lambda table: table.used_by(prefix, most))

    def reset(self, key: str) -> Deferred[bool]:
        return self._ask(lambda table: table.reset(key))

    def close(self) -> Deferred[None]:
        """Let go of the file: fires when what runs has been written, or after CLOSE_TIMEOUT. What waits, and what is
        asked for from then on, fails."""
        if self._ended is not None:
            return succeed(None)
        self._ended = Deferred()
        waiting, self._waiting = self._waiting, []
        _fail(waiting, ENDS)
        if self._thread is None:
            self._cancel_timer()
            return succeed(None)
        self._work.put(None)
        timeout = self._timers.call_later(CLOSE_TIMEOUT, self._has_ended)
        return self._ended.addCallback(lambda _: timeout.cancel())

    # ---- on the reactor's thread

    def _ask(self, work: Work) -> Deferred[Any]:
        if self._stuck or self._ended is not None:
            raise StoreUnavailable("the disk of quotas does not answer" if self._stuck else ENDS)
        call = _Call(work)
        self._waiting.append(call)
        if self._late is None:
            # Told to the thread at the end of this turn, so that the calls of a turn are one transaction.
            self._late = self._timers.call_later(0.0, self._begin)
        return call.answer

    def _begin(self) -> None:
        self._late = None
        if self._running is not None or not self._waiting:
            return
        if self._thread is None:
            self._thread = Thread(target=self._run, name="quotas", daemon=True)
            self._thread.start()
        running, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
        self._running = running
        self._late = self._timers.call_later(PATIENCE, self._is_late)
        self._work.put([call.work for call in running])

    def _is_late(self) -> None:
        self._late = None
        self._stuck = True
        why = f"no answer from the disk within {PATIENCE:g} s"
        calls, self._waiting = [*(self._running or ()), *self._waiting], []
        self._tell(why)
        _fail(calls, why)

    def _done(self, results: list[Any] | Exception) -> None:
        """The thread has answered."""
        running, self._running = self._running or [], None
        self._cancel_timer()
        self._stuck = False  # where it was, its calls have failed already
        if isinstance(results, Exception):
            self._tell(f"{type(results).__name__}: {results}")
            _fail(running, f"the file of quotas: {results}")
        else:
            for call, result in zip(running, results, strict=True):
                if not call.answer.called:
                    call.answer.callback(result)
        if self._late is None:
            self._begin()

    def _cancel_timer(self) -> None:
        late, self._late = self._late, None
        if late is not None:
            late.cancel()

    def _has_ended(self) -> None:
        ended = self._ended
        if ended is not None and not ended.called:
            self._cancel_timer()
            ended.callback(None)

    def _tell(self, why: str) -> None:
        now = self._monotonic()
        if now - self._told >= TELL_EVERY:
            self._told = now
            self._events.event("error", "quotas cannot be counted", file=str(self._table.path), why=why)

    # ---- on the thread

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            results: list[Any] | Exception
            try:
                results = self._table.together(work)
            except (sqlite3.Error, OSError) as error:
                self._table.close()  # opened anew by the next call
                results = error
            except Exception as error:
                results = error
            self._call_from_thread(self._done, results)
        self._table.close()
        self._call_from_thread(self._has_ended)


def _fail(calls: Sequence[_Call], why: str) -> None:
    for call in calls:
        if not call.answer.called:
            call.answer.errback(Failure(StoreUnavailable(why)))
