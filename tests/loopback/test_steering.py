"""Canaries, mirrors and sticky sessions over real sockets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority
from toolkit.client import request
from toolkit.origin import Asked, Origin, answering
from toolkit.settings import Settings, api, upstream
from toolkit.stage import Stage
from toolkit.waiting import steady, together, until

SECRET = "0123456789abcdef"


def over(*origins: Origin, roles: tuple[str, ...] = (), **more: Any) -> Settings:
    """An upstream of these origins; the last ones have these roles."""
    settings = {"upstreams": [upstream(*origins, **more)], "apis": [api()]}
    for target, role in zip(reversed(settings["upstreams"][0]["targets"]), reversed(roles), strict=False):
        target["role"] = role
    return settings


def shown(stage: Stage) -> dict[str, Any]:
    """The upstream as operators see it."""
    found: dict[str, Any] = stage.gateway.worker.upstreams()[0]
    return found


# ---- mirrors


async def mirrored(stage: Stage, *, script: Any = None, **mirror: Any) -> tuple[Origin, Origin]:
    one = await stage.origin(answering(200, b"one"), name="one")
    copy = await stage.origin(script or answering(500, b"copy"), name="copy")
    await stage.serve(over(one, copy, roles=("mirror",), mirror=mirror))
    return one, copy


@ensureDeferred
async def test_a_mirror_gets_the_request_and_nobody_its_answer(stage: Stage) -> None:
    one, copy = await mirrored(stage)
    client = await stage.client()
    answer = await client.ask("POST", "/a?b=%2F", "X-Tag: t", "Cookie: c=d", body=b"hello")
    assert (answer.status, answer.body) == (200, b"one")
    await until(lambda: len(copy.asked) == 1 and copy.last.body)
    assert (copy.last.method, copy.last.target, copy.last.body) == ("POST", "/a?b=%2F", b"hello")
    for name in ("x-tag", "cookie", "content-length", "x-forwarded-for", "via"):
        assert copy.last.get(name) == one.last.get(name), name
    assert copy.last.get("x-mirrored") == "1" and not one.last.get("x-mirrored")
    assert copy.last.get("host") == f"127.0.0.1:{copy.port}"
    await until(lambda: shown(stage)["mirror"]["running"] == 0)
    # Its failures put it aside, not the others, and no log has an exchange of it.
    assert (await stage.gateway.line())["notes"] == {"mirrored": "copy"}
    assert len(stage.gateway.access()) == 1
    page = (await stage.gateway.service.exposition()).decode()
    assert 'apigateway_mirror_copies_total{result="sent",upstream="up"} 1.0' in page
    assert 'apigateway_upstream_attempts_total{result="ok",target="copy",upstream="up"} 1.0' in page


@ensureDeferred
async def test_copies_are_evenly_spread(stage: Stage) -> None:
    one, copy = await mirrored(stage, script=answering(200), percent="25%")
    client = await stage.client()
    for _ in range(40):
        await client.ask("GET", "/")
    await until(lambda: len(copy.asked) == 10)
    assert len(one.asked) == 40


@ensureDeferred
async def test_what_does_not_fit_is_not_copied(stage: Stage) -> None:
    _, copy = await mirrored(stage, script=answering(200), buffer="100kB")
    client = await stage.client()
    sizes = (100_000, 100_001, 300_000, 0)
    for size in sizes:
        assert (await client.ask("PUT", f"/{size}", body=b"x" * size)).status == 200
    await until(lambda: len(copy.asked) == 2)
    assert {asked.target for asked in copy.asked} == {"/100000", "/0"}
    await until(lambda: all(asked.body or asked.target == "/0" for asked in copy.asked))
    assert len(next(asked for asked in copy.asked if asked.target == "/100000").body) == 100_000
    assert shown(stage)["mirror"]["too-large"] == 2


@ensureDeferred
async def test_a_mute_mirror_delays_nobody_and_takes_so_many_copies_at_once(stage: Stage) -> None:
    async def nothing(asked: Asked) -> None:
        return None

    _, copy = await mirrored(stage, script=nothing, concurrent=3)
    client = await stage.client()
    for _ in range(20):
        assert (await client.ask("GET", "/")).body == b"one"
    assert shown(stage)["mirror"] == {"running": 3, "sent": 3, "too-large": 0, "busy": 17, "unusable": 0}
    await until(lambda: len(copy.asked) == 3)


@ensureDeferred
async def test_the_time_of_a_copy_ends_it(stage: Stage) -> None:
    async def nothing(asked: Asked) -> None:
        return None

    _, copy = await mirrored(stage, script=nothing, timeout="300ms")
    assert (await stage.ask("GET", "/")).body == b"one"
    await until(lambda: copy.asked)
    await until(lambda: shown(stage)["mirror"]["running"] == 0)
    await until(lambda: not copy.open)
    assert [target["active"] for target in shown(stage)["targets"]] == [0, 0]


@ensureDeferred
async def test_an_endless_answer_of_a_mirror_is_read_and_then_cut(stage: Stage) -> None:
    async def endless(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while not asked.connection.closed:
            await asked.connection.send_slowly(b"x" * 65536)

    _, copy = await mirrored(stage, script=endless, timeout="300ms")
    assert (await stage.ask("GET", "/")).status == 200
    await until(lambda: copy.asked)
    await until(lambda: shown(stage)["mirror"]["running"] == 0)
    await until(lambda: not copy.open)


@ensureDeferred
async def test_a_dead_mirror_is_put_aside(stage: Stage) -> None:
    _, copy = await mirrored(stage, script=answering(200))
    copy.die()
    client = await stage.client()

    async def ask() -> bool:
        assert (await client.ask("GET", "/")).status == 200
        return bool(shown(stage)["mirror"]["unusable"])

    for _ in range(200):
        if await ask():
            break
    assert shown(stage)["mirror"]["unusable"]
    await stage.gateway.event("target is aside", target="copy")
    await stage.gateway.line()
    assert {line["attempts"] for line in stage.gateway.access()} == {1}
    assert not [one for one in stage.gateway.events() if one["level"] == "error"]


@ensureDeferred
async def test_a_request_is_copied_once_however_often_it_is_tried(stage: Stage) -> None:
    bad = await stage.origin(answering(503, b"bad"), name="bad")
    good = await stage.origin(answering(200, b"good"), name="good")
    copy = await stage.origin(name="copy")
    await stage.serve(over(bad, good, copy, roles=("mirror",)))
    client = await stage.client()
    for _ in range(6):
        assert (await client.ask("PUT", "/", body=b"x")).body == b"good"
    assert len(bad.asked) + len(good.asked) > 6
    await until(lambda: len(copy.asked) == 6)
    assert shown(stage)["mirror"]["sent"] == 6


@ensureDeferred
async def test_a_client_that_leaves_and_a_gateway_that_ends_leave_nothing(stage: Stage) -> None:
    async def nothing(asked: Asked) -> None:
        return None

    one, copy = await mirrored(stage, script=nothing)
    one.script = nothing
    client = await stage.client()
    client.send(request("GET", "/"))
    await until(lambda: one.asked and copy.asked)
    client.close()
    await until(lambda: not one.open)
    assert shown(stage)["mirror"]["running"] == 1
    await stage.gateway.stop()
    await until(lambda: not copy.open)


@ensureDeferred
async def test_a_reload_lets_copies_end(stage: Stage) -> None:
    async def slow(asked: Asked) -> None:
        await until(lambda: go)
        asked.answer(200)

    go: list[int] = []
    one, copy = await mirrored(stage, script=slow)
    assert (await stage.ask("GET", "/")).status == 200
    await until(lambda: copy.asked)
    stage.gateway.write(over(one))
    assert (await stage.gateway.reload())["taken"]
    assert stage.gateway.worker.status()["revisions_in_use"] == 2
    go.append(1)
    await until(lambda: stage.gateway.worker.status()["revisions_in_use"] == 1)


@ensureDeferred
async def test_copies_for_a_mirror_whose_breaker_is_half_open_are_its_probes(stage: Stage) -> None:
    one = await stage.origin(answering(200, b"one"), name="one")
    copy = await stage.origin(answering(503), name="copy")
    breaker = {"failures": 3, "open_for": "300ms"}
    await stage.serve(over(one, copy, roles=("mirror",), breaker=breaker))
    clients = [await stage.client() for _ in range(20)]

    def state() -> str:
        return str(shown(stage)["targets"][1]["breaker"]["state"])

    async def all_at_once() -> None:
        for client in clients:
            client.send(request("GET", "/"))
        assert {(await client.answer()).status for client in clients} == {200}

    while state() != "open":
        await all_at_once()
    await until(lambda: shown(stage)["mirror"]["running"] == 0)
    copy.script, copy.asked[:] = (lambda asked: None), []
    await until(lambda: state() == "half-open")
    await all_at_once()
    await until(lambda: shown(stage)["mirror"]["running"] == 1)
    assert len(copy.asked) == 1
    assert shown(stage)["mirror"]["unusable"] >= 19


@ensureDeferred
async def test_nobody_passes_what_he_asks_for_off_as_a_copy(stage: Stage) -> None:
    one, copy = await mirrored(stage, script=answering(200))
    assert (await stage.ask("GET", "/", "X-Mirrored: 1", "X_Mirrored: 1")).status == 200
    await until(lambda: copy.asked)
    assert not one.last.get("x-mirrored") and not one.last.get("x_mirrored")
    assert copy.last.get("x-mirrored") == "1"


@ensureDeferred
async def test_a_copy_is_framed_anew_and_waits_for_no_100(stage: Stage) -> None:
    _, copy = await mirrored(stage, script=answering(200))
    client = await stage.client()
    await client.ask("HEAD", "/head")
    client.send(request("PUT", "/wait", "Transfer-Encoding: chunked", "Expect: 100-continue", "Trailer: X-Sum"))
    await client.past(b"100 Continue\r\n\r\n")
    client.send(b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
    assert (await client.answer()).status == 200
    await until(lambda: len(copy.asked) == 2 and copy.last.body)
    by_target = {asked.target: asked for asked in copy.asked}
    assert by_target["/head"].method == "HEAD"
    copied = by_target["/wait"]
    assert (copied.body, copied.get("expect"), copied.get("transfer-encoding")) == (b"abcde", None, "chunked")
    assert shown(stage)["mirror"]["sent"] == 2


@ensureDeferred
async def test_upgrades_are_not_copied(stage: Stage) -> None:
    _, copy = await mirrored(stage)
    client = await stage.client()
    await client.ask("GET", "/", "Upgrade: websocket", "Connection: Upgrade")
    assert shown(stage)["mirror"]["sent"] == 0 and not copy.asked


# ---- canaries


@ensureDeferred
async def test_a_canary_that_does_worse_gets_nothing_for_a_while(stage: Stage) -> None:
    one = await stage.origin(answering(200, b"one"), name="one")
    new = await stage.origin(answering(500, b"new"), name="new")
    canary = {"percent": "20%", "cool_down": "4s", "compare": {"window": "10s", "minimum": 5, "worse_by": "10%"}}
    await stage.serve(over(one, new, roles=("canary",), canary=canary))
    client = await stage.client()
    statuses = Counter([(await client.ask("GET", "/")).status for _ in range(50)])
    assert statuses == {500: 5, 200: 45}
    event = await stage.gateway.event("target is cooling", target="canary")
    assert "100.0% errors of 5" in event["why"]
    assert shown(stage)["canary"]["cooling"]
    assert 'apigateway_canary_cooling{upstream="up"} 1.0' in (await stage.gateway.service.exposition()).decode()
    new.script = answering(200, b"new")
    await until(lambda: not shown(stage)["canary"]["cooling"], within=10.0)
    bodies = Counter([(await client.ask("GET", "/")).body for _ in range(50)])
    assert bodies == {b"one": 40, b"new": 10}
    await stage.gateway.event("target is back", target="canary")


@ensureDeferred
async def test_a_dead_canary_costs_no_client_an_answer(stage: Stage) -> None:
    one = await stage.origin(answering(200, b"one"), name="one")
    new = await stage.origin(answering(200, b"new"), name="new")
    await stage.serve(over(one, new, roles=("canary",), canary={"percent": "50%"}))
    client = await stage.client()
    new.die()
    for _ in range(40):
        assert (await client.ask("GET", "/")).body == b"one"
    await stage.gateway.event("target is cooling", target="canary", why="no canary is usable")


# ---- sticky sessions


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STICKY", SECRET)


def sticky(*origins: Origin, **settings: Any) -> Settings:
    given = {"cookie": "place", "secret": "${env:STICKY}", **settings}
    return {**over(*origins, sticky=given), "references": {"env": ["STICKY"]}}


async def three(stage: Stage) -> list[Origin]:
    return [await stage.origin(answering(200, name.encode()), name=name) for name in ("one", "two", "three")]


@ensureDeferred
async def test_clients_stay_over_a_reload_and_a_restart(stage: Stage, secret: None) -> None:
    origins = await three(stage)
    await stage.serve(sticky(*origins))
    homes: dict[bytes, str] = {}
    for _ in range(3):
        answer = await stage.ask("GET", "/", "Cookie: other=1")
        homes[answer.body] = answer.get("set-cookie").partition(";")[0]
        assert answer.get("set-cookie").endswith("; Path=/; HttpOnly; SameSite=Lax")
    assert len(homes) == 3

    async def all_at_home() -> None:
        for body, cookie in homes.items():
            answer = await stage.ask("GET", "/", f"Cookie: a=1; {cookie}; b=2")
            assert (answer.body, answer.get("set-cookie")) == (body, None)

    await all_at_home()
    assert {origin.last.get("cookie") for origin in origins} == {"a=1; b=2"}
    stage.gateway.write({**sticky(*origins), "paths": {"dot_segments": "normalise"}})
    assert (await stage.gateway.reload())["taken"]
    await all_at_home()
    await stage.gateway.stop()
    await stage.gateway.start()
    await all_at_home()
    config = (await stage.gateway.worker.configuration())["upstreams"][0]["sticky"]
    assert SECRET not in repr(config) and config["secret"] == "***"


@ensureDeferred
async def test_a_targets_death_moves_its_clients_once(stage: Stage, secret: None) -> None:
    origins = await three(stage)
    await stage.serve(sticky(*origins))
    first = await stage.ask("GET", "/")
    dead = next(origin for origin in origins if origin.name.encode() == first.body)
    dead.die()
    moved = await stage.ask("GET", "/", f"Cookie: {first.get('set-cookie').partition(';')[0]}")
    assert moved.status == 200 and moved.body != first.body and moved.get("set-cookie")
    await dead.listen()
    cookie = moved.get("set-cookie").partition(";")[0]
    for _ in range(5):
        answer = await stage.ask("GET", "/", f"Cookie: {cookie}")
        assert (answer.body, answer.get("set-cookie")) == (moved.body, None)


@ensureDeferred
async def test_a_cookie_set_over_tls_is_sent_over_tls_only(
    stage: Stage, secret: None, authority: Authority
) -> None:
    origin = await stage.origin()
    pair = authority.pair(stage.folder, "gw", "gw.test")
    listener = {"name": "secure", "address": "127.0.0.1:0", "tls": {"certificates": [pair]}}
    await stage.serve({**sticky(origin), "listeners": [listener]})
    answer = await stage.ask("GET", "/", tls=authority.client(), server_name="gw.test")
    assert answer.get("set-cookie").endswith("; SameSite=Lax; Secure")


@ensureDeferred
async def test_no_cookie_with_what_the_gateway_answers_itself(stage: Stage, secret: None) -> None:
    origin = await stage.origin()
    await stage.serve(sticky(origin))
    origin.die()
    answer = await stage.ask("GET", "/")
    assert answer.status == 502 and not answer.get("set-cookie")


@ensureDeferred
async def test_many_clients_at_once_each_stay(stage: Stage, secret: None) -> None:
    await stage.serve(sticky(*await three(stage)))

    async def visit() -> None:
        client = await stage.client()
        first = await client.ask("GET", "/")
        cookie = first.get("set-cookie").partition(";")[0]
        for _ in range(5):
            assert (await client.ask("GET", "/", f"Cookie: {cookie}")).body == first.body

    await together(*(visit() for _ in range(12)))
    await steady(lambda: all(target["active"] == 0 for target in shown(stage)["targets"]), 0.02)


@pytest.mark.parametrize(("value", "message"), [(None, "not set"), ("short", "16 characters")])
@ensureDeferred
async def test_a_secret_that_is_none_refuses_the_revision(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, secret: None, value: str | None, message: str
) -> None:
    origin = await stage.origin()
    await stage.serve(sticky(origin))
    if value is None:
        monkeypatch.delenv("STICKY")
    else:
        monkeypatch.setenv("STICKY", value)
    stage.gateway.write({**sticky(origin), "paths": {"dot_segments": "normalise"}})
    result = await stage.gateway.reload()
    assert not result["taken"] and message in result["problems"][0]
    assert "/upstreams/0/sticky/secret" in result["problems"][0]
