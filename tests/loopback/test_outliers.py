"""Targets that fail too often, or answer slowly, over real sockets, and what operators see of it."""

from __future__ import annotations

from typing import Any

from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked, answering
from toolkit.settings import api, upstream
from toolkit.stage import Stage
from toolkit.waiting import turn, until


async def page(stage: Stage) -> str:
    return (await stage.ask("GET", "/metrics", place=stage.gateway.management)).body.decode()


def shown(stage: Stage) -> dict[str, Any]:
    found: dict[str, Any] = stage.gateway.worker.upstreams()[0]
    return found


async def serve(stage: Stage, *origins: Any, **more: Any) -> None:
    await stage.serve({
        "upstreams": [upstream(*origins, retry={"attempts": 1}, **more)], "apis": [api()],
        "management": {"address": "127.0.0.1:0"},
    })


@ensureDeferred
async def test_an_outlier_is_put_aside_and_when_all_fail_no_more_than_the_ceiling(stage: Stage) -> None:
    origins = [await stage.origin() for _ in range(4)]
    origins[0].script = answering(503, b"broken")
    passive = {"failures": 1000, "percent": "50%", "minimum": 5, "aside_for": "1h", "max_aside": "50%"}
    await serve(stage, *origins, health={"passive": passive}, panic_threshold="75%")
    client = await stage.client()
    statuses = [(await client.ask("GET", "/")).status for _ in range(24)]
    assert statuses.count(503) == 5
    target = shown(stage)["targets"][0]
    assert (target["usable"], target["aside"]["times"]) == (False, 1)
    assert target["aside"]["seconds"] > 3000
    assert "5 of 5 failed" in target["why"]
    assert not shown(stage)["panic"]
    await stage.gateway.event("target is aside", target="o1")

    for origin in origins:
        origin.script = answering(503, b"broken")
    for _ in range(60):
        await client.ask("GET", "/")
    assert sum(target["aside"]["times"] for target in shown(stage)["targets"]) == 2
    # Two of four are less than three quarters: health is ignored, and all of them are asked.
    assert shown(stage)["panic"]
    before = [len(origin.asked) for origin in origins]
    for _ in range(8):
        await client.ask("GET", "/")
    assert [len(origin.asked) - count for origin, count in zip(origins, before, strict=True)] == [2] * 4
    told = await page(stage)
    assert 'apigateway_upstream_panic{upstream="up"} 1.0' in told
    assert 'apigateway_target_put_aside_total{target="o1",upstream="up"} 1.0' in told


@ensureDeferred
async def test_ewma_leaves_who_is_slow_and_shows_what_it_knows(stage: Stage) -> None:
    held: list[Asked] = []
    slow, quick = await stage.origin(held.append), await stage.origin()
    await serve(stage, slow, quick, balance="ewma")
    waiting = await stage.client()
    while not held:
        waiting.send(request("GET", "/"))
        await until(lambda: held or waiting.unread)
        if not held:
            await waiting.answer()
    client = await stage.client()
    for _ in range(20):
        assert (await client.ask("GET", "/")).status == 200
    assert len(slow.asked) == 1
    targets = shown(stage)["targets"]
    assert targets[0]["latency_seconds"] is None
    assert 0 <= targets[1]["latency_seconds"] < 1
    held[0].answer(200)
    await waiting.answer()
    assert shown(stage)["targets"][0]["latency_seconds"] > 0
    assert 'apigateway_target_latency_seconds{target="o2",upstream="up"}' in await page(stage)


@ensureDeferred
async def test_the_time_that_a_client_takes_over_its_body_is_not_its_targets(stage: Stage) -> None:
    origin = await stage.origin()
    await serve(stage, origin, balance="ewma")

    async def latency(ending: bytes) -> float | None:
        client = await stage.client()
        client.send(request("POST", "/", "Content-Length: 2") + b"x")
        await until(lambda: shown(stage)["targets"][0]["active"] == 1)
        await turn(1.0)
        if ending:
            client.send(ending)
            assert (await client.answer()).status == 200
        client.close()
        await until(lambda: shown(stage)["targets"][0]["active"] == 0)
        found: float | None = shown(stage)["targets"][0]["latency_seconds"]
        return found

    assert await latency(b"") is None  # it left, and nothing is known yet
    known = await latency(b"y")
    assert known is not None and known < 0.9


@ensureDeferred
async def test_slow_uploads_say_nothing_of_a_target(stage: Stage) -> None:
    origin = await stage.origin()
    settings = {"breaker": {"failures": 2, "open_for": "1h"}, "timeouts": {"total": "300ms"}}
    await serve(stage, origin, **settings)
    slow = [await stage.client() for _ in range(4)]
    for client in slow:
        client.send(request("POST", "/", "Content-Length: 1000") + b"x")
    for client in slow:
        answer = await client.answer()
        assert (answer.status, answer.kind) == (408, "request-timeout")
    assert shown(stage)["targets"][0]["breaker"]["state"] == "closed"
    assert (await stage.ask("GET", "/")).status == 200
    line = await stage.gateway.line()
    assert line["fault"]["type"] == "request-timeout"
