"""RC-O15: a breaker that is half-open lets in as many as there are permits, however many wait."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.message import Answer
from toolkit.origin import Asked, Origin, answering
from toolkit.settings import Settings, api, simple, upstream
from toolkit.stage import Stage
from toolkit.waiting import together, until

CROWD = 200
OPEN_FOR = 2.0


def guarded(*origins: Origin, probes: int = 1, response: str = "30s", **more: Any) -> Settings:
    breaker = {"window": "10s", "failures": 5, "open_for": f"{OPEN_FOR:g}s", "half_open_probes": probes}
    timeouts = {"response": response, "total": "60s"}
    one = upstream(*origins, breaker=breaker, timeouts=timeouts, retry={"attempts": 1}, **more)
    return {"upstreams": [one], "apis": [api()], "management": {"address": "127.0.0.1:0"}}


def shown(stage: Stage, number: int = 0) -> dict[str, Any]:
    target: dict[str, Any] = stage.gateway.worker.upstreams()[0]["targets"][number]
    return target


def state(stage: Stage) -> str:
    breaker: dict[str, Any] = shown(stage)["breaker"]
    return str(breaker["state"])


async def open_it(stage: Stage, origin: Origin) -> None:
    """Five failures."""
    script, origin.script = origin.script, answering(503, b"broken")
    for _ in range(5):
        assert (await stage.ask("GET", "/")).body == b"broken"
    assert state(stage) == "open"
    origin.script = script


async def half_open(stage: Stage) -> None:
    await until(lambda: state(stage) == "half-open")


def is_refusal(answer: Answer) -> bool:
    return (
        answer.status == 503 and int(answer.get("retry-after") or 0) >= 1
        and "destination_unavailable" in (answer.get("proxy-status") or "")
    )


async def crowd(stage: Stage) -> list[Client]:
    """So many connections, on which nothing was asked yet."""
    return [await stage.client() for _ in range(CROWD)]


async def rush(clients: list[Client]) -> None:
    for client in clients:
        client.send(request("GET", "/crowd"))


def asked(origin: Origin, target: str = "/crowd") -> list[Asked]:
    return [one for one in origin.asked if one.target == target]


@pytest.mark.parametrize("probes", [1, 3])
@ensureDeferred
async def test_rc_o15_of_a_crowd_exactly_the_permitted_number_passes(stage: Stage, probes: int) -> None:
    origin = await stage.origin(lambda asked: None)  # accepts, and does not answer
    await stage.serve(guarded(origin, probes=probes, response="3s"))
    await open_it(stage, origin)
    assert is_refusal(await stage.ask("GET", "/while-open"))
    assert not asked(origin, "/while-open")
    clients = await crowd(stage)
    await half_open(stage)
    await rush(clients)
    await until(lambda: len(stage.gateway.access()) >= 6 + CROWD - probes, "the others are refused", within=30.0)
    assert len(asked(origin)) == probes
    answers = await together(*(client.answer(within=30.0) for client in clients))
    assert sum(is_refusal(answer) for answer in answers) == CROWD - probes
    assert sum(answer.status == 504 for answer in answers) == probes
    # The probes ran into the timeout: open again, for the whole time.
    await stage.gateway.event("target is open", target="o1", why="a probe failed: timeout")
    assert shown(stage)["breaker"]["opened"] == 2
    assert len(asked(origin)) == probes
    origin.script = answering(200)
    await half_open(stage)
    for _ in range(probes):
        assert (await stage.ask("GET", "/")).status == 200
    assert state(stage) == "closed"
    await stage.gateway.event("target is closed", target="o1")
    answers = await together(*(stage.ask("GET", "/") for _ in range(20)))
    assert {answer.status for answer in answers} == {200}


@ensureDeferred
async def test_rc_o15_a_probe_timeout_opens_it_with_a_fresh_timer(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: None)
    await stage.serve(guarded(origin, response=f"{2 * OPEN_FOR:g}s"))
    await open_it(stage, origin)
    await half_open(stage)
    # The probe takes longer than the breaker was open: were the timer an old one, it would be over by now.
    assert (await stage.ask("GET", "/probe", within=20.0)).status == 504
    before = len(origin.asked)
    assert shown(stage)["breaker"]["open_seconds"] > 0
    assert is_refusal(await stage.ask("GET", "/"))
    assert len(origin.asked) == before


@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_rc_o15_the_permit_of_a_client_that_leaves_is_free_again(stage: Stage, how: str) -> None:
    origin = await stage.origin(lambda asked: None)
    await stage.serve(guarded(origin))
    await open_it(stage, origin)
    await half_open(stage)
    for number in range(1, 4):
        probe = await stage.client()
        probe.send(request("GET", "/probe"))
        await until(lambda number=number: len(asked(origin, "/probe")) == number)  # type: ignore[misc]
        assert is_refusal(await stage.ask("GET", "/other"))
        probe.reset() if how == "reset" else probe.close()
        await until(lambda: shown(stage)["breaker"]["probes_running"] == 0)
        assert state(stage) == "half-open"
    origin.script = answering(200)
    assert (await stage.ask("GET", "/probe")).status == 200
    assert state(stage) == "closed"
    assert not asked(origin, "/other")


@pytest.mark.parametrize("status", [200, 503])
@ensureDeferred
async def test_rc_o15_the_late_result_of_an_exchange_from_before_changes_nothing(stage: Stage, status: int) -> None:
    origin = await stage.origin(lambda asked: None)
    await stage.serve(guarded(origin))
    early = [await stage.client() for _ in range(3)]
    for client in early:
        client.send(request("GET", "/early"))
    await until(lambda: len(asked(origin, "/early")) == 3)
    first, second, third = asked(origin, "/early")
    await open_it(stage, origin)

    first.answer(status, b"late")
    await until(lambda: shown(stage)["active"] == 2)
    assert (state(stage), shown(stage)["breaker"]["opened"]) == ("open", 1)

    await half_open(stage)
    probe = await stage.client()
    probe.send(request("GET", "/probe"))
    await until(lambda: asked(origin, "/probe"))
    second.answer(status, b"late")
    await until(lambda: shown(stage)["active"] == 2)
    assert (state(stage), shown(stage)["breaker"]["probes_running"]) == ("half-open", 1)
    assert is_refusal(await stage.ask("GET", "/other"))

    asked(origin, "/probe")[0].answer(200, b"well")
    assert (await probe.answer()).body == b"well"
    assert state(stage) == "closed"
    third.answer(status, b"late")
    assert {(await client.answer()).body for client in early} == {b"late"}
    assert (state(stage), shown(stage)["breaker"]["opened"]) == ("closed", 1)


@ensureDeferred
async def test_a_probe_on_a_connection_that_was_closed_while_idle_keeps_its_permit(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(guarded(origin))
    await open_it(stage, origin)
    kept = origin.open
    assert kept
    await half_open(stage)

    # The next request on a kept connection is not answered: it ends, as when it had been idle for too long.
    async def hang_up(asked: Asked) -> None:
        if asked.connection in kept:
            asked.connection.transport.abort()
        else:
            origin.script = answering(200)
            asked.answer(200, b"fresh")

    origin.script = hang_up
    assert (await stage.ask("GET", "/")).body == b"fresh"
    assert state(stage) == "closed"


@ensureDeferred
async def test_other_targets_take_over_and_with_all_of_them_open_everybody_is_refused(stage: Stage) -> None:
    one, two = await stage.origin(answering(503, b"one")), await stage.origin(answering(200, b"two"))
    settings = guarded(one, two)
    settings["upstreams"][0]["breaker"]["open_for"] = "4s"
    await stage.serve(settings)
    for _ in range(10):
        await stage.ask("GET", "/")
    assert [(await stage.ask("GET", "/")).body for _ in range(4)] == [b"two"] * 4
    two.script = answering(503, b"two")
    answers = [await stage.ask("GET", "/") for _ in range(8)]
    assert [answer.status for answer in answers] == [503] * 8
    assert any(is_refusal(answer) for answer in answers)
    assert is_refusal(await stage.ask("GET", "/none"))
    assert not asked(one, "/none") + asked(two, "/none")
    await until(lambda: shown(stage, 1)["usable"] and shown(stage, 0)["usable"], within=10.0)


@ensureDeferred
async def test_a_breaker_outlives_a_reload_and_is_seen_in_metrics_and_explain(stage: Stage) -> None:
    origin = await stage.origin()
    settings = guarded(origin)
    settings["upstreams"][0]["breaker"]["open_for"] = "1h"
    await stage.serve(settings)
    await open_it(stage, origin)
    settings["apis"][0]["name"] = "other"
    stage.gateway.write(settings)
    await stage.gateway.reload()
    assert is_refusal(await stage.ask("GET", "/"))
    page = (await stage.ask("GET", "/metrics", place=stage.gateway.management)).body.decode()
    labels = '{target="o1",upstream="up"}'
    assert f"apigateway_target_breaker{labels} 2.0" in page
    assert f"apigateway_target_breaker_opened_total{labels} 1.0" in page
    told = stage.gateway.worker.explain("GET", "http://gw.test/", [])
    assert told["targets"][0]["why_not"].startswith("breaker open for ")
    settings["upstreams"][0].pop("breaker")
    stage.gateway.write(settings)
    await stage.gateway.reload()
    assert (await stage.ask("GET", "/")).status == 200


@ensureDeferred
async def test_the_budget_bounds_retries_and_says_what_it_refused(stage: Stage) -> None:
    origin = await stage.origin(answering(503, b"no"))
    retry = {"attempts": 2, "budget": "0%", "budget_minimum": 0}
    await stage.serve(simple(origin, up={"retry": retry}))
    assert (await stage.ask("GET", "/")).body == b"no"
    assert len(origin.asked) == 1
    assert stage.gateway.worker.upstreams()[0]["retries"] == {"exchanges": 0, "running": 0, "over_budget": 1}
