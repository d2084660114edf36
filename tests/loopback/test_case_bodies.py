"""RC-O08, RC-O09, RC-O10: answers without a body, uploads that are not gathered, streams that are not held back."""

from __future__ import annotations

import hashlib
from statistics import median

import pytest
from pytest_twisted import ensureDeferred
from toolkit.memory import growth
from toolkit.message import read_chunk_size, read_trailers
from toolkit.origin import Asked
from toolkit.settings import Settings, api, simple, step, steps
from toolkit.stage import Stage
from toolkit.waiting import reactor, turn, until

WITHOUT_BODY = [
    pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", id="a-head-200"),
    pytest.param(
        "HEAD", b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n", id="b-head-404-chunked"
    ),
    pytest.param(
        "GET", b'HTTP/1.1 304 Not Modified\r\nETag: "v"\r\nContent-Length: 1234\r\n\r\n', id="c-304"
    ),
    pytest.param("GET", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", id="d-204-chunked"),
    pytest.param("GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", id="204-length"),
    pytest.param("HEAD", b"HTTP/1.1 200 OK\r\n\r\n", id="head-no-length"),
    pytest.param("HEAD", b"HTTP/1.1 204 No Content\r\n\r\n", id="head-204"),
    pytest.param(
        "GET",
        b'HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\nETag: "v"\r\n\r\n',
        id="304-chunked",
    ),
    pytest.param("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n", id="delete-204"),
]
WITH_A_BODY_POLICY = steps(response=(step("message-size", min="1B", max="1KiB"),))


@pytest.mark.parametrize(("method", "head"), WITHOUT_BODY)
@ensureDeferred
async def test_rc_o08_an_answer_without_body_passes_at_once_and_leaks_nothing(
    stage: Stage, method: str, head: bytes
) -> None:
    def answer(asked: Asked) -> None:
        if asked.target.endswith("/r"):
            asked.send(head)
        else:
            asked.answer(200, asked.target.encode())

    origin = await stage.origin(answer)
    watched = api(name="watched", base_path="/watched", pre_flow=WITH_A_BODY_POLICY)
    await stage.serve(simple(origin, api(name="bare", base_path="/bare"), watched))
    client = await stage.client()
    for base in ("/bare", "/watched"):
        first = await client.ask(method, f"{base}/r")
        assert first.status == int(head.split()[1])
        if method == "HEAD" and b"1234" in head:
            assert first.get("content-length") == "1234"
        elif first.status == 204:
            assert first.get("content-length") is None
        assert first.get("transfer-encoding") is None or method == "HEAD"
        second = await client.ask("GET", f"{base}/next")
        assert (second.status, second.body) == (200, f"{base}/next".encode())
    assert len(origin.connections) == 1


@ensureDeferred
async def test_rc_o08_octets_behind_an_answer_without_body_never_reach_the_next_client(stage: Stage) -> None:
    def answer(asked: Asked) -> None:
        if asked.target == "/r":
            asked.send(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        else:
            asked.answer(200, b"mine")

    origin = await stage.origin(answer)
    await stage.serve(simple(origin))
    client = await stage.client()
    assert (await client.ask("GET", "/r")).status == 204
    assert (await client.ask("GET", "/next")).body == b"mine"
    assert len(origin.connections) == 2


MIB = 1024 * 1024
PIECE = bytes(range(256)) * 4096


@ensureDeferred
async def test_rc_o09_an_upload_streams_through_with_bounded_memory(stage: Stage) -> None:
    seen = Sink()
    origin = await stage.origin(seen.take)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(b"PUT /blob HTTP/1.1\r\nHost: gw.test\r\nTransfer-Encoding: chunked\r\n\r\n")
    digest = hashlib.sha256()
    with growth() as memory:
        for number in range(30):
            if number == 29:
                assert seen.octets > 0, "the origin got nothing before the last chunk was sent"
                assert client.size == 0
            await client.send_slowly(b"%x\r\n" % MIB + PIECE + b"\r\n")
            digest.update(PIECE)
            # The client is held to the origin's pace: what was sent and not read stands in buffers only, most of it
            # in the kernel's for the gateway's two connections.
            assert (number + 1) * MIB - seen.octets < 16 * MIB
            memory.look()
        client.send(b"0\r\nX-Check: 7\r\n\r\n")
        answer = await client.answer()
    assert (answer.status, answer.body) == (200, digest.hexdigest().encode())
    assert (seen.octets, seen.trailers) == (30 * MIB, [("x-check", "7")])
    assert memory.grown < 16 * MIB


class Sink:
    """Reads a chunked body at about 60 MiB/s, and keeps a digest of it."""

    def __init__(self) -> None:
        self.octets = 0
        self.trailers: list[tuple[str, str]] = []

    async def take(self, asked: Asked) -> None:
        digest, stream = hashlib.sha256(), asked.connection
        while left := await read_chunk_size(stream):
            while left:
                piece = await stream.some(most=left)
                left -= len(piece)
                digest.update(piece)
                self.octets += len(piece)
                if len(stream.unread) < 65536:
                    stream.pause()
                    await turn(0.002)
                    stream.resume()
            await stream.exactly(2)
        self.trailers = await read_trailers(stream)
        asked.answer(200, digest.hexdigest().encode())


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
@ensureDeferred
async def test_rc_o09_a_request_without_body_goes_out_without_framing(stage: Stage, method: str) -> None:
    origin = await stage.origin()
    flow = steps(step("message-size", max="1KiB"), step("set-headers", set={"X-A": "1"}))
    await stage.serve(
        simple(origin, api(name="bare", base_path="/x"), api(name="watched", base_path="/y", pre_flow=flow))
    )
    client = await stage.client()
    for target in ("/x", "/y"):
        assert (await client.ask(method, target)).status == 200
        assert not {"content-length", "transfer-encoding"} & set(origin.last.names)


@ensureDeferred
async def test_rc_o09_an_empty_body_stays_one(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin))
    assert (await stage.ask("POST", "/x", body=b"")).status == 200
    assert (origin.last.get("content-length"), origin.last.get("transfer-encoding")) == ("0", None)


EVENTS = 8
PAUSE = 0.2


@pytest.mark.parametrize(
    "policies",
    [
        pytest.param((), id="bare"),
        pytest.param(
            (step("message-size", max="1MiB"), step("set-headers", set={"X-A": "1"})), id="policies"
        ),
    ],
)
@ensureDeferred
async def test_rc_o10_each_event_arrives_at_once_and_the_stream_outlives_every_limit_but_silence(
    stage: Stage, policies: tuple[Settings, ...]
) -> None:
    async def stream_events(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n")
        for number in range(EVENTS):
            asked.send(b"data: %d %.6f\n\n" % (number, reactor.seconds()))
            await turn(PAUSE)
        asked.connection.close()

    origin = await stage.origin(stream_events)
    # A stream of 1.6 s: longer than `idle`, `response` and `total`; only 0.2 s between its events.
    limits = {"idle": "1s", "response": "1s", "total": "1s"}
    await stage.serve(simple(origin, api(pre_flow=steps(response=policies)), up={"timeouts": limits}))
    client = await stage.client()
    client.send(b"GET /events HTTP/1.1\r\nHost: gw.test\r\n\r\n")
    head = await client.head()
    assert (head.get("content-type"), head.get("transfer-encoding")) == ("text/event-stream", "chunked")
    took: list[float] = []
    for number in range(EVENTS):
        event = await client.exactly(await read_chunk_size(client))
        _, said, sent = event.split()
        assert int(said) == number
        took.append(reactor.seconds() - float(sent))
        await client.exactly(2)
    assert median(took) < PAUSE / 2  # most of them: the machine may be busy once
    assert await read_chunk_size(client) == 0
    await read_trailers(client)
    line = await stage.gateway.line()
    assert line["status"] == 200
    assert line["octets_out"] > EVENTS * len("data: 1 1.000000\n\n") and "fault" not in line
    assert line["duration_ms"]["total"] > EVENTS * PAUSE * 900


@ensureDeferred
async def test_rc_o10_silence_ends_a_stream_and_it_does_not_look_finished(stage: Stage) -> None:
    def fall_silent(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")

    origin = await stage.origin(fall_silent)
    await stage.serve(simple(origin, up={"timeouts": {"idle": "150ms"}}))
    client = await stage.client()
    client.send(b"GET /events HTTP/1.1\r\nHost: gw.test\r\n\r\n")
    await client.head()
    assert not (await client.rest()).endswith(b"0\r\n\r\n")
    await until(lambda: not origin.open)
    assert (await stage.gateway.line())["fault"]["type"] == "response-timeout"


@ensureDeferred
async def test_rc_o10_when_the_client_leaves_the_stream_of_the_origin_ends(stage: Stage) -> None:
    def begin(asked: Asked) -> None:
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")

    origin = await stage.origin(begin)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(b"GET /events HTTP/1.1\r\nHost: gw.test\r\n\r\n")
    await client.past(b"data: 1\n\n")
    client.close()
    await until(lambda: not origin.open, "the origin's connection ends", within=1.0)
    line = await stage.gateway.line()
    assert (line["status"], line["octets_out"], line["fault"]["type"]) == (200, 9, "client-closed")
