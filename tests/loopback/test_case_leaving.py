"""RC-O12: clients that go away, five hundred of them, and what must not be left of them.

Counted are a rate limit, the places of a concurrency limit, what least-connections goes by, and the figure of running
exchanges.
"""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.origin import Asked
from toolkit.settings import Settings, api, step, steps, upstream
from toolkit.stage import Stage
from toolkit.waiting import until

MIB = 1 << 20
ALL, AT_ONCE, PLACES = 500, 100, 10


async def sleep_or_answer(asked: Asked) -> None:
    """/slow gets no answer."""
    if asked.target != "/slow":
        await asked.read()
        asked.answer(200, b"ok")


async def two_targets(stage: Stage) -> tuple[Any, Any]:
    """Two slow origins, balanced by what runs on them, with health learnt from traffic and a limit."""
    origins = [await stage.origin(sleep_or_answer) for _ in range(2)]
    passive = {"passive": {"failures": 1, "aside_for": "1h"}}
    settings: Settings = {
        "upstreams": [upstream(*origins, balance="least-connections", health=passive, retry={"attempts": 3})],
        "apis": [api(pre_flow=steps(step("rate-limit", limit=ALL + 2, per="1h", by="ip")))],
        "management": {"address": "127.0.0.1:0"},
    }
    await stage.serve(settings)
    return origins[0], origins[1]


def targets(stage: Stage) -> list[dict[str, Any]]:
    """Both, as operators see them."""
    found: list[dict[str, Any]] = stage.gateway.worker.upstreams()[0]["targets"]
    return found


async def gauges(stage: Stage) -> dict[str, float]:
    """What the metrics page says runs on each target."""
    page = (await stage.ask("GET", "/metrics", place=stage.gateway.management)).body.decode()
    lines = [line.rpartition(" ") for line in page.splitlines() if line.startswith("apigateway_target_active{")]
    return {name: float(value) for name, _, value in lines}


def leave(client: Client, how: str) -> None:
    client.reset() if how == "reset" else client.close()


@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_rc_o12_five_hundred_clients_that_leave_leave_nothing(stage: Stage, how: str) -> None:
    one, two = await two_targets(stage)
    for _ in range(ALL // AT_ONCE):
        clients = [await stage.client() for _ in range(AT_ONCE)]
        before = len(one.asked) + len(two.asked)
        for client in clients:
            client.send(request("GET", "/slow"))
        await until(
            lambda before=before: len(one.asked) + len(two.asked) == before + AT_ONCE  # type: ignore[misc]
        )
        # Balanced by what runs: both carry half, again and again.
        assert [target["active"] for target in targets(stage)] == [AT_ONCE // 2] * 2
        assert sorted((await gauges(stage)).values()) == [AT_ONCE / 2] * 2
        for client in clients:
            leave(client, how)
        await until(lambda: not one.open and not two.open, "the upstream's side ends", within=2.0)
        await until(lambda: [target["active"] for target in targets(stage)] == [0, 0])
    assert set((await gauges(stage)).values()) == {0.0}
    assert stage.gateway.worker.status()["exchanges_running"] == 0
    # None was tried again, and none counts as a failure of its target, of which one would be enough.
    assert len(one.asked) + len(two.asked) == ALL
    assert [(target["usable"], target["connections"]) for target in targets(stage)] == [
        (True, {"idle": 0, "busy": 0})
    ] * 2
    await until(lambda: len(stage.gateway.access()) == ALL)
    lines = stage.gateway.access()
    assert {(line["status"], line["fault"]["type"], line["attempts"]) for line in lines} == {
        (499, "client-closed", 1)
    }
    # The limit counted each of them once: two are left.
    assert [(await stage.ask("GET", "/quick")).status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_rc_o12_clients_that_leave_in_the_middle_of_an_upload(stage: Stage, how: str) -> None:
    one, two = await two_targets(stage)
    clients = [await stage.client() for _ in range(10)]
    for client in clients:
        client.send(b"POST /slow HTTP/1.1\r\nHost: gw.test\r\nContent-Length: %d\r\n\r\n" % (10 * MIB))
        client.send(b"x" * (MIB // 2))
    await until(lambda: len(one.asked) + len(two.asked) == 10)
    connections = [*one.connections, *two.connections]
    await until(lambda: all(connection.size > MIB // 2 for connection in connections))
    for client in clients:
        leave(client, how)
    await until(lambda: not one.open and not two.open, "the upstream's side ends", within=2.0)
    # No target took what it got for the whole.
    assert all(connection.size < MIB for connection in connections)
    await until(lambda: len(stage.gateway.access()) == 10)
    assert {line["status"] for line in stage.gateway.access()} == {499}
    assert [(target["active"], target["usable"]) for target in targets(stage)] == [(0, True)] * 2
    assert stage.gateway.worker.status()["exchanges_running"] == 0


@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_rc_o12_places_are_free_within_a_second(stage: Stage, how: str) -> None:
    """Ten of a hundred at a time get through to the upstream; when they have left, ten others do."""
    origin = await stage.origin(sleep_or_answer)
    limit = step("concurrency-limit", limit=PLACES, by="api", lease="1h")
    await stage.serve({"upstreams": [upstream(origin)], "apis": [api(pre_flow=steps(limit))]})
    for wave in range(1, ALL // AT_ONCE + 1):
        clients = [await stage.client() for _ in range(AT_ONCE)]
        for client in clients:
            client.send(request("GET", "/slow"))
        refused = AT_ONCE - PLACES
        await until(lambda: [client.size > 0 for client in clients].count(True) == refused)  # noqa: B023
        await until(lambda: len(origin.asked) == wave * PLACES)  # noqa: B023
        await until(lambda: len(origin.open) == PLACES)
        for client in clients:
            leave(client, how)
        await until(lambda: stage.gateway.worker.status()["exchanges_running"] == 0, within=1.0)
    await until(lambda: len(stage.gateway.access()) == ALL)
    statuses = [line["status"] for line in stage.gateway.access()]
    assert {status: statuses.count(status) for status in set(statuses)} == {499: 50, 429: 450}
    assert (await stage.ask("GET", "/quick")).status == 200
