"""Limits over several workers are exact: compared, decision by decision, with the twin in memory at simulated times;
and by the server's own time, when all ask at once."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import pytest_twisted
from linking import Linked
from pytest_twisted import ensureDeferred
from redis_server import RedisServer
from toolkit.waiting import together

from apigateway.adapters.redis.store import RedisStore
from apigateway.ports.interfaces import Capacity, Decision, Limit, Quota, Usage
from apigateway.ports.memory import ManualClock, MemoryStore
from apigateway.ports.memory_quotas import MemoryQuotas

SCHEDULES = 200
ALGORITHMS = ("sliding-window", "fixed-window", "token-bucket")
# Times in a reply are whole microseconds, rounded up.
CLOSE = 2e-6
PATIENT = "10s"

each_algorithm = pytest.mark.parametrize("algorithm", ALGORITHMS)


class Simulated:
    """Stores of three workers, and a store in memory, with one clock."""

    def __init__(self, links: list[Linked], wall: float = 1_700_000_000.0) -> None:
        self.clock = ManualClock(wall=wall)
        origin = self.clock.wall() - self.clock.monotonic()
        # The same sum as the memory's, to the last bit.
        self.stores = [RedisStore(one.link, "test", lambda: self.clock.monotonic() + origin) for one in links]
        self.memory = MemoryStore(self.clock)
        self.quotas = MemoryQuotas(self.clock)


@pytest_twisted.async_yield_fixture
async def links(redis: RedisServer) -> Any:
    """Three connections. At the end every key has to have an expiry."""
    made = [Linked({"url": redis.unix_url, "timeout": PATIENT}) for _ in range(3)]
    for one in made:
        await one.start()
    yield made
    for one in made:
        one.remote.close()
    for key in redis.command("KEYS", "*"):
        assert redis.command("PTTL", key) != -1, key  # -2: it has ended meanwhile


def same(real: Decision, twin: Decision) -> bool:
    return real.granted == twin.granted and len(real.standings) == len(twin.standings) and all(
        one.remaining == other.remaining
        and one.reset_after == pytest.approx(other.reset_after, abs=CLOSE)
        and one.retry_after == pytest.approx(other.retry_after, abs=CLOSE)
        for one, other in zip(real.standings, twin.standings, strict=True)
    )


def gap(random: Random, period: float) -> float:
    """Seconds until something happens: often none, often about what a slot or a window takes."""
    return random.choice((
        0.0, 0.0, random.random() * period / 100, period / 100, random.random() * period / 10, period / 3,
        random.random() * period, period, period * 1.01, random.random() * 3 * period,
    ))


@each_algorithm
@ensureDeferred
async def test_exactly_n_of_m_pass_whoever_asks_when(links: list[Linked], algorithm: str) -> None:
    for schedule in range(SCHEDULES):
        random, three = Random(f"{algorithm} {schedule}"), Simulated(links)
        rule = Limit(f"test/api/a/limit/{schedule}", random.randint(1, 20), random.choice((1.0, 7.3, 60.0)), algorithm)
        for crowd in range(4):
            three.clock.advance(gap(random, rule.period))
            asked = random.randint(rule.limit, 2 * rule.limit + 3)
            answers = await together(*(random.choice(three.stores).take([rule]) for _ in range(asked)))
            twins = [three.memory.take([rule]) for _ in range(asked)]
            granted = sorted(answer.standings[0].remaining for answer in answers if answer.granted)
            assert granted == sorted(twin.standings[0].remaining for twin in twins if twin.granted)
            assert crowd or granted == list(range(rule.limit))


@ensureDeferred
async def test_every_decision_is_the_one_of_the_twin(links: list[Linked]) -> None:
    for schedule in range(SCHEDULES):
        random, three = Random(schedule), Simulated(links, 1_700_000_000.0 + schedule * 0.37)
        rules = [
            Limit(
                f"test/api/a/limit/{schedule}-{number}", random.randint(0, 12),
                random.choice((0.9, 10.0, 60.0, 3600.0)), random.choice(ALGORITHMS),
            )
            for number in range(3)
        ]
        asked, twins = [], []
        for _ in range(60):
            three.clock.advance(gap(random, random.choice(rules).period))
            some = random.choices(rules, k=random.choice((1, 1, 2, 3)))
            # On one connection what is asked first is answered first.
            if random.random() < 0.2:
                asked.append(three.stores[0].peek(some))
                twins.append(three.memory.peek(some))
            else:
                cost = random.choice((0, 1, 1, 1, 2, 5))
                asked.append(three.stores[0].take(some, cost))
                twins.append(three.memory.take(some, cost))
        for real, twin in zip(await together(*asked), twins, strict=True):
            assert same(real, twin), (schedule, real, twin)


@pytest.mark.parametrize("algorithm", ["sliding-window", "fixed-window"])
@ensureDeferred
async def test_a_changed_limit_keeps_what_was_counted(links: list[Linked], algorithm: str) -> None:
    """A bucket that is refilled at another pace depends on when it was looked at, which the server does not write."""
    for schedule in range(50):
        random, three = Random(schedule), Simulated(links)
        asked, twins = [], []
        for _ in range(40):
            three.clock.advance(gap(random, 10.0))
            rule = Limit(f"test/api/a/limit/{schedule}", random.randint(1, 12), 10.0, algorithm)
            asked.append(three.stores[0].take([rule]))
            twins.append(three.memory.take([rule]))
        answers = await together(*asked)
        assert [(one.granted, one.standings[0].remaining) for one in answers] == [
            (one.granted, one.standings[0].remaining) for one in twins
        ]


@ensureDeferred
async def test_leases_are_those_of_the_twin(links: list[Linked]) -> None:
    for schedule in range(SCHEDULES):
        random, three = Random(schedule), Simulated(links)
        keys = [f"test/api/a/limit/running/{schedule}-{number}" for number in range(3)]
        store, memory = three.stores[0], three.memory
        asked, twins = [], []
        for _ in range(60):
            three.clock.advance(random.choice((0.0, 0.0, 0.5, 3.0, random.random() * 12)))
            some, holder = random.sample(keys, random.choice((1, 1, 2))), f"h{random.randint(1, 6)}"
            what = random.random()
            if what < 0.6:
                capacities = [Capacity(key, random.randint(1, 4)) for key in some]
                seconds = random.choice((5.0, 10.0))
                asked.append(store.lease(capacities, holder, seconds))
                twins.append(memory.lease(capacities, holder, seconds))
            elif what < 0.8:
                holders = [f"h{random.randint(1, 6)}" for _ in some]
                asked.append(store.renew(some, holders, 10.0))
                memory.renew(some, holders, 10.0)
                twins.append(None)
            else:
                asked.append(store.release(some, holder))
                memory.release(some, holder)
                twins.append(None)
        for real, twin in zip(await together(*asked), twins, strict=True):
            assert real is twin is None or same(real, twin), (schedule, real, twin)


@ensureDeferred
async def test_quotas_are_those_of_the_twin(links: list[Linked]) -> None:
    for schedule in range(SCHEDULES):
        random, three = Random(schedule), Simulated(links)
        begins = three.clock.wall()
        edges = tuple(begins + at for at in (-20.0, -3.5, 40.0, 90.0, 9000.0))
        quotas = [
            Quota(f"test/api/a/quota/{schedule}-{number}", random.randint(0, 9), random.choice(((), edges, edges[1:])))
            for number in range(3)
        ]
        asked: list[Any] = []
        twins: list[Decision | list[Usage]] = []
        for _ in range(40):
            three.clock.advance(random.choice((0.0, 0.0, 1.0, 5.0, 40.0 * random.random())))
            some = random.choices(quotas, k=random.choice((1, 1, 2, 3)))
            if random.random() < 0.1:  # the limits are changed
                some = [quota._replace(limit=random.randint(0, 9)) for quota in some]
            if random.random() < 0.3:
                asked.append(three.stores[0].usage(some))
                twins.append(three.quotas.usage(some))
            else:
                cost = random.choice((0, 1, 1, 2, 10))
                asked.append(three.stores[0].consume(some, cost))
                twins.append(three.quotas.consume(some, cost))
        for real, twin in zip(await together(*asked), twins, strict=True):
            assert same(real, twin) if isinstance(twin, Decision) else real == twin, (schedule, real, twin)


# ---- by the server's time

# No window ends while a test runs.
LONG = 31 * 86400.0


@each_algorithm
@ensureDeferred
async def test_by_the_server_s_time_exactly_n_of_m_pass(links: list[Linked], algorithm: str) -> None:
    stores = [RedisStore(one.link, "test") for one in links]
    for schedule in range(20):
        random = Random(f"{algorithm} {schedule}")
        limit = random.randint(1, 50)
        rule = Limit(f"test/api/a/limit/{schedule}", limit, LONG, algorithm)
        answers = await together(*(random.choice(stores).take([rule]) for _ in range(limit * 2 + 7)))
        remaining = sorted(answer.standings[0].remaining for answer in answers if answer.granted)
        assert remaining == list(range(limit))
        assert all(0 < answer.standings[0].reset_after <= LONG * 1.01 for answer in answers)
        assert all((answer.standings[0].retry_after > 0) != answer.granted for answer in answers)


@ensureDeferred
async def test_by_the_server_s_time_places_and_quotas_are_exact(links: list[Linked], redis: RedisServer) -> None:
    stores = [RedisStore(one.link, "test") for one in links]
    capacity, quota = Capacity("test/api/a/limit/running/x", 9), Quota("test/api/a/quota/x", 9)
    places = await together(
        *(stores[number % 3].lease([capacity], f"h{number}", LONG) for number in range(40))
    )
    used = await together(*(stores[number % 3].consume([quota]) for number in range(40)))
    assert [answer.granted for answer in places].count(True) == 9
    assert [answer.granted for answer in used].count(True) == 9
    now = float(redis.command("TIME")[0])
    edges = (now - 500.0, now - 100.0, now + 5000.0)
    window = (await stores[0].usage([Quota("test/api/a/quota/y", 9, edges)]))[0]
    assert window[2:] == edges[1:]
