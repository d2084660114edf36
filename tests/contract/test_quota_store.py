"""What every IQuotaStore keeps to: in memory, in a file, and in Redis."""

from __future__ import annotations

from math import inf

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from subjects import AgingClock, link_to
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from apigateway.adapters.quota_file import FileQuotas
from apigateway.adapters.redis.store import RedisStore
from apigateway.adapters.system import ReactorTimers
from apigateway.ports.interfaces import IQuotaStore, Quota
from apigateway.ports.memory import ListedEvents, ManualClock
from apigateway.ports.memory_quotas import MemoryQuotas

NOW = 1_700_000_000.0
# The window before, this one, the one after it.
EDGES = (NOW - 150.0, NOW - 50.0, NOW + 50.0, NOW + 150.0)


class Asked:
    """A store that always answers later."""

    def __init__(self, store, clock) -> None:
        self.store, self.clock = store, clock

    def __getattr__(self, name):
        async def ask(*arguments):
            answer = getattr(self.store, name)(*arguments)
            return await answer if isinstance(answer, Deferred) else answer

        return ask


@pytest_twisted.async_yield_fixture(params=["memory", "file", "redis"])
async def store(request, tmp_path):
    if request.param == "redis":
        server = request.getfixturevalue("redis")
        linked, clock = await link_to(server), AgingClock(server, NOW)
        yield Asked(RedisStore(linked.link, "env", simulated=clock.wall), clock)
        linked.remote.close()
        return
    clock = ManualClock(wall=NOW)
    if request.param == "memory":
        yield Asked(MemoryQuotas(clock), clock)
        return
    events = ListedEvents()
    file = FileQuotas(tmp_path / "q.sqlite", clock, ReactorTimers(reactor), reactor.callFromThread, events)
    yield Asked(file, clock)
    await file.close()
    assert events.events == []


def test_the_interface_is_kept(store):
    assert verifyObject(IQuotaStore, store.store)


@ensureDeferred
async def test_units_are_used_up_and_then_refused(store):
    quota = Quota("k", 5, EDGES)
    granted = [await store.consume([quota]) for _ in range(7)]
    assert [decision.granted for decision in granted] == [True] * 5 + [False] * 2
    assert [decision.standings[0].remaining for decision in granted] == [4, 3, 2, 1, 0, 0, 0]
    assert {decision.standings[0].reset_after for decision in granted} == {50.0}
    assert [decision.standings[0].retry_after for decision in granted] == [0.0] * 5 + [50.0] * 2


@ensureDeferred
async def test_the_next_window_begins_anew(store):
    quota = Quota("k", 1, EDGES)
    assert (await store.consume([quota])).granted
    assert not (await store.consume([quota])).granted
    store.clock.advance(50.0)
    assert (await store.consume([quota])).granted
    assert not (await store.consume([quota])).granted


@ensureDeferred
async def test_what_is_never_renewed(store):
    quota = Quota("k", 5)
    for remaining in (4, 3, 2, 1, 0):
        decision = await store.consume([quota])
        assert decision.granted and decision.standings[0].remaining == remaining
    store.clock.advance(399 * 86400.0)
    refused = await store.consume([quota])
    assert not refused.granted
    assert refused.standings[0][1:] == (inf, inf)


@ensureDeferred
async def test_of_several_all_are_taken_from_or_none(store):
    few, many = Quota("few", 1, EDGES), Quota("many", 10, EDGES)
    assert (await store.consume([few, many])).granted
    refused = await store.consume([many, few])
    assert not refused.granted
    assert [standing.remaining for standing in refused.standings] == [9, 0]
    assert [standing.retry_after for standing in refused.standings] == [0.0, 50.0]
    assert [usage.used for usage in await store.usage([few, many])] == [1, 1]


@ensureDeferred
async def test_costs(store):
    quota = Quota("k", 10, EDGES)
    assert (await store.consume([quota], 7)).standings[0].remaining == 3
    assert not (await store.consume([quota], 4)).granted
    assert (await store.consume([quota], 3)).granted
    assert (await store.consume([quota], 0)).granted  # nothing is nothing, also where all is used
    never = await store.consume([quota], 11)
    assert (never.granted, never.standings[0].retry_after) == (False, inf)
    with pytest.raises(ValueError):
        await store.consume([quota], -1)


@ensureDeferred
async def test_a_limit_that_was_lowered(store):
    await store.consume([Quota("k", 10, EDGES)], 8)
    refused = await store.consume([Quota("k", 5, EDGES)])
    assert not refused.granted and refused.standings[0].remaining == 0
    assert (await store.consume([Quota("k", 9, EDGES)])).granted


@ensureDeferred
async def test_a_clock_that_is_not_quite_the_gateway_s(store):
    """It counts in the nearest window, and refuses nothing for that."""
    store.clock.set_wall(EDGES[0] - 10.0)
    assert (await store.consume([Quota("k", 1, EDGES)])).granted
    assert not (await store.consume([Quota("k", 1, EDGES)])).granted
    store.clock.set_wall(EDGES[-1] + 10.0)
    late = await store.consume([Quota("k", 1, EDGES)])
    assert late.granted and late.standings[0].reset_after == 0.0


@ensureDeferred
async def test_usage_is_read_and_reset(store):
    await store.consume([Quota("env/step/day/a", 10, EDGES), Quota("env/step/never/a", 10)], 3)
    await store.consume([Quota("env/step/day/b", 10, EDGES)])
    await store.consume([Quota("env/steps/day/a", 10, EDGES)])
    assert await store.usage([Quota("env/step/day/a", 10, EDGES), Quota("no", 10, EDGES)]) == [
        ("env/step/day/a", 3, EDGES[1], EDGES[2]), ("no", 0, EDGES[1], EDGES[2])
    ]
    assert sorted(await store.used_by("env/step/", 10)) == [
        ("env/step/day/a", 3, EDGES[1], EDGES[2]), ("env/step/day/b", 1, EDGES[1], EDGES[2]),
        ("env/step/never/a", 3, 0.0, None),
    ]
    assert len(await store.used_by("env/", 2)) == 2
    assert await store.reset("env/step/day/a") is True
    assert await store.reset("env/step/day/a") is False
    assert [usage.used for usage in await store.usage([Quota("env/step/day/a", 10, EDGES)])] == [0]
    store.clock.advance(60.0)
    assert await store.used_by("env/step/", 10) == [("env/step/never/a", 3, 0.0, None)]


@pytest.mark.parametrize("key", ["", "ä/%_*?[", "nul\0", "\udcff\ud800", "'; DROP TABLE counter", "k" * 5000])
@ensureDeferred
async def test_any_key(store, key):
    assert (await store.consume([Quota(key, 1, EDGES)])).granted
    assert not (await store.consume([Quota(key, 1, EDGES)])).granted
    assert [usage.key for usage in await store.used_by(key, 5)] == [key]
    assert await store.reset(key)


@ensureDeferred
async def test_two_rules_of_one_counter_count_once(store):
    assert (await store.consume([Quota("k", 9, EDGES), Quota("k", 5, EDGES)])).granted
    assert [usage.used for usage in await store.usage([Quota("k", 9, EDGES)])] == [1]
