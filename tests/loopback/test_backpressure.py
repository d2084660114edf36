"""Who reads slowly is waited for, all the way to who writes; memory does not grow."""

from __future__ import annotations

import hashlib

import pytest
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority
from toolkit.client import Client, request
from toolkit.memory import growth
from toolkit.origin import Asked
from toolkit.settings import Settings, api, simple, step, steps
from toolkit.stage import Stage
from toolkit.stream import TOO_MUCH
from toolkit.waiting import turn, until

MIB = 1 << 20
PIECE = bytes(range(256)) * 4096
WHOLE = TOO_MUCH // MIB


class Source:
    """Answers with so many MiB, as fast as they are taken."""

    def __init__(self, pieces: int, *, chunked: bool = False) -> None:
        self.pieces, self.chunked = pieces, chunked
        self.written = 0

    async def serve(self, asked: Asked) -> None:
        framing = "Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {self.pieces * MIB}"
        asked.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        for _ in range(self.pieces):
            octets = b"100000\r\n" + PIECE + b"\r\n" if self.chunked else PIECE
            await asked.connection.send_slowly(octets, within=10.0)
            self.written += 1
        if self.chunked:
            asked.send(b"0\r\n\r\n")


async def settled(source: Source) -> int:
    """What was written when nothing more is taken."""
    before = -1
    while before != source.written:
        before = source.written
        await turn(0.1)
    return before


WAYS = [
    pytest.param(False, (), id="sized"),
    pytest.param(True, (), id="chunked"),
    pytest.param(True, (step("message-size", max="1GiB"),), id="watched"),
]


@pytest.mark.parametrize(("chunked", "policies"), WAYS)
@ensureDeferred
async def test_a_slow_reader_pauses_the_upstream(
    stage: Stage, chunked: bool, policies: tuple[Settings, ...]
) -> None:
    source = Source(WHOLE, chunked=chunked)
    origin = await stage.origin(source.serve)
    await stage.serve(simple(origin, api(pre_flow=steps(response=policies))))
    client = await stage.client()
    client.send(request("GET", "/"))
    head = await client.head()
    client.pause()
    with growth() as memory:
        # The kernel's buffers on both ways take their part; the rest has to wait.
        assert await settled(source) < WHOLE
        memory.look()
        before = source.written
        client.resume()
        digest = await read_all(client, chunked)
        memory.look()
    assert (head.get("content-length") is None) == chunked
    assert source.written == WHOLE > before
    assert digest == hashlib.sha256(PIECE * WHOLE).hexdigest()
    assert memory.grown < 16 * MIB
    # And the connections are as good as new.
    source.pieces, source.chunked = 0, False
    assert (await client.ask("GET", "/again")).status == 200
    assert len(origin.connections) == 1


async def read_all(client: Client, chunked: bool) -> str:
    """The digest of a body of WHOLE MiB, read piece by piece."""
    digest = hashlib.sha256()
    left = WHOLE * MIB
    if chunked:
        while size := int((await client.past(b"\r\n")).rstrip(), 16):
            digest.update(await client.exactly(size))
            await client.exactly(2)
        await client.exactly(2)
        return digest.hexdigest()
    while left:
        piece = await client.some(most=left)
        assert piece, f"the body ends {left} octets early"
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()


@ensureDeferred
async def test_a_slow_reader_is_not_taken_for_a_silent_upstream(stage: Stage) -> None:
    source = Source(WHOLE)
    origin = await stage.origin(source.serve)
    await stage.serve(simple(origin, up={"timeouts": {"idle": "150ms"}}))
    client = await stage.client()
    client.send(request("GET", "/"))
    await client.head()
    client.pause()
    await turn(0.4)
    client.resume()
    assert await read_all(client, False) == hashlib.sha256(PIECE * WHOLE).hexdigest()
    assert "fault" not in await stage.gateway.line()


@ensureDeferred
async def test_a_slow_reader_over_tls(stage: Stage, authority: Authority) -> None:
    source = Source(WHOLE)
    origin = await stage.origin(source.serve, tls=authority.server("127.0.0.1"))
    pair = authority.pair(stage.folder, "a", "a.test")
    listener = {"name": "secure", "address": "127.0.0.1:0", "tls": {"certificates": [pair]}}
    await stage.serve(simple(origin, listeners=[listener], up={"tls": {"ca": str(authority.file)}}))
    client = await stage.client(tls=authority.client(), server_name="a.test")
    client.send(request("GET", "/", host="a.test"))
    await client.head()
    client.pause()
    with growth() as memory:
        assert await settled(source) < WHOLE
        memory.look()
        client.resume()
        assert await read_all(client, False) == hashlib.sha256(PIECE * WHOLE).hexdigest()
        memory.look()
    assert memory.grown < 16 * MIB


@ensureDeferred
async def test_a_slow_upstream_pauses_the_client(stage: Stage) -> None:
    async def take(asked: Asked) -> None:
        asked.connection.pause()
        await until(lambda: go, within=30.0)
        asked.connection.resume()
        asked.answer(200, hashlib.sha256(await asked.read(within=30.0)).hexdigest().encode())

    go: list[int] = []
    origin = await stage.origin(take)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(b"POST / HTTP/1.1\r\nHost: gw.test\r\nContent-Length: %d\r\n\r\n" % (WHOLE * MIB))
    with growth() as memory:
        sent = await client.fill(PIECE)
    assert memory.grown < 16 * MIB
    go.append(1)
    for _ in range(WHOLE - sent // MIB):
        await client.send_slowly(PIECE)
    assert (await client.answer(within=30.0)).body == hashlib.sha256(PIECE * WHOLE).hexdigest().encode()


@pytest.mark.parametrize(("size", "count"), [(60_000, 1800), (2 * MIB, WHOLE // 2)])
@ensureDeferred
async def test_a_client_that_asks_on_and_on_and_reads_nothing_gathers_nothing(
    stage: Stage, size: int, count: int
) -> None:
    body = b"x" * size
    origin = await stage.origin(lambda asked: asked.answer(200, body))
    await stage.serve(simple(origin))
    client = await stage.client()
    client.pause()
    with growth() as memory:
        client.send(request("GET", "/") * count)
        await until(lambda: origin.asked)
        asked = -1
        while asked != len(origin.asked):
            asked = len(origin.asked)
            await turn(0.1)
        assert asked < count
        memory.look()
    assert memory.grown < 24 * MIB
    assert len(origin.connections) == 1
    client.resume()
    for _ in range(count):
        assert len((await client.answer(within=10.0)).body) == size


@ensureDeferred
async def test_requests_without_end_in_the_pipe_are_not_gathered(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: None)
    await stage.serve(simple(origin))
    client = await stage.client()
    with growth() as memory:
        await client.fill(request("GET", "/", "X-Pad: " + "x" * 8000) * 12)
    assert memory.grown < 24 * MIB
    assert len(origin.asked) == 1


@ensureDeferred
async def test_many_slow_readers_at_once(stage: Stage) -> None:
    source = Source(4)
    origin = await stage.origin(source.serve)
    await stage.serve(simple(origin))
    clients = [await stage.client() for _ in range(12)]
    for client in clients:
        client.send(request("GET", "/"))
        await client.head()
        client.pause()
    await turn(0.2)
    for client in clients:
        client.resume()
    for client in clients:
        await client.exactly(4 * MIB)
        assert not client.unread
    assert stage.gateway.worker.status()["exchanges_running"] == 0
