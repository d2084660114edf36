"""Caches of a worker: shown, purged, and purged in all workers."""

from __future__ import annotations

import pytest

from apigateway.dataplane.caches import PURGES, WorkerCaches
from apigateway.ports.local_cache import LocalCaches
from apigateway.ports.memory_notices import MemoryNotices


def worker(notices: MemoryNotices) -> tuple[WorkerCaches, LocalCaches]:
    own = LocalCaches()
    for name in ("a", "b"):
        own.cache(name, 10).put("k", 1)
    return WorkerCaches(own, notices), own


def entries(own: LocalCaches) -> list[int]:
    return [seen.entries for seen in own.figures()]


def test_all_are_shown_with_those_of_the_process() -> None:
    caches, _ = worker(MemoryNotices())
    names = [one["name"] for one in caches.shown()]
    assert names == sorted(names) and {"a", "b", "expressions"} <= set(names)
    assert {reading.name for reading in caches.readings()} == {
        "cache_entries", "cache_hits", "cache_misses", "cache_evicted",
    }


def test_one_is_purged_here_alone() -> None:
    notices = MemoryNotices()
    (here, own), (_, others) = worker(notices), worker(notices)
    assert here.purge("a", everywhere=False) == 1
    assert (entries(own), entries(others)) == ([0, 1], [1, 1])


def test_one_or_all_are_purged_everywhere() -> None:
    notices = MemoryNotices()
    (here, own), (_, others) = worker(notices), worker(notices)
    here.purge("a", everywhere=True)
    assert (entries(own), entries(others)) == ([0, 1], [0, 1])
    here.purge("", everywhere=True)
    assert (entries(own), entries(others)) == ([0, 0], [0, 0])


def test_what_may_have_been_missed_is_done() -> None:
    notices = MemoryNotices()
    _, own = worker(notices)
    notices.tell(PURGES, b"")
    assert entries(own) == [0, 0]


def test_what_others_have_and_we_have_not_is_no_error_and_a_closed_one_hears_nothing() -> None:
    notices = MemoryNotices()
    caches, own = worker(notices)
    notices.tell(PURGES, b"of another version")
    assert entries(own) == [1, 1]
    caches.close()
    notices.tell(PURGES, b"a")
    assert entries(own) == [1, 1]


def test_there_is_no_such_cache() -> None:
    caches, _ = worker(MemoryNotices())
    with pytest.raises(LookupError):
        caches.purge("c", everywhere=True)
