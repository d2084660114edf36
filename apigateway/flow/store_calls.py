"""Calls of a store: answers that come later, and calls whose answer nobody waits for, but which have to be heard: where
the store was away, they are made again when it is back."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from apigateway.flow.services import Services
from apigateway.flow.steps import as_deferred
from apigateway.ports.interfaces import IClock, IEventLog, ITimers, StoreUnavailable

T = TypeVar("T")
Call = Callable[[], Any]

# A store that was away for a moment shall not hold for half a minute what could not be given back in it.
AGAIN_AFTER = 0.5
# A store that is back is not to be met by a crowd.
AT_ONCE = 200


async def now_or_later(answer: T | Awaitable[T]) -> T:
    """What a store answered: at once where it is in memory."""
    return await answer if isinstance(answer, Awaitable) else answer


def when_answered(
    answer: Awaitable[T], decided: Callable[[T], None], without: Callable[[StoreUnavailable], None]
) -> Deferred[None]:
    """What a hook returns where the store answers later: the one is told the answer, or the other why there is none.

    A coroutine would say the same, and costs a request 1.6 us more.
    """

    def failed(failure: Failure) -> Failure | None:
        error = failure.value
        if not isinstance(error, StoreUnavailable):
            return failure
        without(error)
        return None

    waited: Deferred[Any] = as_deferred(answer)  # type: ignore[arg-type]  # of any result
    return waited.addCallbacks(decided, failed)


class StoreCalls:
    """What stores have to be told.

    A call that fails since its store is away is made again every AGAIN_AFTER seconds, as long as it is of use; at most
    `most` of them wait, past that the oldest are given up. Any other failure is a defect, and told as one.
    """

    def __init__(self, clock: IClock, timers: ITimers, events: IEventLog, most: int) -> None:
        self._now: Callable[[], float] = clock.monotonic
        self._timers, self._events = timers, events
        self._owed: deque[tuple[Call, float]] = deque(maxlen=most)
        self._timer: Any = None
        self._closed = False

    def __len__(self) -> int:
        """How many are to be made again."""
        return len(self._owed)

    def make(self, call: Call, of_use: float = 0.0, away: Callable[[], None] | None = None) -> None:
        """Make a call, which may return an awaitable. of_use: seconds in which it is worth making again; 0.0: never.
        away: called, once, where the store is away."""
        self._make(call, self._now() + of_use, away)

    def close(self) -> None:
        """Make no more of them."""
        self._closed = True
        self._owed.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _make(self, call: Call, until: float, away: Callable[[], None] | None) -> None:
        try:
            answer = call()
            if isinstance(answer, Awaitable):
                deferred: Deferred[Any] = as_deferred(answer)
                deferred.addErrback(self._failed, call, until, away)
        except Exception:
            self._failed(Failure(), call, until, away)

    def _failed(self, failure: Failure, call: Call, until: float, away: Callable[[], None] | None) -> None:
        if failure.check(CancelledError):
            return
        if not failure.check(StoreUnavailable):
            self._events.event("error", "a store could not be told", traceback=failure.getTraceback())
            return
        if away is not None:
            away()
        if not self._closed and self._now() + AGAIN_AFTER < until:
            self._owed.append((call, until))
            if self._timer is None:
                self._timer = self._timers.call_later(AGAIN_AFTER, self._again)

    def _again(self) -> None:
        self._timer = None
        now = self._now()
        for _ in range(min(AT_ONCE, len(self._owed))):
            call, until = self._owed.popleft()
            if now < until:
                self._make(call, until, None)
        if self._owed and self._timer is None:
            self._timer = self._timers.call_later(AGAIN_AFTER, self._again)


def store_calls(services: Services, name: str, most: int) -> StoreCalls:
    """Those of a worker, by name."""
    calls: StoreCalls = services.shared(
        f"store calls {name}", lambda: StoreCalls(services.clock, services.timers, services.events, most)
    )
    return calls
