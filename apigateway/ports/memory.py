"""Twins of the ports in memory: time that is moved by hand, randomness that repeats, logs that are lists."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from apigateway.ports.interfaces import (
    ICancellable,
    IClock,
    IEventLog,
    IMetrics,
    IRandom,
    IResolver,
    ITimers,
    NameNotFound,
    Resolution,
    ServiceResolution,
)
from apigateway.ports.memory_store import MemoryStore

__all__ = [
    "ListedEvents",
    "ListedNames",
    "ManualClock",
    "ManualTimer",
    "ManualTimers",
    "MemoryStore",
    "NullMetrics",
    "SeededRandom",
]


@implementer(ICancellable)
class ManualTimer:
    """A call that waits for the clock to be moved. `due`: monotonic seconds."""

    __slots__ = ("arguments", "callable", "due", "waiting")

    def __init__(self, due: float, callable: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.due = due
        self.callable = callable
        self.arguments = arguments
        self.waiting = True

    def cancel(self) -> None:
        self.waiting = False

    def fire(self) -> None:
        """Call, unless it was called off or has been called."""
        if self.waiting:
            self.waiting = False
            self.callable(*self.arguments)


@implementer(IClock)
class ManualClock:
    """Time that stands still until `advance`."""

    def __init__(self, monotonic: float = 1000.0, wall: float = 1_700_000_000.0) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._timers: list[tuple[float, int, ManualTimer]] = []
        self._made = 0

    def monotonic(self) -> float:
        return self._monotonic

    def wall(self) -> float:
        return self._wall

    def advance(self, seconds: float) -> None:
        """Let time pass. What falls due is called in order, each at its time; what is set on the way, too."""
        end = self._monotonic + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            self._move_to(max(due, self._monotonic))
            timer.fire()
        self._move_to(end)

    def hold(self, seconds: float) -> None:
        """Let time pass as where a loop is held up: what falls due is called behind all of it, what that sets later."""
        self._move_to(self._monotonic + seconds)
        late = []
        while self._timers and self._timers[0][0] <= self._monotonic:
            late.append(heapq.heappop(self._timers)[2])
        for timer in late:
            timer.fire()

    def set_wall(self, seconds: float) -> None:
        """Set the clock of the machine, which moves no timer."""
        self._wall = seconds

    def call_at(self, due: float, callable: Callable[..., Any], *arguments: Any) -> ManualTimer:
        """Call when the monotonic clock gets there."""
        timer = ManualTimer(due, callable, arguments)
        self._made += 1
        heapq.heappush(self._timers, (due, self._made, timer))
        return timer

    def waiting(self) -> list[ManualTimer]:
        """What has not been called or called off yet, the next one first."""
        return [timer for _, _, timer in sorted(self._timers) if timer.waiting]

    def _move_to(self, monotonic: float) -> None:
        self._wall += monotonic - self._monotonic
        self._monotonic = monotonic


@implementer(ITimers)
class ManualTimers:
    """Timers that fire when their clock is advanced; never inside `call_later`, not even after 0 seconds."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock

    def call_later(self, seconds: float, callable: Callable[..., Any], *args: Any) -> ManualTimer:
        return self._clock.call_at(self._clock.monotonic() + seconds, callable, *args)

    def waiting(self) -> list[ManualTimer]:
        """What has not been called or called off yet, the next one first."""
        return self._clock.waiting()


@implementer(IRandom)
class SeededRandom:
    """The same sequence for the same seed, on every machine: hashes of the seed and a count."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = b"%d:" % seed
        self._drawn = 0

    def random(self) -> float:
        return (int.from_bytes(self.token(8), "big") >> 11) / (1 << 53)

    def token(self, octets: int) -> bytes:
        self._drawn += 1
        return hashlib.shake_256(self._seed + b"%d" % self._drawn).digest(octets)


@implementer(IMetrics)
class NullMetrics:
    """Counts nothing."""

    def finished(self, exchange: Any) -> None:
        return None

    def attempt(self, upstream: str, target: str, result: str) -> None:
        return None

    def limit_decision(self, api: str, route: str, step: str, granted: bool) -> None:
        return None

    def store_failure(self, step: str, mode: str) -> None:
        return None

    def step_outcome(self, step: str, kind: str, outcome: str) -> None:
        return None

    def reload(self, result: str) -> None:
        return None

    def digest(self, digest: str) -> None:
        return None

    def loop_lag(self, seconds: float) -> None:
        return None


@implementer(IEventLog)
class ListedEvents:
    """Keeps what was told in `events`, as (level, message, fields)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, dict[str, Any]]] = []

    def event(self, level: str, message: str, **fields: Any) -> None:
        self.events.append((level, message, fields))


@implementer(IResolver)
class ListedNames:
    """Knows the names of `answers`, and the services of `offered`; both may be changed at any time; an exception there
    is the failure."""

    def __init__(self, answers: Mapping[str, Resolution | Exception] | None = None) -> None:
        self.answers: dict[str, Resolution | Exception] = dict(answers or {})
        self.offered: dict[str, ServiceResolution | Exception] = {}
        self.asked: list[str] = []

    def resolve(self, name: str) -> Deferred[Resolution]:
        self.asked.append(name)
        answer = self.answers.get(name, NameNotFound(name))
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    def services(self, name: str) -> Deferred[ServiceResolution]:
        self.asked.append(name)
        answer = self.offered.get(name, NameNotFound(name))
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)
