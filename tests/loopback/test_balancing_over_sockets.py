"""Which origin gets a request, and what becomes of it when an origin dies."""

from __future__ import annotations

from statistics import median
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked, Origin, Script, answering
from toolkit.settings import Settings, api, upstream
from toolkit.stage import Stage
from toolkit.waiting import reactor, together, turn, until


def over(*origins: Origin, **more: Any) -> Settings:
    """An upstream of these origins behind one route."""
    return {"upstreams": [upstream(*origins, **more)], "apis": [api()]}


@ensureDeferred
async def test_round_robin_alternates(stage: Stage) -> None:
    origins = [await stage.origin(answering(200, name)) for name in (b"one", b"two")]
    await stage.serve(over(*origins))
    client = await stage.client()
    bodies = [(await client.ask("GET", "/")).body for _ in range(8)]
    assert set(bodies[:2]) == {b"one", b"two"}
    assert bodies == bodies[:2] * 4


@ensureDeferred
async def test_weights_are_kept(stage: Stage) -> None:
    origins = [await stage.origin() for _ in range(3)]
    settings = over(*origins)
    for target, weight in zip(settings["upstreams"][0]["targets"], (3, 1, 0), strict=True):
        target["weight"] = weight
    await stage.serve(settings)
    client = await stage.client()
    for _ in range(12):
        await client.ask("GET", "/")
    assert [len(origin.asked) for origin in origins] == [9, 3, 0]


@ensureDeferred
async def test_least_connections_avoids_who_is_busy(stage: Stage) -> None:
    busy, free = await stage.origin(lambda asked: None), await stage.origin()
    await stage.serve(over(busy, free, balance="least-connections"))
    waiting = [await stage.client() for _ in range(2)]
    for client in waiting:
        client.send(request("GET", "/"))
    await until(lambda: busy.asked)
    client = await stage.client()
    for _ in range(10):
        assert (await client.ask("GET", "/")).status == 200
    assert len(busy.asked) == 1


@ensureDeferred
async def test_killing_one_origin_fails_over_without_a_failed_get(stage: Stage) -> None:
    async def work(asked: Asked) -> None:
        await turn(0.003)
        asked.answer(200, b"done")

    origins = [await stage.origin(work) for _ in range(2)]
    await stage.serve(over(*origins))
    statuses: list[int] = []
    enough: list[int] = []

    async def load() -> None:
        client = await stage.client()
        while not enough:
            statuses.append((await client.ask("GET", "/")).status)

    running = together(*(load() for _ in range(4)))
    await until(lambda: len(statuses) > 40)
    origins[0].die()
    before = len(statuses)
    await until(lambda: len(statuses) > before + 100)
    enough.append(1)
    await running
    assert set(statuses) == {200}
    # It is put aside after some failures, so that not every request has to find out.
    assert not stage.gateway.worker.upstreams()[0]["targets"][0]["usable"]
    await stage.gateway.event("target is aside", target="o1")


@ensureDeferred
async def test_a_target_put_aside_by_traffic_comes_back(stage: Stage) -> None:
    origins = [await stage.origin(), await stage.origin()]
    passive = {"passive": {"failures": 2, "aside_for": "1s"}}
    await stage.serve(over(*origins, health=passive))
    origins[0].die()
    client = await stage.client()
    for _ in range(6):
        assert (await client.ask("GET", "/")).status == 200
    target = stage.gateway.worker.upstreams()[0]["targets"][0]
    assert not target["usable"] and "failures" in target["why"]
    await origins[0].listen()
    await until(lambda: stage.gateway.worker.upstreams()[0]["targets"][0]["usable"])
    before = len(origins[0].asked)
    for _ in range(4):
        assert (await client.ask("GET", "/")).status == 200
    assert len(origins[0].asked) > before
    await stage.gateway.event("target is back", target="o1")


@ensureDeferred
async def test_statuses_put_a_target_aside_too_and_never_the_last_one(stage: Stage) -> None:
    bad, good = await stage.origin(answering(503, b"bad")), await stage.origin()
    passive = {"passive": {"failures": 2, "aside_for": "10s"}}
    await stage.serve(over(bad, good, health=passive))
    client = await stage.client()
    for _ in range(8):
        assert (await client.ask("GET", "/")).status == 200
    assert len(bad.asked) == 2
    good.script = answering(503, b"bad too")
    for _ in range(4):
        answer = await client.ask("GET", "/")
        assert (answer.status, answer.body) == (503, b"bad too")


@ensureDeferred
async def test_failover_targets_are_asked_in_order_and_only_when_no_primary_is_left(stage: Stage) -> None:
    primary, second, third = [await stage.origin() for _ in range(3)]
    settings = over(primary, second, third, health={"passive": {"failures": 1, "aside_for": "200ms"}})
    for target in settings["upstreams"][0]["targets"][1:]:
        target["role"] = "failover"
    await stage.serve(settings)
    client = await stage.client()
    await client.ask("GET", "/")
    primary.die()
    for _ in range(3):
        assert (await client.ask("GET", "/")).status == 200
    assert [len(origin.asked) for origin in (primary, second, third)] == [1, 3, 0]
    second.die()
    for _ in range(3):
        assert (await client.ask("GET", "/")).status == 200
    assert len(third.asked) >= 1
    await primary.listen()
    await until(lambda: stage.gateway.worker.upstreams()[0]["targets"][0]["usable"], within=1.0)
    assert (await client.ask("GET", "/")).status == 200
    assert len(primary.asked) == 2


# ---- active health


def healthy_or_not(flags: dict[str, bool]) -> Script:
    async def script(asked: Asked) -> None:
        await asked.read()
        if asked.target == "/health":
            asked.answer(200 if flags["good"] else 500)
        else:
            asked.answer(200, b"ok")

    return script


CHECKS = {
    "path": "/health",
    "interval": "50ms",
    "timeout": "100ms",
    "unhealthy_after": 2,
    "healthy_after": 2,
    "passive": None,
}


@ensureDeferred
async def test_active_checks_take_a_target_out_and_bring_it_back(stage: Stage) -> None:
    flags = {"good": True}
    sick = await stage.origin(healthy_or_not(flags))
    well = await stage.origin(healthy_or_not({"good": True}))
    await stage.serve(over(sick, well, health=CHECKS))
    client = await stage.client()

    def usable() -> bool:
        return bool(stage.gateway.worker.upstreams()[0]["targets"][0]["usable"])

    async def served_by_sick() -> int:
        before = _served(sick)
        for _ in range(6):
            assert (await client.ask("GET", "/")).status == 200
        return _served(sick) - before

    assert await served_by_sick() == 3
    flags["good"] = False
    await until(lambda: not usable())
    assert await served_by_sick() == 0
    await stage.gateway.event("target is unhealthy", target="o1", why="check answered 500")
    flags["good"] = True
    await until(usable)
    assert await served_by_sick() == 3
    await stage.gateway.event("target is healthy", target="o1")


def _served(origin: Origin) -> int:
    return sum(asked.target != "/health" for asked in origin.asked)


@pytest.mark.parametrize("how", ["refused", "silent", "nonsense"])
@ensureDeferred
async def test_with_no_target_left_503_comes_at_once_and_recovery_needs_no_reload(
    stage: Stage, how: str
) -> None:
    flags = {"good": True}
    origin = await stage.origin(healthy_or_not(flags))
    await stage.serve(over(origin, health=CHECKS))
    client = await stage.client()
    assert (await client.ask("GET", "/")).status == 200
    good = origin.script
    if how == "refused":
        origin.die()
    else:
        said = b"" if how == "silent" else b"220 smtp ready\r\n\r\n"
        origin.script = lambda asked: asked.send(said)
    await until(lambda: not stage.gateway.worker.upstreams()[0]["targets"][0]["usable"])
    asked = _served(origin)
    took: list[float] = []
    for _ in range(20):
        began = reactor.seconds()
        answer = await client.ask("GET", "/")
        assert (answer.status, answer.kind, answer.get("retry-after")) == (503, "unavailable", "1")
        took.append(reactor.seconds() - began)
    assert median(took) < 0.1
    assert _served(origin) == asked
    origin.script = good
    if how == "refused":
        await origin.listen()
    await until(lambda: stage.gateway.worker.upstreams()[0]["targets"][0]["usable"])
    assert (await client.ask("GET", "/")).status == 200


@ensureDeferred
async def test_checks_begin_with_the_deployment_and_end_with_it(stage: Stage) -> None:
    origin, other = await stage.origin(), await stage.origin()
    gateway = await stage.serve(over(origin, health=CHECKS))
    await until(lambda: len(origin.asked) >= 2)
    checked = origin.last
    assert (checked.method, checked.target, checked.get("host")) == (
        "GET",
        "/health",
        f"127.0.0.1:{origin.port}",
    )
    gateway.write(over(other, health=CHECKS))
    assert (await gateway.reload())["taken"]
    await until(lambda: other.asked)
    count = len(origin.asked)
    await turn(0.15)
    assert len(origin.asked) <= count + 1


@ensureDeferred
async def test_health_survives_a_reload(stage: Stage) -> None:
    origin, other = await stage.origin(), await stage.origin()
    settings = over(origin, other, health={"passive": {"failures": 1, "aside_for": "30s"}})
    gateway = await stage.serve(settings)
    origin.die()
    client = await stage.client()
    for _ in range(3):
        assert (await client.ask("GET", "/")).status == 200
    gateway.write({**settings, "paths": {"dot_segments": "normalise"}})
    assert (await gateway.reload())["taken"]
    assert not gateway.worker.upstreams()[0]["targets"][0]["usable"]
    assert (await client.ask("GET", "/")).status == 200


@ensureDeferred
async def test_an_operator_drains_a_target_and_takes_it_back(stage: Stage) -> None:
    origins = [await stage.origin(), await stage.origin()]
    gateway = await stage.serve(over(*origins))
    gateway.worker.drain_target("up", "o1", True)
    client = await stage.client()
    for _ in range(4):
        assert (await client.ask("GET", "/")).status == 200
    assert [len(origin.asked) for origin in origins] == [0, 4]
    gateway.worker.drain_target("up", "o1", False)
    for _ in range(4):
        await client.ask("GET", "/")
    assert len(origins[0].asked) == 2


# ---- limits of time


@pytest.mark.parametrize(
    ("timeouts", "kind"),
    [
        ({"response": "150ms"}, "response-timeout"),
        ({"total": "150ms", "response": "10s"}, "response-timeout"),
    ],
)
@ensureDeferred
async def test_an_upstream_that_does_not_answer_in_time_gives_504(
    stage: Stage, timeouts: dict[str, str], kind: str
) -> None:
    origin = await stage.origin(lambda asked: None)
    await stage.serve(over(origin, timeouts=timeouts))
    began = reactor.seconds()
    answer = await stage.ask("GET", "/")
    assert (answer.status, answer.kind) == (504, kind)
    assert 0.1 < reactor.seconds() - began < 4.0
    await until(lambda: not origin.open)


@ensureDeferred
async def test_the_limit_of_connections_to_a_target_gives_503(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: None)
    await stage.serve(over(origin, pool={"max_connections": 2}, retry={"attempts": 1}))
    waiting = [await stage.client() for _ in range(2)]
    for client in waiting:
        client.send(request("GET", "/"))
    await until(lambda: len(origin.asked) == 2)
    answer = await stage.ask("GET", "/")
    assert (answer.status, answer.kind) == (503, "overloaded")
