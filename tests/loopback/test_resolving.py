"""Targets by name: followed when they move, kept while nobody answers."""

from __future__ import annotations

from typing import Any

import pytest_twisted
from pytest_twisted import ensureDeferred
from toolkit.name_server import NameServer
from toolkit.origin import Origin, answering
from toolkit.settings import Settings, api
from toolkit.stage import Stage
from toolkit.waiting import turn, until


@pytest_twisted.async_yield_fixture
async def names() -> Any:
    server = NameServer()
    yield server
    await server.close()


def by_name(port: int, names: NameServer, **more: Any) -> Settings:
    """An upstream of one name."""
    one = {
        "name": "up",
        "targets": [{"url": f"http://svc.example.test:{port}", "name": "svc"}],
        **more.pop("up", {}),
    }
    return {"upstreams": [one], "apis": [api()], "resolver": {"servers": [names.address]}, **more}


async def two_addresses(stage: Stage) -> tuple[Origin, Origin]:
    """The same port on two addresses."""
    old = await stage.origin(answering(200, b"old"), address="127.0.0.2")
    return old, await stage.origin(answering(200, b"new"), address="127.0.0.3", port=old.port)


@ensureDeferred
async def test_a_name_that_moves_is_followed_also_through_the_pool(stage: Stage, names: NameServer) -> None:
    old, _ = await two_addresses(stage)
    names.say("svc.example.test", "127.0.0.2", ttl=1)
    gateway = await stage.serve(by_name(old.port, names))
    client = await stage.client()
    assert (await client.ask("GET", "/")).body == b"old"
    assert old.last.get("host") == f"svc.example.test:{old.port}"
    names.say("svc.example.test", "127.0.0.3", ttl=1)
    # The kept connection to the old address, which still listens, is let go of.
    await until(lambda: not old.open, within=4.0)
    for _ in range(3):
        assert (await client.ask("GET", "/")).body == b"new"
    assert gateway.worker.upstreams()[0]["targets"][0]["addresses"] == ["127.0.0.3"]
    # A reload of something else does not bring the old one back.
    gateway.write({**by_name(old.port, names), "paths": {"dot_segments": "normalise"}})
    assert (await gateway.reload())["taken"]
    for _ in range(3):
        assert (await stage.ask("GET", "/")).body == b"new"


@ensureDeferred
async def test_several_addresses_are_used_in_turn(stage: Stage, names: NameServer) -> None:
    old, _ = await two_addresses(stage)
    names.say("svc.example.test", "127.0.0.2", "127.0.0.3", ttl=60)
    await stage.serve(by_name(old.port, names, up={"pool": {"max_idle": 0}}))
    bodies = [(await stage.ask("GET", "/")).body for _ in range(6)]
    assert sorted(bodies) == [b"new"] * 3 + [b"old"] * 3


@ensureDeferred
async def test_while_nobody_answers_the_last_good_addresses_serve(stage: Stage, names: NameServer) -> None:
    old, _ = await two_addresses(stage)
    names.say("svc.example.test", "127.0.0.2", ttl=1)
    gateway = await stage.serve(by_name(old.port, names))
    client = await stage.client()
    assert (await client.ask("GET", "/")).status == 200
    names.fail("svc.example.test")
    before = names.asked
    await until(lambda: names.asked > before + 1, within=4.0)
    assert (await client.ask("GET", "/")).status == 200
    # A reload of something else in between changes nothing about it.
    gateway.write({**by_name(old.port, names), "paths": {"dot_segments": "normalise"}})
    assert (await gateway.reload())["taken"]
    assert (await client.ask("GET", "/")).body == b"old"


@ensureDeferred
async def test_a_name_that_does_not_exist_gives_503_and_comes_back(stage: Stage, names: NameServer) -> None:
    old, _ = await two_addresses(stage)
    gateway = await stage.serve(by_name(old.port, names))
    await gateway.event("a target's name leads nowhere", host="svc.example.test")
    for _ in range(3):
        answer = await stage.ask("GET", "/")
        assert (answer.status, answer.kind) == (503, "unavailable")
    names.say("svc.example.test", "127.0.0.2", ttl=1)
    await until(lambda: gateway.worker.upstreams()[0]["targets"][0]["addresses"], within=4.0)
    assert (await stage.ask("GET", "/")).body == b"old"


@ensureDeferred
async def test_a_target_whose_name_is_gone_is_failed_over(stage: Stage, names: NameServer) -> None:
    old, _ = await two_addresses(stage)
    settings = by_name(old.port, names)
    settings["upstreams"][0]["targets"].append({"url": old.url})
    gateway = await stage.serve(settings)
    await gateway.event("a target's name leads nowhere")
    client = await stage.client()
    for _ in range(6):
        assert (await client.ask("POST", "/", body=b"x")).status == 200
    # A client that leaves while the second target works takes that request along.
    old.script = lambda asked: None
    for _ in range(2):
        leaving = await stage.client()
        count = len(old.asked)
        leaving.send(b"GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n")
        await until(lambda count=count: len(old.asked) > count)  # type: ignore[misc]
        leaving.close()
        await until(lambda: not old.open, within=1.0)
    targets = gateway.worker.upstreams()[0]["targets"]
    assert [target["active"] for target in targets] == [0, 0]
    assert [target["connections"]["busy"] for target in targets] == [0, 0]


@ensureDeferred
async def test_a_request_waits_for_the_first_answer_and_others_do_not_wait_with_it(
    stage: Stage, names: NameServer
) -> None:
    old, _ = await two_addresses(stage)
    names.hold()
    settings = by_name(old.port, names)
    settings["upstreams"].append({"name": "near", "targets": [{"url": old.url}]})
    settings["apis"].append(api({"name": "near", "upstream": "near"}, name="near", base_path="/near"))
    await stage.serve(settings)
    waiting = await stage.client()
    waiting.send(b"GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n")
    for _ in range(3):
        assert (await stage.ask("GET", "/near")).status == 200
    assert waiting.size == 0
    names.say("svc.example.test", "127.0.0.2", ttl=60)
    names.release()
    assert (await waiting.answer()).body == b"old"


@ensureDeferred
async def test_a_client_that_leaves_while_a_name_is_looked_up(stage: Stage, names: NameServer) -> None:
    old, _ = await two_addresses(stage)
    names.hold()
    gateway = await stage.serve(by_name(old.port, names))
    client = await stage.client()
    client.send(b"GET / HTTP/1.1\r\nHost: gw.test\r\n\r\n")
    await until(lambda: gateway.worker.status()["exchanges_running"])
    client.close()
    assert (await gateway.line())["status"] == 499
    assert gateway.worker.upstreams()[0]["targets"][0]["connections"] == {"idle": 0, "busy": 0}
    names.release()
    await turn(0.05)


@ensureDeferred
async def test_localhost_needs_no_name_server(stage: Stage, names: NameServer) -> None:
    origin = await stage.origin()
    settings = by_name(origin.port, names)
    settings["upstreams"][0]["targets"][0]["url"] = f"http://localhost:{origin.port}"
    await stage.serve(settings)
    assert (await stage.ask("GET", "/")).status == 200
    assert names.asked == 0
