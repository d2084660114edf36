"""Faults 12 and 13: heads and bodies over their limits are refused as soon as that is known, in bounded memory."""

from __future__ import annotations

import pytest
from hostile import SMUGGLED, answered_once, nothing_came
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.memory import growth
from toolkit.origin import Asked
from toolkit.settings import Settings, api, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import turn, until

MEGABYTE = 1 << 20
LIMITS = {"max_target": "8KiB", "max_head": "64KiB", "max_fields": 100, "max_field": "16KiB"}


def limited(**limits: object) -> Settings:
    """A listener with these limits."""
    return {"listeners": [{"name": "public", "address": "127.0.0.1:0", "limits": limits}]}


def get(target: str = "/", *lines: str) -> bytes:
    return request("GET", target, *lines)


HEADS = [
    ("a target over 8 KiB", 414, get("/" + "a" * 8192)),
    ("a query over 8 KiB", 414, get("/?" + "a" * 8192)),
    ("101 fields", 431, get("/", *(f"X-{number}: 1" for number in range(100)))),
    ("101 times the same field", 431, get("/", *["Cookie: a=1"] * 100)),
    ("a field over 16 KiB", 431, get("/", "X-A: " + "a" * 16_384)),
    ("a name over 16 KiB", 431, get("/", "X" * 16_384 + ": 1")),
    ("a head over 64 KiB", 431, get("/", *(f"X-{number}: " + "a" * 8000 for number in range(9)))),
    ("a head that never ends", 431, b"GET / HTTP/1.1\r\nHost: gw.test\r\n" + b"X-A: 1\r\n" * 10_000),
    ("a field that never ends", 431, b"GET / HTTP/1.1\r\nHost: gw.test\r\nX-A: " + b"a" * 70_000),
]


@ensureDeferred
async def test_12_a_head_over_a_limit_is_refused_and_reaches_nobody(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **limited(**LIMITS)))
    for name, status, octets in HEADS:
        assert (await answered_once(stage, octets)).status == status, name
    endless = await stage.client()
    endless.send(b"GET /" + b"a" * 20_000)  # and no line end, ever
    assert (await endless.answer()).status == 414
    await nothing_came(stage, origin, [*(status for _, status, _ in HEADS), 414])


@ensureDeferred
async def test_12_a_head_just_within_the_limits_passes(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **limited(**LIMITS)))
    client = await stage.client()
    # RFC 9112 3 asks for 8000 octets of request line at least.
    for octets in (
        get("/" + "a" * 8191),
        get("/", *(f"X-{number}: 1" for number in range(99))),
        get("/", "X-A: " + "a" * 16_000),
    ):
        client.send(octets)
        assert (await client.answer()).status == 200, octets[:80]
    assert len(origin.asked) == 3


@ensureDeferred
async def test_12_a_hundred_heads_without_end_take_no_memory(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, **limited(**LIMITS)))
    clients = [await stage.client() for _ in range(100)]
    with growth() as measured:
        for client in clients:
            client.send(b"GET / HTTP/1.1\r\nHost: gw.test\r\n")
        for _ in range(64):
            for client in clients:
                client.send(b"X-Padding: " + b"a" * 4000 + b"\r\n")
            await turn()
            measured.look()
        for client in clients:
            assert (await client.answer()).status == 431
            client.close()
    assert measured.grown < 60 * MEGABYTE  # 25 MB were sent; what the sockets hold is ours, too
    assert origin.connections == []


# ---- 13


def bounded(how: str) -> tuple[Settings, Settings]:
    """An Api, and settings beside it: bodies of 512 KiB at most, by the listener or by a policy."""
    if how == "listener":
        return api(), limited(max_body="512KiB")
    return api(pre_flow=steps(step("message-size", max="512KiB"))), {}


async def read_all(asked: Asked) -> None:
    asked.answer(200, b"%d" % len(await asked.read()))


@pytest.mark.parametrize("how", ["listener", "policy"])
@ensureDeferred
async def test_13_an_announced_body_over_the_limit_is_refused_before_it_is_read(stage: Stage, how: str) -> None:
    origin = await stage.origin(read_all)
    one, beside = bounded(how)
    await stage.serve(simple(origin, one, **beside))
    statuses = []
    for length in (524_289, 1 << 40, (1 << 63) - 1):
        for lines in ((), ("Expect: 100-continue",)):
            answer = await answered_once(stage, request("POST", "/up", f"Content-Length: {length}", *lines))
            assert (answer.status, answer.kind, answer.interim) == (413, "too-large", []), length
            statuses.append(413)
    await nothing_came(stage, origin, statuses)
    assert (await stage.ask("POST", "/up", body=b"x" * 524_288)).body == b"524288"


async def pour(client: Client, most: int, *, piece: int = 65_536) -> int:
    """Send chunks until there is an answer; how many octets of body they had."""
    sent = 0
    while sent < most and not client.size and not client.closed:
        await client.send_slowly(b"%x\r\n" % piece + b"x" * piece + b"\r\n")
        sent += piece
        await turn()
    return sent


@pytest.mark.parametrize("how", ["listener", "policy"])
@ensureDeferred
async def test_13_a_chunked_body_is_cut_off_at_the_limit_in_bounded_memory(stage: Stage, how: str) -> None:
    whole: list[bytes] = []

    async def read(asked: Asked) -> None:
        whole.append(await asked.read())

    origin = await stage.origin(read)
    one, beside = bounded(how)
    await stage.serve(simple(origin, one, **beside))
    client = await stage.client()
    client.send(request("POST", "/up", "Transfer-Encoding: chunked"))
    with growth() as measured:
        sent = await pour(client, 64 * MEGABYTE)
        answer = await client.answer()
    assert (answer.status, answer.kind, answer.get("connection")) == (413, "too-large", "close")
    assert 524_288 < sent < 8 * MEGABYTE and measured.grown < 20 * MEGABYTE
    client.send(b"0\r\n\r\n" + SMUGGLED)
    assert await client.rest() == b""
    client.close()
    await until(lambda: not origin.open)
    assert whole == [] and len(origin.asked) == 1
    record = origin.connections[0]
    assert record.size < MEGABYTE
    assert (await stage.gateway.line())["fault"]["type"] == "too-large"


@ensureDeferred
async def test_13_one_chunk_that_announces_more_than_the_limit_is_no_way_around_it(stage: Stage) -> None:
    origin = await stage.origin(read_all)
    await stage.serve(simple(origin, **limited(max_body="64KiB")))
    client = await stage.client()
    client.send(request("POST", "/up", "Transfer-Encoding: chunked") + b"ffffffffffffff\r\n")
    for _ in range(3):
        client.send(b"x" * 32_768)
        await turn()
    answer = await client.answer()
    assert (answer.status, answer.get("connection")) == (413, "close")
    assert await client.rest() == b""
