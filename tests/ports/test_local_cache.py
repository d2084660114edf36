"""Caches of a worker: bounded, counted, purged."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.ports.local_cache import LocalCache, LocalCaches
from apigateway.ports.memory import ManualClock


def figures(cache: LocalCache) -> tuple[int, int, int, int]:
    seen = cache.figures()
    return seen.entries, seen.hits, seen.misses, seen.evicted


def test_what_was_put_is_found_and_counted() -> None:
    cache = LocalCache("c", 10)
    assert cache.get("a") is None
    cache.put("a", 1)
    assert cache.get("a") == 1
    assert figures(cache) == (1, 1, 1, 0)


def test_an_entry_ends_when_it_said() -> None:
    clock = ManualClock()
    cache = LocalCache("c", 10, clock.monotonic)
    cache.put("a", 1, ends=clock.monotonic() + 5.0)
    clock.advance(4.9)
    assert cache.get("a") == 1
    clock.advance(0.1)
    assert cache.get("a") is None
    assert len(cache) == 0


def test_what_is_in_use_stays_when_many_come_once() -> None:
    cache = LocalCache("c", 10)
    cache.put("used", 1)
    for number in range(1000):
        cache.put(number, number)
        assert cache.get("used") == 1
    assert len(cache) <= 10


def test_what_ended_is_not_counted_as_evicted() -> None:
    clock = ManualClock()
    cache = LocalCache("c", 4, clock.monotonic)
    cache.put("a", 1, ends=clock.monotonic() + 1.0)
    cache.put("b", 1)
    clock.advance(2.0)
    for key in "cdef":
        cache.put(key, 1)
    assert cache.figures().evicted == 1


@given(st.lists(st.tuples(st.sampled_from(["get", "put", "drop"]), st.integers(0, 30))), st.integers(2, 12))
def test_it_never_holds_more_than_it_may_nor_what_was_not_put(calls: list[tuple[str, int]], most: int) -> None:
    cache, last = LocalCache("c", most), dict[int, int]()
    for turn, (call, key) in enumerate(calls):
        if call == "put":
            cache.put(key, turn)
            last[key] = turn
        elif call == "drop":
            cache.drop(key)
            last.pop(key, None)
        else:
            assert cache.get(key) in (None, last.get(key))
        assert len(cache) <= most


def test_there_is_one_of_a_name() -> None:
    caches = LocalCaches()
    for name in ("b", "a"):
        caches.cache(name, 10).put("k", 1)
    assert caches.cache("a", 99) is caches.cache("a", 10)
    assert caches.cache("a", 10).purge() == 1
    assert [(seen.name, seen.entries) for seen in caches.figures()] == [("a", 0), ("b", 1)]
    assert {cache.name for cache in caches} == {"a", "b"}


def test_one_of_one_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="two"):
        LocalCache("c", 1)


def test_threads_may_use_it() -> None:
    cache = LocalCache("shared", 64)

    def use(seed: int) -> None:
        random = Random(seed)
        for _ in range(40_000):
            key = random.randrange(200)
            value = cache.get(key)
            assert value in (None, key)
            if value is None:
                cache.put(key, key)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(use, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert len(cache) <= 64 + 8  # a race may add to a half that was just full
