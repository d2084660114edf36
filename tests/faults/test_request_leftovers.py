"""Faults 10, 11, 14: octets that are left over when an answer comes early are never read as a request."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hostile import SMUGGLED, answered_once, nothing_came
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.origin import Asked
from toolkit.settings import api, route, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import steady, until

UPGRADE = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")  # fmt: skip

# Path to the status that it is answered with before anybody looked at the body.
EARLY = {
    "/key": 401, "/size": 413, "/limit": 429, "/mock": 202, "/closed": 503, "/away": 302, "/nowhere": 404, "/get": 405,
}  # fmt: skip


def answering_early() -> dict[str, Any]:
    """Apis that answer by themselves, each at the path of EARLY; and one that asks the upstream."""
    behind = {
        "key": step("api-key", header="X-Key"),
        "size": step("message-size", max="8B"),
        "limit": step("rate-limit", limit=1, per="1h", by="ip"),
        "mock": step("mock", status=202, body="done"),
        "closed": step("maintenance"),
        "away": step("redirect", to="https://elsewhere.test/"),
    }
    apis = [api(route(), name=name, base_path=f"/{name}", pre_flow=steps(one)) for name, one in behind.items()]
    read = {"name": "get", "match": {"methods": ["GET"], "path": "/"}, "upstream": "up"}
    good = api(route(), name="good", base_path="/good")
    return {"apis": [*apis, api(read, name="get", base_path="/get"), good]}


def head(path: str, *lines: str) -> bytes:
    return request("POST", path, *lines)


async def serve_early(stage: Stage) -> Any:
    """An origin, behind a gateway whose limit is used up."""
    origin = await stage.origin()
    await stage.serve({**simple(origin), **answering_early()})
    assert (await stage.ask("GET", "/limit")).status == 200
    origin.asked.clear()
    return origin


LENGTH = f"Content-Length: {len(SMUGGLED)}"
CHUNKED = "Transfer-Encoding: chunked"
CHUNK = b"%x\r\n" % len(SMUGGLED) + SMUGGLED + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [((LENGTH,), SMUGGLED), ((CHUNKED,), CHUNK), ((LENGTH, "Expect: 100-continue"), SMUGGLED)],
    ids=["sized", "chunked", "expecting"],
)
@ensureDeferred
async def test_11_a_body_that_comes_behind_an_early_answer_is_no_request(
    stage: Stage, lines: tuple[str, ...], body: bytes
) -> None:
    origin = await serve_early(stage)
    for path, status in EARLY.items():
        if (path, lines) == ("/size", (CHUNKED,)):
            continue  # which is read on, up to the limit
        client = await stage.client()
        client.send(head(path, *lines))
        answer = await client.answer()
        assert (answer.status, answer.get("connection"), answer.interim) == (status, "close", []), path
        client.send(body + SMUGGLED)
        assert await client.rest() == b"", path
        client.close()
    assert (await stage.ask("GET", "/good")).status == 200
    assert [asked.target for asked in origin.asked] == ["/good"]


@ensureDeferred
async def test_11_part_of_a_body_leaves_the_rest_of_it_unread(stage: Stage) -> None:
    origin = await serve_early(stage)
    for path, status in EARLY.items():
        client = await stage.client()
        # The answer comes in the middle; what follows begins with a request line.
        client.send(head(path, f"Content-Length: {len(SMUGGLED) + 4}") + b"1234")
        answer = await client.answer()
        assert (answer.status, answer.get("connection")) == (status, "close"), path
        client.send(SMUGGLED * 2)
        assert await client.rest() == b"", path
        client.close()
    assert (await stage.ask("GET", "/good")).status == 200
    assert [asked.target for asked in origin.asked] == ["/good"]


@pytest.mark.parametrize(
    ("lines", "body"), [((LENGTH,), SMUGGLED), ((CHUNKED,), CHUNK)], ids=["sized", "chunked"]
)
@ensureDeferred
async def test_11_after_a_body_that_came_whole_the_next_request_is_the_one_behind_it(
    stage: Stage, lines: tuple[str, ...], body: bytes
) -> None:
    origin = await serve_early(stage)
    for path, status in EARLY.items():
        client = await stage.client()
        client.send(head(path, *lines) + body + request("GET", "/good?behind"))
        answer = await client.answer()
        assert answer.status == status, path
        if answer.get("connection") == "close":
            assert await client.rest() == b"", path
        else:
            assert (await client.answer()).status == 200
            assert origin.last.target == "/good?behind"
        client.close()
    assert {asked.target for asked in origin.asked} <= {"/good?behind"}


@ensureDeferred
async def test_11_a_client_that_sends_without_end_behind_an_answer_is_cut_off(stage: Stage) -> None:
    origin = await serve_early(stage)
    client = await stage.client()
    client.send(head("/key", f"Content-Length: {1 << 40}"))
    assert (await client.answer()).status == 401
    sent = 0
    while not client.closed and sent < 64 << 20:
        await client.send_slowly(SMUGGLED * 1000)
        sent += len(SMUGGLED) * 1000
    assert client.closed and sent < 32 << 20
    assert origin.asked == []


# ---- 14


@pytest.mark.parametrize("value", ["200-ok", "100-continue, x", "tea", "100-continue;q=1", ""])
@ensureDeferred
async def test_14_an_expectation_that_nobody_can_meet_is_refused_before_the_upstream(
    stage: Stage, value: str
) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    answer = await answered_once(stage, head("/up", LENGTH, f"Expect: {value}"), SMUGGLED)
    assert (answer.status, answer.kind, answer.interim) == (417, "expectation-failed", [])
    await nothing_came(stage, origin, [417])


@ensureDeferred
async def test_14_with_a_key_the_100_comes_and_the_body_goes_through(stage: Stage) -> None:
    origin = await stage.origin()
    consumers = [{"name": "acme", "api_keys": [{"sha256": hashlib.sha256(b"k1").hexdigest()}]}]
    guarded = api(pre_flow=steps(step("api-key", header="X-Key")))
    await stage.serve(simple(origin, guarded, consumers=consumers))
    client = await stage.client()
    client.send(head("/up", LENGTH, "Expect: 100-Continue", "X-Key: k1"))
    assert await client.past(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(SMUGGLED + request("GET", "/next", "X-Key: k1"))
    assert [(await client.answer()).status for _ in range(2)] == [200, 200]
    assert [(asked.target, asked.body) for asked in origin.asked] == [("/up", SMUGGLED), ("/next", b"")]


# ---- 10


@pytest.mark.parametrize("status", [200, 204, 304, 403, 426, 500])
@ensureDeferred
async def test_10_octets_behind_an_upgrade_that_is_refused_reach_nobody(stage: Stage, status: int) -> None:
    said: list[bool] = []

    async def refuse(asked: Asked) -> None:
        await until(lambda: said)
        asked.send(b"HTTP/1.1 %d No\r\n%b\r\n" % (status, b"" if status in (204, 304) else b"Content-Length: 0\r\n"))

    origin = await stage.origin(refuse)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(request("GET", "/ws", *UPGRADE) + SMUGGLED)
    await until(lambda: origin.asked)
    await steady(lambda: b"smuggled" not in origin.connections[0].record, 0.05)
    said.append(True)
    answer = await client.answer()
    assert (answer.status, answer.get("connection")) == (status, "close")
    assert await client.rest() == b""
    client.send(SMUGGLED)
    client.close()
    await stage.gateway.line()
    assert [asked.target for asked in origin.asked] == ["/ws"]


@ensureDeferred
async def test_10_octets_that_come_before_the_upgrade_is_decided_wait_for_it(stage: Stage) -> None:
    said: list[bool] = []

    async def refuse(asked: Asked) -> None:
        await until(lambda: said)
        asked.answer(403, b"no")

    origin = await stage.origin(refuse)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(request("GET", "/ws", *UPGRADE))
    await until(lambda: origin.asked)
    client.send(request("GET", "/behind"))
    await steady(lambda: b"behind" not in origin.connections[0].record and not client.size, 0.1)
    said.append(True)
    answer = await client.answer()
    assert answer.status == 403
    # What was there is nobody's; what comes when all know that there is no tunnel is a request.
    if answer.get("connection") == "close":
        assert await client.rest() == b""
        assert [asked.target for asked in origin.asked] == ["/ws"]
    else:
        assert (await client.answer()).status == 403
        assert [asked.target for asked in origin.asked] == ["/ws", "/behind"]


@ensureDeferred
async def test_10_an_upgrade_that_is_not_offered_is_a_request_like_any_other(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    client = await stage.client()
    for upgrade in ("h2c", "TLS/1.0", "foo, bar"):
        client.send(request("GET", "/one", "Connection: Upgrade", f"Upgrade: {upgrade}") + request("GET", "/two"))
        answer = await client.answer()
        assert answer.status == 200 and answer.get("upgrade") is None, upgrade
        assert origin.asked[0].get("upgrade") is None, upgrade
        assert (await client.answer()).status == 200, upgrade
        assert [asked.target for asked in origin.asked] == ["/one", "/two"], upgrade
        origin.asked.clear()
