"""State of one worker, in its memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

from zope.interface import classImplements

from apigateway.ports.interfaces import Capacity, Decision, IClock, IStateStore, Limit, Standing
from apigateway.ports.memory_leases import Places
from apigateway.ports.memory_limits import COUNTERS, Counter

SWEEP_EVERY = 16
SWEPT_AT_ONCE = 8
# A key of one request takes about 700 octets with its counter.
MOST_KEYS = 200_000
SAMPLED = 8


class _Ending(Protocol):
    ends: float


K = TypeVar("K", bound=Hashable)
E = TypeVar("E", bound=_Ending)


class _EndingThings(Generic[K, E]):
    """A dict whose values end. What has ended is dropped a few at a time, when something is added or `sweep`
    is called: no timer, no pause, and never more dead ones than living ones for long.

    A key leaves only by `sweep` and `evict`, so that each stands in the queue exactly once.
    """

    __slots__ = ("_queue", "by_key")

    def __init__(self) -> None:
        self.by_key: dict[K, E] = {}
        self._queue: deque[K] = deque()

    def add(self, key: K, thing: E, now: float) -> None:
        """Add what is not there yet. Two are looked at for each that comes, so the dead cannot gather."""
        self.sweep(now, 2)
        self.by_key[key] = thing
        self._queue.append(key)

    def sweep(self, now: float, how_many: int) -> None:
        """Look at the next few, and drop those that have ended."""
        queue = self._queue
        for _ in range(min(how_many, len(queue))):
            key = queue.popleft()
            if self.by_key[key].ends < now:
                del self.by_key[key]
            else:
                queue.append(key)

    def evict(self, now: float) -> bool:
        """Drop the one that ends soonest of the next few; tells whether it still lived.

        The soonest of a sample, not of all: that costs the same however many there are, and what goes is among the
        first to end nearly always.
        """
        queue, by_key = self._queue, self.by_key
        soonest = queue.popleft()
        for _ in range(min(SAMPLED - 1, len(queue))):
            key = queue.popleft()
            if by_key[key].ends < by_key[soonest].ends:
                key, soonest = soonest, key
            queue.append(key)
        return by_key.pop(soonest).ends >= now


class _Value:
    __slots__ = ("ends", "octets")

    def __init__(self, octets: bytes, ends: float) -> None:
        self.octets = octets
        self.ends = ends


class MemoryStore:
    """An IStateStore that answers at once.

    Time is monotonic, counted from what the wall clock showed when the store was made: fixed windows begin at
    multiples of their period in UTC, and setting the machine's clock later moves no window and ends no key.
    One counter is a limit's key, algorithm and period together; a change of `limit` keeps what was counted.
    A cost above the limit can never be granted; its retry_after is the period.

    It holds `most_keys`, and what the last sixteen calls added: clients may invent keys, and memory is finite. Past
    that, those soonest to end are forgotten (about: see `evict`). evicted: how many were, before their end; a limit
    that was forgotten begins anew.
    """

    shared = False

    def __init__(self, clock: IClock, *, most_keys: int = MOST_KEYS) -> None:
        self.evicted = 0
        self._most_keys = most_keys
        self._monotonic = clock.monotonic
        self._origin = clock.wall() - clock.monotonic()
        self._counters: _EndingThings[tuple[str, str, float], Counter] = _EndingThings()
        self._values: _EndingThings[str, _Value] = _EndingThings()
        self._places: _EndingThings[str, Places] = _EndingThings()
        self._calls = 0

    def take(self, limits: Sequence[Limit], cost: int = 1) -> Decision:
        """See IStateStore. Two rules of one counter count once. ValueError for a cost below 0."""
        if cost < 0:
            raise ValueError(f"a cost is not negative: {cost}")
        if len(limits) != 1:
            return self._take_all(limits, cost)
        now = self._now()
        limit = limits[0]
        counter = self._counter(limit, now)
        free = counter.free(limit, now)
        if not cost:
            return Decision(True, (Standing(max(0, free), max(0.0, counter.ends - now)),))
        if free < cost:
            return Decision(False, (_untouched(counter, limit, free, now, cost),))
        counter.take(limit, now, cost)
        return Decision(True, (Standing(free - cost, max(0.0, counter.ends - now)),))

    def _take_all(self, limits: Sequence[Limit], cost: int) -> Decision:
        now = self._now()
        asked = [(self._counter(limit, now), limit) for limit in limits]
        free = [counter.free(limit, now) for counter, limit in asked]
        granted = not cost or all(left >= cost for left in free)
        if not granted:
            standings = [_untouched(*pair, left, now, cost) for pair, left in zip(asked, free, strict=True)]
            return Decision(False, tuple(standings))
        for counter, limit in dict(asked).items():
            if cost:
                counter.take(limit, now, cost)
        counters = [counter for counter, _ in asked]
        return Decision(True, tuple(Standing(max(0, left - cost), max(0.0, counter.ends - now))
                                    for counter, left in zip(counters, free, strict=True)))

    def peek(self, limits: Sequence[Limit]) -> Decision:
        """See IStateStore; granted tells whether one unit would be."""
        now = self._now()
        standings = []
        for limit in limits:
            counter = self._counter(limit, now)
            standings.append(_untouched(counter, limit, counter.free(limit, now), now, 1))
        return Decision(all(standing.remaining > 0 for standing in standings), tuple(standings))

    def get(self, key: str) -> bytes | None:
        now = self._now()
        value = self._values.by_key.get(key)
        return None if value is None or value.ends <= now else value.octets

    def put(self, key: str, value: bytes, seconds: float) -> None:
        now = self._now()
        held = self._values.by_key.get(key)
        if held is None:
            self._values.add(key, _Value(value, now + seconds), now)
        else:
            held.octets = value
            held.ends = now + seconds

    def add(self, key: str, value: bytes, seconds: float) -> bool:
        if self.get(key) is not None:
            return False
        self.put(key, value, seconds)
        return True

    def swap(self, key: str, expected: bytes | None, value: bytes | None, seconds: float = 0.0) -> bool:
        """See IStateStore. ValueError for a value without a time."""
        if value is not None and seconds <= 0.0:
            raise ValueError("a value ends after more than no time")
        if self.get(key) != expected:
            return False
        if value is None:
            self.remove(key)
        else:
            self.put(key, value, seconds)
        return True

    def remove(self, key: str) -> None:
        value = self._values.by_key.get(key)
        if value is not None:
            value.octets = b""
            value.ends = 0.0

    def lease(self, capacities: Sequence[Capacity], holder: str, seconds: float) -> Decision:
        """See IStateStore. A place that the holder has already ends later from now on, even where the capacity was
        lowered below what is taken. Where nothing is held and nothing may be, retry_after is `seconds`."""
        now = self._now()
        asked = [self._places_of(capacity.key, now) for capacity in capacities]
        full = [holder not in places and len(places) >= capacity.limit
                for capacity, places in zip(capacities, asked, strict=True)]
        granted = not any(full)
        if granted:
            for places in asked:
                places.hold(holder, now + seconds)
        standings = []
        for capacity, places, is_full in zip(capacities, asked, full, strict=True):
            wait = (places.first_end() - now if places else seconds) if is_full else 0.0
            standings.append(Standing(max(0, capacity.limit - len(places)), 0.0, wait))
        return Decision(granted, tuple(standings))

    def renew(self, keys: Sequence[str], holders: Sequence[str], seconds: float) -> None:
        now = self._now()
        for key, holder in zip(keys, holders, strict=True):
            places = self._places.by_key.get(key)
            if places is not None:
                places.forget(now)
                if holder in places:
                    places.hold(holder, now + seconds)

    def release(self, keys: Sequence[str], holder: str) -> None:
        for key in keys:
            places = self._places.by_key.get(key)
            if places is not None:
                places.give_back(holder)

    def __len__(self) -> int:
        """How many keys are held, those that ended and were not swept yet among them."""
        return len(self._counters.by_key) + len(self._values.by_key) + len(self._places.by_key)

    def _now(self) -> float:
        now: float = self._monotonic() + self._origin
        self._calls += 1
        if not self._calls % SWEEP_EVERY:
            self._counters.sweep(now, SWEPT_AT_ONCE)
            self._values.sweep(now, SWEPT_AT_ONCE)
            self._places.sweep(now, SWEPT_AT_ONCE)
            while len(self) > self._most_keys:
                self._evict(now)
        return now

    def _evict(self, now: float) -> None:
        """From whichever there are most of: a flood of counters costs no value, nor the other way round."""
        counters, values, places = len(self._counters.by_key), len(self._values.by_key), len(self._places.by_key)
        if counters >= values and counters >= places:
            self.evicted += self._counters.evict(now)
        elif values >= places:
            self.evicted += self._values.evict(now)
        else:
            self.evicted += self._places.evict(now)

    def _counter(self, limit: Limit, now: float) -> Counter:
        key = (limit.key, limit.algorithm, limit.period)
        counter = self._counters.by_key.get(key)
        if counter is None:
            counter = COUNTERS[limit.algorithm](now)
            self._counters.add(key, counter, now)
        if counter.ends < now:
            # Else the sweep that the next rule of the same call sets off could drop it before it is used.
            counter.ends = now
        return counter

    def _places_of(self, key: str, now: float) -> Places:
        places = self._places.by_key.get(key)
        if places is None:
            places = Places(now)
            self._places.add(key, places, now)
        places.forget(now)
        places.ends = max(places.ends, now)  # as with a counter
        return places


def _untouched(counter: Counter, limit: Limit, free: int, now: float, cost: int) -> Standing:
    """How a rule stands that nothing was taken from."""
    reset_after = max(0.0, counter.ends - now)
    if free >= cost:
        return Standing(free, reset_after)
    retry_after = limit.period if cost > limit.limit else counter.wait(limit, now, cost - free)
    return Standing(max(0, free), reset_after, retry_after)


# Said from outside: a class that is compiled (setup.py) has no decorators.
classImplements(MemoryStore, IStateStore)
