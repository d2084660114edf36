"""What a worker keeps so as not to find it out again: bounded, counted, and forgotten when somebody says so."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any


@dataclass(frozen=True, slots=True)
class CacheFigures:
    """How a cache does. entries: held now; hits, misses: of all that was asked; evicted: dropped for want of room, at a
    time when they were still good."""

    name: str
    entries: int
    most: int
    hits: int
    misses: int
    evicted: int


class LocalCache:
    """A dict of at most `most` entries (2 or more).

    Entries stand in two halves, the younger of which is added to; when that is full, the older one is dropped. What is
    asked for moves to the younger. So what was in use in the last `most / 2` additions is there, nothing is walked but
    the half that is dropped (to count it: 0.5 ms for 10,000), and no timer is kept. None cannot be kept: it is what a
    miss gives.
    Threads may use it: a race costs an entry or a count, and never gives a wrong value.
    """

    def __init__(self, name: str, most: int, now: Callable[[], float] = lambda: 0.0) -> None:
        if most < 2:
            raise ValueError("a cache of less than two entries")
        self.name, self._most, self._now = name, most, now
        self._young: dict[Hashable, tuple[Any, float]] = {}
        self._old: dict[Hashable, tuple[Any, float]] = {}
        self._hits = self._misses = self._evicted = 0

    def get(self, key: Hashable) -> Any:
        """What is kept under a key, or None."""
        young = self._young
        entry = young.get(key)
        if entry is None:
            entry = self._old.pop(key, None)
            if entry is None:
                self._misses += 1
                return None
            self._add(key, entry)
        if entry[1] <= self._now():
            self._young.pop(key, None)
            self._misses += 1
            return None
        self._hits += 1
        return entry[0]

    def put(self, key: Hashable, value: Any, ends: float = inf) -> None:
        """Keep a value, no longer than until `ends` (by the clock of the cache)."""
        self._old.pop(key, None)
        self._add(key, (value, ends))

    def _add(self, key: Hashable, entry: tuple[Any, float]) -> None:
        young = self._young
        if key not in young and len(young) >= self._most // 2:
            now = self._now()
            # A list first: another thread may take from it meanwhile.
            self._evicted += sum(ends > now for _, ends in list(self._old.values()))
            self._old, self._young = young, {}
            young = self._young
        young[key] = entry

    def drop(self, key: Hashable) -> None:
        """Forget one."""
        self._young.pop(key, None)
        self._old.pop(key, None)

    def purge(self) -> int:
        """Forget all; how many they were."""
        were = len(self)
        self._young, self._old = {}, {}
        return were

    def __len__(self) -> int:
        """How many are held; those that ended and were not asked for since are among them."""
        return len(self._young) + len(self._old)

    def figures(self) -> CacheFigures:
        """How it does."""
        return CacheFigures(self.name, len(self), self._most, self._hits, self._misses, self._evicted)


class LocalCaches:
    """Caches, by name."""

    def __init__(self) -> None:
        self._caches: dict[str, LocalCache] = {}

    def cache(self, name: str, most: int, now: Callable[[], float] = lambda: 0.0) -> LocalCache:
        """The cache of this name; made by whoever asks first, with his bounds."""
        known = self._caches.get(name)
        if known is None:
            known = self._caches[name] = LocalCache(name, most, now)
        return known

    def figures(self) -> list[CacheFigures]:
        """How each does."""
        return [self._caches[name].figures() for name in sorted(self._caches)]

    def __iter__(self) -> Iterator[LocalCache]:
        """Each of them."""
        return iter(tuple(self._caches.values()))


CACHES = LocalCaches()
"""Those of this process, of what is the same for whoever asks. What belongs to a worker is in its own."""
