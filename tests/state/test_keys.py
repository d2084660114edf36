"""How keys are called in the server, and how many of them there are."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from redis_server import RedisServer
from toolkit.waiting import together, until

from apigateway.adapters.redis import scripts
from apigateway.adapters.redis.keys import Keys, number
from apigateway.adapters.redis.store import MOST_TEXTS, RedisStore
from apigateway.ports.interfaces import Limit, Quota
from apigateway.ports.memory import ManualClock

KEYS = Keys("prod")


@pytest.mark.parametrize(
    ("kind", "key", "name"),
    [
        ("s60", "prod/api/users/limit/a/ip:192.0.2.1", b"apigateway:prod:{api/users}:s60:limit/a/ip:192.0.2.1"),
        ("l", "prod/api/users/route/read/limit/running/x", b"apigateway:prod:{api/users}:l:route/read/limit/running/x"),
        ("v", "prod/gateway/once/idempotency/x", b"apigateway:prod:{gateway/once}:v:idempotency/x"),
        ("v", "prod/gateway/once/", b"apigateway:prod:{gateway/once}:v:"),
        ("q", "prod/api/a/quota/day/}:q:{\r\n", b"apigateway:prod:{api/a}:q:quota/day/}:q:{\r\n"),
        ("q", "prod/api/a/quota/day/\udcff", b"apigateway:prod:{api/a}:q:quota/day/\xed\xb3\xbf"),
        ("q", "other/api/a/quota/day/x", b"apigateway:prod:{other/api/a/quota/day/x}:q"),
        ("v", "k", b"apigateway:prod:{k}:v"),
        ("v", "", b"apigateway:prod:{}:v"),
    ],
)
def test_names(kind: str, key: str, name: bytes) -> None:
    assert KEYS.name(kind, key) == name
    assert KEYS.key(kind, name) == key
    assert KEYS.key("other", name) is None


def test_keys_of_one_api_land_together() -> None:
    """Between the first brace and the next one is what Redis Cluster looks at."""
    whose = ("a", "}{", "x/y/z")
    keys = [f"prod/api/users/{step}/{who}" for step in ("limit/a", "route/read/quota/day") for who in whose]
    names = [KEYS.name(kind, key) for key in keys for kind in ("s60", "q", "v", "l")]
    assert {name.partition(b"{")[2].partition(b"}")[0] for name in names} == {b"api/users"}
    assert len(set(names)) == len(names)


def test_numbers_are_as_short_as_they_can_be_and_no_shorter() -> None:
    assert [number(value) for value in (60, 60.0, 0.25, 2678400.0, 0.1 + 0.2)] == [
        "60", "60", "0.25", "2678400", "0.30000000000000004"
    ]


def test_every_script_says_what_it_promises() -> None:
    found = [file for file in (files("apigateway.adapters.redis") / "lua").iterdir() if file.name.endswith(".lua")]
    made = {one.name for one in vars(scripts).values() if isinstance(one, scripts.Script)}
    assert {file.name.removesuffix(".lua") for file in found} == made
    for file in found:
        head = file.read_text().partition("\n\n")[0]
        assert all(line.startswith("--") for line in head.splitlines()), file
        assert all(f"-- {word} " in head for word in ("KEYS", "ARGV", "Reply", "Cost", "Expiry")), file


@ensureDeferred
async def test_a_prefix_finds_quotas_only_and_no_more_than_asked(linked: Any, redis: RedisServer) -> None:
    store: Any = RedisStore((await linked({"url": redis.unix_url, "timeout": "10s"})).link, "prod")
    mine = [Quota(f"prod/api/a*/quota/day/{number}", 9) for number in range(2500)]
    others = [Quota("prod/api/ab/quota/day/1", 9), Quota("prod/api/a*/quotas/day/1", 9)]
    await together(*(store.consume([quota]) for quota in mine + others))
    await store.take([Limit("prod/api/a*/quota/day/1", 9, 60.0)])
    await store.put("prod/api/a*/quota/day/2", b"x", 60.0)
    assert sorted(await store.used_by("prod/api/a*/quota/", 9999)) == sorted((one.key, 1, 0.0, None) for one in mine)
    assert len(await store.used_by("prod/api/a*/quota/", 100)) == 100
    assert len(await store.used_by("prod/", 9999)) == len(mine + others)
    assert await store.used_by("prod/api/b/", 10) == []


@ensureDeferred
async def test_what_is_not_used_any_more_is_gone(linked: Any, redis: RedisServer) -> None:
    """Twenty thousand callers, each once; the server has those of the last second or two."""
    store: Any = RedisStore((await linked({"url": redis.unix_url, "timeout": "10s"})).link, "prod")
    before = int(redis.info("expired_keys"))
    for begin in range(0, 20_000, 500):
        await together(
            *(store.take([Limit(f"prod/api/a/limit/{caller}", 9, 0.05)]) for caller in range(begin, begin + 500))
        )
    left = [redis.command("PTTL", key) for key in redis.command("KEYS", "*")[:200]]
    assert all(milliseconds == -2 or 0 <= milliseconds <= 1100 for milliseconds in left)
    await until(lambda: redis.command("DBSIZE") <= 1, lambda: redis.command("DBSIZE"), within=30.0)
    assert int(redis.info("expired_keys")) - before >= 20_000


@pytest.mark.parametrize(
    ("algorithm", "most"), [("sliding-window", 400), ("fixed-window", 300), ("token-bucket", 300)]
)
@ensureDeferred
async def test_what_a_counter_takes(linked: Any, redis: RedisServer, algorithm: str, most: int) -> None:
    """Octets of the server's memory, with its name; see docs/state.md."""
    store: Any = RedisStore((await linked({"url": redis.unix_url, "timeout": "10s"})).link, "prod")
    before = int(redis.info("used_memory"))
    keys = [f"prod/api/users/rate-limit/consumer/ip:10.0.{number >> 8}.{number & 255}" for number in range(5000)]
    await together(*(store.take([Limit(key, 9, 3600.0, algorithm)]) for key in keys))
    assert (int(redis.info("used_memory")) - before) / len(keys) < most


@ensureDeferred
async def test_what_is_kept_ready_is_bounded(linked: Any, redis: RedisServer) -> None:
    clock = ManualClock(wall=1_700_000_000.0)
    link = (await linked({"url": redis.unix_url, "timeout": "10s"})).link
    store: Any = RedisStore(link, "prod", clock.wall)
    for begin in range(0, MOST_TEXTS + 1000, 100):
        await together(
            *(store.take([Limit("prod/api/a/limit/x", limit, 60.0)]) for limit in range(begin, begin + 100)),
            *(store.consume([Quota("prod/api/a/quota/x", limit)]) for limit in range(begin, begin + 100)),
        )
    assert max(len(store._rules), len(store._windows)) <= MOST_TEXTS
