"""Targets by SRV records (RC-O13): they come and go without a reload, and stay while nobody answers."""

from __future__ import annotations

from typing import Any

import pytest_twisted
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority
from toolkit.client import request
from toolkit.name_server import NameServer
from toolkit.origin import Asked, Origin, answering
from toolkit.settings import Settings, api
from toolkit.stage import Stage
from toolkit.waiting import turn, until

SERVICE = "_http._tcp.users.example.test"


@pytest_twisted.async_yield_fixture
async def names() -> Any:
    server = NameServer()
    server.say("one.example.test", "127.0.0.2", ttl=60)
    server.say("two.example.test", "127.0.0.3", ttl=60)
    yield server
    await server.close()


def by_service(names: NameServer, **more: Any) -> Settings:
    """An upstream of one service."""
    target = {"url": f"http+srv://{SERVICE}", "name": "svc", **more.pop("target", {})}
    return {
        "upstreams": [{"name": "up", "targets": [target], **more.pop("up", {})}],
        "apis": [api()],
        "resolver": {"servers": [names.address], **more.pop("resolver", {})},
        **more,
    }


async def two_places(stage: Stage, **how: Any) -> tuple[Origin, Origin]:
    """Two addresses, each with a port of its own."""
    one = await stage.origin(answering(200, b"one"), address="127.0.0.2", **how)
    return one, await stage.origin(answering(200, b"two"), address="127.0.0.3", **how)


def shown(stage: Stage) -> list[str]:
    """The targets that operators see to be usable."""
    return sorted(one["name"] for one in stage.gateway.worker.upstreams()[0]["targets"] if one["usable"])


@ensureDeferred
async def test_ports_and_weights_come_from_the_records(stage: Stage, names: NameServer) -> None:
    one, two = await two_places(stage)
    names.offer(SERVICE, (1, 3, "one.example.test", one.port), (1, 1, "two.example.test", two.port), ttl=60)
    gateway = await stage.serve(by_service(names))
    client = await stage.client()
    bodies = [(await client.ask("GET", "/")).body for _ in range(8)]
    assert (bodies.count(b"one"), bodies.count(b"two")) == (6, 2)
    assert one.last.get("host") == "users.example.test"
    assert shown(stage) == [f"one.example.test:{one.port}", f"two.example.test:{two.port}"]
    line = await gateway.line()
    assert line["target"] and gateway.access()[0]["upstream"] == "up"
    # Attempts are counted under the configured target: places come and go.
    attempts = gateway.service.metrics.attempts.counts
    gateway.service.traffic.flush()
    assert {key: count for key, count in attempts.items() if key[0] == "up"} == {("up", "svc", "ok"): 8}


@ensureDeferred
async def test_rc_o13_places_that_come_and_go_are_followed_without_a_reload(stage: Stage, names: NameServer) -> None:
    async def slow(asked: Asked) -> None:
        if asked.target == "/slow":
            await until(lambda: go)
        asked.answer(200, b"one")

    go: list[int] = []
    one, two = await two_places(stage)
    one.script = slow
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), ttl=1)
    gateway = await stage.serve(by_service(names))
    running, client = await stage.client(), await stage.client()
    running.send(request("GET", "/slow"))
    assert (await client.ask("GET", "/")).body == b"one"
    await until(lambda: len(one.open) == 2)
    names.offer(SERVICE, (1, 0, "two.example.test", two.port), ttl=1)
    # The idle connection to the place that has gone ends; the one in use is used to its end, and not again.
    await until(lambda: len(one.open) == 1, within=4.0)
    assert [(await client.ask("GET", "/")).body for _ in range(4)] == [b"two"] * 4
    go.append(1)
    assert (await running.answer()).body == b"one"
    await until(lambda: not one.open)
    event = await gateway.event("targets of a service changed", gone=[f"one.example.test:{one.port}"])
    assert event["new"] == [f"two.example.test:{two.port}"]
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), (1, 0, "two.example.test", two.port), ttl=1)
    await until(lambda: len(shown(stage)) == 2, within=4.0)
    assert {(await client.ask("GET", "/")).body for _ in range(4)} == {b"one", b"two"}
    # A reload of something else changes nothing.
    gateway.write(by_service(names, paths={"dot_segments": "normalise"}))
    assert (await gateway.reload())["taken"]
    assert {(await client.ask("GET", "/")).body for _ in range(4)} == {b"one", b"two"}


@ensureDeferred
async def test_rc_o13_while_nobody_answers_the_last_good_places_serve(stage: Stage, names: NameServer) -> None:
    one, _ = await two_places(stage)
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), ttl=1)
    gateway = await stage.serve(by_service(names))
    assert (await stage.ask("GET", "/")).body == b"one"
    names.fail(SERVICE)
    before = names.asked
    await until(lambda: names.asked >= before + 2, within=6.0)
    gateway.write(by_service(names, paths={"dot_segments": "normalise"}))
    assert (await gateway.reload())["taken"]
    assert [(await stage.ask("GET", "/")).body for _ in range(3)] == [b"one"] * 3


@ensureDeferred
async def test_rc_o13_the_last_good_places_are_kept_for_a_bounded_time(stage: Stage, names: NameServer) -> None:
    one, _ = await two_places(stage)
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), ttl=1)
    gateway = await stage.serve(by_service(names, resolver={"max_stale": "1s"}))
    assert (await stage.ask("GET", "/")).body == b"one"
    names.fail(SERVICE)
    await gateway.event("a target's name leads nowhere", host=SERVICE)
    await until(lambda: not shown(stage), within=5.0)
    assert (await stage.ask("GET", "/")).status == 503
    await until(lambda: not one.open)
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), ttl=1)
    await until(lambda: shown(stage), within=5.0)
    assert (await stage.ask("GET", "/")).body == b"one"


@ensureDeferred
async def test_rc_o13_a_service_that_is_gone_takes_its_targets_out_at_once(stage: Stage, names: NameServer) -> None:
    one, _ = await two_places(stage)
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), ttl=1)
    await stage.serve(by_service(names))
    assert (await stage.ask("GET", "/")).body == b"one"
    names.forget(SERVICE)
    await until(lambda: not shown(stage), within=4.0)
    answer = await stage.ask("GET", "/")
    assert (answer.status, answer.kind) == (503, "unavailable")
    await until(lambda: not one.open)


@ensureDeferred
async def test_a_service_that_nobody_knows_yet_does_not_hold_the_start_up(stage: Stage, names: NameServer) -> None:
    one, _ = await two_places(stage)
    names.hold()
    await stage.serve(by_service(names))
    assert (await stage.ask("GET", "/")).status == 503
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), ttl=60)
    names.release()
    await until(lambda: shown(stage))
    assert (await stage.ask("GET", "/")).body == b"one"


@ensureDeferred
async def test_the_places_of_a_later_priority_stand_in(stage: Stage, names: NameServer) -> None:
    one, two = await two_places(stage)
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), (2, 0, "two.example.test", two.port), ttl=60)
    await stage.serve(by_service(names, up={"health": {"passive": {"failures": 1, "aside_for": "10s"}}}))
    client = await stage.client()
    assert [(await client.ask("GET", "/")).body for _ in range(3)] == [b"one"] * 3
    one.die()
    assert [(await client.ask("GET", "/")).body for _ in range(3)] == [b"two"] * 3


@ensureDeferred
async def test_places_are_checked_as_long_as_they_are_there(stage: Stage, names: NameServer) -> None:
    one, two = await two_places(stage)
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), ttl=1)
    health = {"path": "/ping", "interval": "50ms", "timeout": "1s"}
    await stage.serve(by_service(names, up={"health": health}))
    await until(lambda: [asked for asked in one.asked if asked.target == "/ping"])
    names.offer(SERVICE, (1, 0, "two.example.test", two.port), ttl=60)
    await until(lambda: [asked for asked in two.asked if asked.target == "/ping"], within=4.0)
    await until(lambda: not one.open)
    before = len(one.asked)
    await turn(0.2)
    assert len(one.asked) == before
    worker = stage.gateway.worker
    assert set(worker._means.names._names) == {"two.example.test"}
    assert [state.name for state in worker._states.all] == [f"two.example.test:{two.port}"]


@ensureDeferred
async def test_the_certificate_has_to_name_the_service_not_what_a_record_says(
    stage: Stage, names: NameServer, authority: Authority
) -> None:
    one = await stage.origin(answering(200, b"one"), address="127.0.0.2", tls=authority.server("users.example.test"))
    two = await stage.origin(answering(200, b"two"), address="127.0.0.3", tls=authority.server("two.example.test"))
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), ttl=1)
    target = {"url": f"https+srv://{SERVICE}"}
    await stage.serve(by_service(names, target=target, up={"tls": {"ca": str(authority.file)}}))
    assert (await stage.ask("GET", "/")).body == b"one"
    names.offer(SERVICE, (1, 0, "two.example.test", two.port), ttl=60)
    await until(lambda: shown(stage) == [f"two.example.test:{two.port}"], within=4.0)
    answer = await stage.ask("GET", "/")
    assert (answer.status, answer.kind) == (502, "tls-failed")


@ensureDeferred
async def test_explain_shows_places_and_services_without_any(stage: Stage, names: NameServer) -> None:
    one, _ = await two_places(stage)
    settings = by_service(names)
    settings["upstreams"][0]["targets"].append({"url": "http+srv://_http._tcp.nowhere.example.test", "name": "no"})
    names.offer(SERVICE, (1, 0, "one.example.test", one.port), ttl=60)
    gateway = await stage.serve(settings)
    targets = gateway.worker.explain("GET", "/", [])["targets"]
    assert [(target["name"], target["why_not"]) for target in targets] == [
        (f"one.example.test:{one.port}", ""), ("no", "no place of its service is known"),
    ]
    assert (await stage.ask("GET", "/")).body == b"one"
