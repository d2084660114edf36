"""Fault 34, clock: what waits goes by the clock that nobody sets; what is told, or ends at a date, by the wall's."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
from gateway_process import GatewayProcess, eventually, fetched, process_on
from moved_clock import MovedClock
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked
from toolkit.settings import api, route, simple, step, steps, upstream
from toolkit.stage import Stage
from toolkit.waiting import reactor, turn, until

MOVES = {"+1h": timedelta(hours=1), "-1h": timedelta(hours=-1), "+10y": timedelta(days=3650)}
# What may pass between a reading here and one there.
ABOUT = timedelta(minutes=2)


@pytest.fixture
def clock(tmp_path: Path) -> MovedClock:
    return MovedClock(tmp_path)


@pytest.fixture(params=MOVES)
def by(request: pytest.FixtureRequest) -> str:
    """How far the clock is moved."""
    return str(request.param)


async def stand(stage: Stage, clock: MovedClock, settings: dict[str, Any], **how: Any) -> GatewayProcess:
    return await process_on(stage, settings, **how, **clock.environ)


@pytest.mark.parametrize(
    ("by", "uvloop"), [(by, True) for by in MOVES] + [("-1h", False)], ids=[*MOVES, "-1h on asyncio"]
)
@ensureDeferred
async def test_connections_end_at_their_time(stage: Stage, clock: MovedClock, by: str, uvloop: bool) -> None:
    origin = await stage.origin(lambda asked: asked.answer(200) if asked.target == "/" else None)
    limits = {"idle_timeout": "3s", "header_timeout": "3s", "body_timeout": "3s"}
    settings = simple(origin, up={"timeouts": {"response": "3s", "total": "3s"}, "retry": {"attempts": 1}})
    await stand(stage, clock, settings, uvloop=uvloop, limits=limits)
    idle, slow, waiting = [await stage.client() for _ in range(3)]
    began = reactor.seconds()
    assert await fetched(idle) == 200
    slow.send(b"GET / HTTP/1.1\r\nHost:")
    waiting.send(request("GET", "/silent"))
    await until(lambda: len(origin.asked) == 2)
    clock.move(by)
    while reactor.seconds() - began < 1.5:  # no sooner, though hours have passed
        assert not (idle.ended or slow.size or waiting.size)
        await turn(0.02)
    # And no later, though time has gone back.
    assert (await waiting.answer(within=10.0)).status == 504
    assert (await slow.answer(within=10.0)).status == 408
    await idle.gone(within=10.0)


@ensureDeferred
async def test_limits_count_in_their_own_time(stage: Stage, clock: MovedClock, by: str) -> None:
    origin = await stage.origin()
    limits = {per: steps(step("rate-limit", limit=1, per=per, by="ip")) for per in ("2h", "2s")}
    apis = [api(route(), name=f"per{per}", base_path=f"/{per}", pre_flow=flow) for per, flow in limits.items()]
    await stand(stage, clock, simple(origin, *apis))
    client = await stage.client()
    assert await fetched(client, "/2h") == await fetched(client, "/2s") == 200
    clock.move(by)
    assert await fetched(client, "/2h") == 429

    async def granted() -> bool:
        return await fetched(client, "/2s") == 200

    await eventually(granted, within=10.0)
    assert await fetched(client, "/2h") == 429


@ensureDeferred
async def test_checks_go_on_and_who_is_put_aside_stays_so(stage: Stage, clock: MovedClock, by: str) -> None:
    def bad(asked: Asked) -> None:
        if asked.target == "/health":
            asked.answer(200)
        else:
            asked.connection.reset()

    one, two = await stage.origin(name="one"), await stage.origin(bad, name="two")
    health = {"path": "/health", "interval": "100ms", "timeout": "1s", "passive": {"failures": 1, "aside_for": "30m"}}
    gateway = await stand(stage, clock, {"upstreams": [upstream(one, two, health=health)], "apis": [api()]})
    await until(lambda: one.asked and two.asked)
    client = await stage.client()
    while not any(asked.target == "/" for asked in two.asked):
        await fetched(client)
    labels = '{target="two",upstream="up"}'
    assert await gateway.metric("apigateway_target_healthy", labels) == 0.0
    clock.move(by)
    for origin in (one, two):
        before = len(origin.asked)
        await until(lambda: len(origin.asked) > before + 5, within=10.0)  # noqa: B023
    assert await gateway.metric("apigateway_target_healthy", labels) == 0.0
    assert await fetched(client) == 200


@ensureDeferred
async def test_kept_connections_are_kept_as_long_as_the_pool_says(stage: Stage, clock: MovedClock, by: str) -> None:
    long, short = await stage.origin(name="long"), await stage.origin(name="short")
    ups = [
        upstream(long, name="long", pool={"idle_timeout": "30m"}),
        upstream(short, name="short", pool={"idle_timeout": "1s"}),
    ]
    apis = [api(route(to=name), name=name, base_path=f"/{name}") for name in ("long", "short")]
    await stand(stage, clock, {"upstreams": ups, "apis": apis})
    client = await stage.client()
    assert await fetched(client, "/long") == await fetched(client, "/short") == 200
    clock.move(by)
    await until(lambda: not short.open, within=10.0)
    assert await fetched(client, "/long") == 200
    assert len(long.connections) == 1


@ensureDeferred
async def test_logs_and_dates_show_the_clock_on_the_wall(stage: Stage, clock: MovedClock, by: str) -> None:
    async def answer_or_reset(asked: Asked) -> None:
        if asked.target == "/bad":
            asked.connection.reset()
        else:
            asked.answer(200)

    origin = await stage.origin(answer_or_reset)
    gateway = await stand(stage, clock, simple(origin, up={"retry": {"attempts": 1}}))
    client = await stage.client()
    assert await fetched(client, "/before") == 200
    await gateway.line()
    clock.move(by)
    # At once: the first line and the first answer after the move are right already.
    there = datetime.now(UTC) + MOVES[by]
    answer = await client.ask("GET", "/after")
    assert await fetched(client, "/bad") == 502
    line = await gateway.line(lambda line: line["target"] == "/after")
    event = await gateway.event("The upstream closed the connection")
    stamps = [parsedate_to_datetime(answer.get("date") or ""), *map(moment, (line, event))]
    assert all(abs(stamp - there) < ABOUT for stamp in stamps), stamps
    # Durations have nothing to do with it.
    assert all(0 <= (part or 0) < 60_000 for part in line["duration_ms"].values())
    assert (await gateway.told("/v1/worker/status")).json["uptime_seconds"] < 120
    assert await gateway.metric("apigateway_loop_lag_seconds_sum") < 60
    assert await gateway.metric("apigateway_request_duration_seconds_sum", TOTAL) < 60


TOTAL = '{api="api",phase="total",route="all"}'


def moment(line: dict[str, Any]) -> datetime:
    """When a log says that it was."""
    return datetime.fromisoformat(line["time"])


@ensureDeferred
async def test_a_key_ends_at_its_date(stage: Stage, clock: MovedClock) -> None:
    origin = await stage.origin()
    ends = (datetime.now(UTC) + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    key = {"sha256": hashlib.sha256(b"k1").hexdigest(), "expires": ends}
    guarded = api(pre_flow=steps(step("api-key", header="X-Key")))
    consumers = [{"name": "acme", "api_keys": [key]}]
    await stand(stage, clock, simple(origin, guarded, consumers=consumers))
    client = await stage.client()
    for by, status in (("+0", 200), ("+1h", 401), ("-1h", 200), ("+10y", 401), ("+0", 200)):
        clock.move(by)
        assert await fetched(client, "/", "X-Key: k1") == status, by


@ensureDeferred
async def test_it_ends_in_time_where_the_clock_is_put_back(stage: Stage, clock: MovedClock) -> None:
    origin = await stage.origin(lambda asked: None)
    gateway = await stand(stage, clock, simple(origin, drain={"notice": "100ms", "timeout": "1s"}))
    client = await stage.client()
    client.send(request("GET", "/never"))
    await until(lambda: origin.asked)
    clock.move("-1h")
    process = gateway.process
    process.terminate()
    await until(lambda: process.poll() is not None, within=15.0)
    assert process.returncode == 0
    await client.gone()
    assert [line["status"] for line in gateway.access()] != []
