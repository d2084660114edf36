"""RC-O13, RC-O14, RC-O16: where a name leads, what is healthy, and what runs where.

The case's times are shortened. Its parts about breakers, mirrors and canaries join with those.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.name_server import NameServer
from toolkit.origin import Asked, Origin, answering
from toolkit.settings import Settings, api, route, upstream
from toolkit.stage import Stage
from toolkit.waiting import reactor, together, turn, until

SVC = "svc.example.test"


@pytest_twisted.async_yield_fixture
async def names() -> Any:
    server = NameServer()
    yield server
    await server.close()


def targets(stage: Stage) -> list[dict[str, Any]]:
    """Those of the first upstream, as operators see them."""
    found: list[dict[str, Any]] = stage.gateway.worker.upstreams()[0]["targets"]
    return found


# ---- RC-O13: the name moves, is not answered for, is gone


def by_name(port: int, names: NameServer, max_stale: str, other: str) -> Settings:
    """One Api over the name, and another one that is changed in between."""
    return {
        "upstreams": [{"name": "svc", "targets": [{"url": f"http://{SVC}:{port}"}]}],
        "apis": [
            api(route(to="svc"), name="svc"),
            api(route("/" + other, to="svc"), name="other", base_path="/other"),
        ],
        "resolver": {"servers": [names.address], "max_stale": max_stale},
    }


async def moved(stage: Stage) -> tuple[Origin, Origin]:
    """The same port at the old and at the new address; what is asked for /slow waits for a word."""
    old = await stage.origin(answering(200, b"old"), address="127.0.0.2")
    return old, await stage.origin(answering(200, b"new"), address="127.0.0.3", port=old.port)


@ensureDeferred
async def test_rc_o13_a_name_that_moves_and_then_is_not_answered_for(stage: Stage, names: NameServer) -> None:
    async def slow(asked: Asked) -> None:
        if asked.target == "/slow":
            await until(lambda: go)
        asked.answer(200, b"old")

    go: list[int] = []
    old, _ = await moved(stage)
    old.script = slow
    names.say(SVC, "127.0.0.2", ttl=1)
    gateway = await stage.serve(by_name(old.port, names, "60s", "a"))
    running, client = await stage.client(), await stage.client()
    running.send(request("GET", "/slow"))
    assert (await client.ask("GET", "/")).body == b"old"
    await until(lambda: len(old.open) == 2)
    names.say(SVC, "127.0.0.3", ttl=1)
    # The kept connection to the old address ends; the one in use is used to its end, and not again.
    await until(lambda: len(old.open) == 1, within=4.0)
    assert [(await client.ask("GET", "/")).body for _ in range(5)] == [b"new"] * 5
    go.append(1)
    assert (await running.answer()).body == b"old"
    await until(lambda: not old.open)
    # From now on the name server fails; the last good address serves, also over a reload of another Api.
    names.fail(SVC)
    before = names.asked
    await until(lambda: names.asked >= before + 2, within=6.0)
    gateway.write(by_name(old.port, names, "60s", "b"))
    assert (await gateway.reload())["taken"]
    assert [(await stage.ask("GET", "/")).body for _ in range(3)] == [b"new"] * 3
    assert targets(stage)[0]["addresses"] == ["127.0.0.3"]
    assert len([one for one in old.asked if one.target == "/"]) == 1


@ensureDeferred
async def test_rc_o13_the_last_good_address_is_kept_for_a_bounded_time(
    stage: Stage, names: NameServer
) -> None:
    old, new = await moved(stage)
    names.say(SVC, "127.0.0.3", ttl=1)
    gateway = await stage.serve(by_name(old.port, names, "2s", "a"))
    assert (await stage.ask("GET", "/")).body == b"new"
    names.fail(SVC)
    event = await until(lambda: [one for one in gateway.events() if one.get("host") == SVC], within=10.0)
    assert (event[0]["level"], event[0]["message"]) == ("error", "a target's name leads nowhere")
    began = reactor.seconds()
    for _ in range(5):  # each at once: what the last look-up said is known
        answer = await stage.ask("GET", "/")
        assert (answer.status, answer.kind) == (502, "name-failed")
    assert reactor.seconds() - began < 1.5
    await until(lambda: not new.open, "connections to an address that is no longer known are let go of")
    names.say(SVC, "127.0.0.3", ttl=1)
    await until(lambda: targets(stage)[0]["addresses"], within=5.0)
    assert (await stage.ask("GET", "/")).body == b"new"


@ensureDeferred
async def test_rc_o13_a_name_that_is_gone_takes_its_target_out(stage: Stage, names: NameServer) -> None:
    old, new = await moved(stage)
    names.say(SVC, "127.0.0.3", ttl=1)
    gateway = await stage.serve(by_name(old.port, names, "60s", "a"))
    assert (await stage.ask("GET", "/")).body == b"new"
    names.forget(SVC)
    await gateway.event("a target's name leads nowhere", host=SVC)
    answer = await stage.ask("GET", "/")
    assert (answer.status, answer.kind) == (503, "unavailable")
    await until(lambda: not new.open)
    # It is told once, not with each look-up.
    before = names.asked
    await until(lambda: names.asked > before, within=5.0)
    await turn(0.05)
    assert len([one for one in gateway.events() if one.get("host") == SVC]) == 1


# ---- RC-O14: all targets down, and back


def checked(*origins: Origin, **more: Any) -> Settings:
    """An upstream that is checked."""
    health = {
        "path": "/ping", "interval": "100ms", "timeout": "1s", "unhealthy_after": 2, "healthy_after": 2,
        "passive": None,
    }
    return {"upstreams": [upstream(*origins, health=health)], "apis": [api()], **more}


@ensureDeferred
async def test_rc_o14_all_targets_down_and_then_one_is_back(stage: Stage) -> None:
    one, two = await stage.origin(), await stage.origin()
    await stage.serve(checked(one, two))
    client = await stage.client()
    assert (await client.ask("GET", "/")).status == 200
    one.die()
    two.die()
    await until(lambda: not any(target["usable"] for target in targets(stage)))
    began = reactor.seconds()
    for number in range(20):
        answer = await client.ask("GET", f"/down{number}")
        assert (answer.status, answer.kind, answer.get("retry-after")) == (503, "unavailable", "1")
    assert reactor.seconds() - began < 2.0
    lines = await until(lambda: [line for line in stage.gateway.access() if "/down" in line["target"]][19:])
    assert lines[0]["status"] == 503
    # Nobody tried to connect for them.
    assert {line["attempts"] for line in stage.gateway.access() if "/down" in line["target"]} == {0}
    one.asked.clear()
    await one.listen()
    await until(lambda: targets(stage)[0]["usable"])
    assert len([asked for asked in one.asked if asked.target == "/ping"]) >= 2
    assert [(await client.ask("GET", "/")).status for _ in range(4)] == [200] * 4
    assert not targets(stage)[1]["usable"]


@ensureDeferred
async def test_rc_o14_what_was_taken_out_and_put_in_again_serves(stage: Stage) -> None:
    one, two, other = await stage.origin(), await stage.origin(), await stage.origin()
    gateway = await stage.serve(checked(one, two))
    client = await stage.client()
    # While they are well, and while they were last seen to be down.
    for down in (False, True):
        if down:
            one.die()
            two.die()
            await until(lambda: not any(target["usable"] for target in targets(stage)))
        gateway.write(checked(other))
        assert (await gateway.reload())["taken"]
        assert (await client.ask("GET", "/")).status == 200
        if down:
            await one.listen()
        gateway.write(checked(one))
        assert (await gateway.reload())["taken"]
        await until(lambda: targets(stage)[0]["usable"])
        before = len(one.asked)
        assert [(await client.ask("GET", "/")).status for _ in range(3)] == [200] * 3
        assert len(one.asked) >= before + 3
        gateway.write(checked(one, two))
        assert (await gateway.reload())["taken"]


# ---- RC-O16: the lowest (active + 1) / weight, counted per request


def weighed(a: Origin, b: Origin, weights: tuple[int, int] = (1, 1)) -> Settings:
    """A and B by least connections; a request that A does not answer is not tried again."""
    settings = upstream(
        a, b, balance="least-connections", retry={"attempts": 1}, health={"passive": None},
        timeouts={"response": "3s"},
    )
    for target, weight in zip(settings["targets"], weights, strict=True):
        target["weight"] = weight
    return {"upstreams": [settings], "apis": [api()]}


def active(stage: Stage) -> list[int]:
    """What runs on A and on B."""
    return [target["active"] for target in targets(stage)]


async def on_a_only(stage: Stage, a: Origin, count: int) -> list[Client]:
    """So many requests that run on A: B takes none meanwhile."""
    stage.gateway.worker.drain_target("up", "b", True)
    clients = [await stage.client() for _ in range(count)]
    before = len(a.asked)
    for client in clients:
        client.send(request("GET", "/slow"))
    await until(lambda: len(a.asked) == before + count)
    stage.gateway.worker.drain_target("up", "b", False)
    return clients


async def busy_or_quick(asked: Asked) -> None:
    """/slow gets no answer; the rest takes a moment, so that requests overlap."""
    if asked.target != "/slow":
        await turn(0.002)
        asked.answer(200)


@ensureDeferred
async def test_rc_o16_what_ended_in_whatever_way_is_not_counted(stage: Stage) -> None:
    a, b = await stage.origin(busy_or_quick, name="a"), await stage.origin(busy_or_quick, name="b")
    await stage.serve(weighed(a, b))
    clients = await on_a_only(stage, a, 50)
    assert active(stage) == [50, 0]
    for client in clients[:40]:
        client.close()
    await until(lambda: active(stage) == [10, 0])
    await until(lambda: len(a.open) == 10)
    for connection in a.open[:5]:
        connection.reset()
    statuses = [(await client.answer()).status for client in clients[40:]]
    assert sorted(statuses) == [502] * 5 + [504] * 5
    assert active(stage) == [0, 0]
    seen = [len(a.asked), len(b.asked)]
    quick = [await stage.client() for _ in range(4)]

    async def ask_on(client: Client) -> None:
        for _ in range(25):
            assert (await client.ask("GET", "/quick")).status == 200

    await together(*(ask_on(client) for client in quick))
    share = len(a.asked) - seen[0]
    assert share + len(b.asked) - seen[1] == 100
    assert 35 <= share <= 65
    assert active(stage) == [0, 0]


@pytest.mark.parametrize(("weights", "expected"), [((1, 3), (10, 30)), ((1, 1), (20, 20))])
@ensureDeferred
async def test_rc_o16_with_nothing_running_weights_share_the_load(
    stage: Stage, weights: tuple[int, int], expected: tuple[int, int]
) -> None:
    a, b = await stage.origin(name="a"), await stage.origin(name="b")
    gateway = await stage.serve(weighed(a, b))
    gateway.write(weighed(a, b, weights))
    assert (await gateway.reload())["taken"]
    client = await stage.client()
    for _ in range(40):
        assert (await client.ask("GET", "/")).status == 200
    assert (len(a.asked), len(b.asked)) == expected


@ensureDeferred
async def test_rc_o16_what_runs_counts_also_over_a_reload(stage: Stage) -> None:
    a, b = await stage.origin(busy_or_quick, name="a"), await stage.origin(busy_or_quick, name="b")
    gateway = await stage.serve(weighed(a, b))
    clients = await on_a_only(stage, a, 30)
    client = await stage.client()
    for number in range(2):
        gateway.write(weighed(a, b, (number + 1, number + 1)))
        assert (await gateway.reload())["taken"]
        for _ in range(10):
            assert (await client.ask("GET", "/quick")).status == 200
    assert [asked.target for asked in a.asked] == ["/slow"] * 30
    assert len(b.asked) == 20
    for one in clients:
        one.reset()
    await until(lambda: active(stage) == [0, 0])
