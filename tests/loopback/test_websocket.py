"""WebSocket: no tunnel before the 101, every frame through it, and an end for both sides."""

from __future__ import annotations

import hashlib

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.memory import growth
from toolkit.origin import Asked
from toolkit.settings import api, route, simple, step, steps
from toolkit.stage import Stage
from toolkit.stream import Closed
from toolkit.waiting import reactor, steady, turn, until
from toolkit.websocket import CLOSE, PLAIN, SWITCH, UPGRADE, frame, said
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Message, Request, TextMessage


async def websocket_echo(asked: Asked) -> None:
    """A WebSocket server by wsproto: says back what it hears, and answers a close."""
    server = WSConnection(ConnectionType.SERVER)
    server.receive_data(asked.raw)
    while True:
        for event in server.events():
            if isinstance(event, Request):
                assert event.subprotocols == ["chat"]
                asked.send(server.send(AcceptConnection(subprotocol="chat")))
            elif isinstance(event, Message):
                asked.send(server.send(Message(data=event.data, message_finished=event.message_finished)))
            elif isinstance(event, CloseConnection):
                asked.send(server.send(event.response()))
                asked.connection.close()
                return
        data = await asked.connection.some()
        if not data:
            raise Closed
        server.receive_data(data)


class Browser:
    """A WebSocket client by wsproto on a raw connection."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.protocol = WSConnection(ConnectionType.CLIENT)

    async def open(self, target: str) -> AcceptConnection:
        self.client.send(self.protocol.send(Request(host="gw.test", target=target, subprotocols=["chat"])))
        event = await self.event()
        assert isinstance(event, AcceptConnection)
        return event

    def say(self, data: str | bytes) -> None:
        message = TextMessage(data) if isinstance(data, str) else BytesMessage(data)
        self.client.send(self.protocol.send(message))

    async def event(self) -> object:
        while True:
            for event in self.protocol.events():
                return event
            self.protocol.receive_data(await self.client.some())

    async def message(self) -> bytes:
        """A message, whole."""
        pieces: list[bytes] = []
        while True:
            event = await self.event()
            assert isinstance(event, Message)
            pieces.append(event.data.encode() if isinstance(event.data, str) else bytes(event.data))
            if event.message_finished:
                return b"".join(pieces)


@ensureDeferred
async def test_a_websocket_echoes_through(stage: Stage) -> None:
    origin = await stage.origin(websocket_echo)
    await stage.serve(
        simple(origin, api(route(stream=True), pre_flow=steps(step("set-headers", set={"X-A": "1"}))))
    )
    browser = Browser(await stage.client())
    assert (await browser.open("/chat?room=1")).subprotocol == "chat"
    assert (origin.last.target, origin.last.get("x-a")) == ("/chat?room=1", "1")
    for text in ("hello", "Grüße", "x" * 70000):
        browser.say(text)
        assert await browser.message() == text.encode()
    browser.say(bytes(range(256)) * 500)
    assert await browser.message() == bytes(range(256)) * 500
    browser.client.send(browser.protocol.send(CloseConnection(code=1000)))
    closing = await browser.event()
    assert isinstance(closing, CloseConnection) and closing.code == 1000
    await browser.client.gone(within=1.0)
    line = await stage.gateway.line()
    assert (line["status"], line.get("fault")) == (101, None)
    assert line["octets_in"] > 198_000 and line["octets_out"] > 198_000
    assert stage.gateway.worker.upstreams()[0]["targets"][0]["active"] == 0


@ensureDeferred
async def test_there_is_no_tunnel_before_the_101(stage: Stage) -> None:
    async def hesitate(asked: Asked) -> None:
        await until(lambda: go)
        asked.send(SWITCH)
        asked.send(frame(await asked.connection.past(b"!")))

    go: list[int] = []
    origin = await stage.origin(hesitate)
    await stage.serve(simple(origin))
    client = await stage.client()
    # A frame of the new protocol behind the request, in the same write.
    client.send(request("GET", "/", *UPGRADE) + said(b"pipelined"))
    await until(lambda: origin.asked)
    await steady(lambda: not origin.connections[0].unread and not client.size, 0.1)
    go.append(1)
    answer = await client.answer()
    assert (answer.status, answer.get("x-from"), answer.get("upgrade")) == (101, "origin", "websocket")
    client.send(said(b" and more!"))
    heard = frame(said(b"pipelined") + said(b" and more!"))
    assert await client.exactly(len(heard)) == heard


@ensureDeferred
async def test_octets_that_come_with_the_101_are_the_new_protocols(stage: Stage) -> None:
    def switch_and_speak(asked: Asked) -> None:
        asked.send(SWITCH + frame(b"first words"))

    origin = await stage.origin(switch_and_speak)
    await stage.serve(simple(origin))
    client = await stage.client()
    assert (await client.ask("GET", "/", *UPGRADE)).status == 101
    assert await client.exactly(13) == frame(b"first words")


@pytest.mark.parametrize(("status", "body"), [(200, b"not here"), (403, b"no"), (404, b"x" * 100_000)])
@ensureDeferred
async def test_an_answer_that_is_no_101_is_an_answer_like_any_other(
    stage: Stage, status: int, body: bytes
) -> None:
    origin = await stage.origin(lambda asked: asked.answer(status, body))
    await stage.serve(simple(origin))
    client = await stage.client()
    answer = await client.ask("GET", "/", *UPGRADE)
    assert (answer.status, answer.body) == (status, body)
    if answer.get("connection") != "close":
        assert (await client.ask("GET", "/next")).status == status


@ensureDeferred
async def test_pipelined_octets_behind_a_refused_upgrade_are_never_read_as_a_request(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: asked.answer(200, b"no"))
    await stage.serve(simple(origin))
    client = await stage.client()
    client.send(request("GET", "/ws", *UPGRADE) + request("GET", "/smuggled"))
    answer = await client.answer()
    assert (answer.status, answer.get("connection")) == (200, "close")
    await client.gone(within=1.0)
    assert [asked.target for asked in origin.asked] == ["/ws"]


@ensureDeferred
async def test_a_101_that_nobody_asked_for_is_no_answer(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: asked.send(SWITCH))
    await stage.serve(simple(origin))
    client = await stage.client()
    for lines in ((), ("Upgrade: h2c", "Connection: Upgrade"), ("Upgrade: websocket",)):
        assert (await client.ask("GET", "/", *lines)).status == 502
    assert (await client.ask("POST", "/", *UPGRADE, body=b"x")).status == 502


@ensureDeferred
async def test_the_handshake_goes_through_the_policies(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: asked.send(SWITCH))
    consumers = [{"name": "acme", "api_keys": [{"sha256": hashlib.sha256(b"k1").hexdigest()}]}]
    await stage.serve(simple(origin, api(pre_flow=steps(step("api-key", query="key"))), consumers=consumers))
    assert (await stage.ask("GET", "/ws", *UPGRADE)).status == 401
    assert origin.asked == []
    assert (await stage.ask("GET", "/ws?key=k1&a=1", *UPGRADE)).status == 101
    assert origin.last.target == "/ws?a=1"


@pytest.mark.parametrize("who", ["client", "origin"])
@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_when_one_side_ends_the_other_ends(stage: Stage, who: str, how: str) -> None:
    origin = await stage.origin(lambda asked: asked.send(SWITCH + frame(b"hello")))
    await stage.serve(simple(origin))
    client = await stage.client()
    await client.ask("GET", "/", *UPGRADE)
    client.send(said(b"last words"))
    await until(lambda: origin.connections[0].unread == said(b"last words"))
    first, second = (client, origin.connections[0]) if who == "client" else (origin.connections[0], client)
    getattr(first, how)()
    await second.gone(within=1.0)
    line = await stage.gateway.line()
    assert (line["status"], line["octets_in"], line["octets_out"]) == (101, 16, 7)
    assert stage.gateway.worker.status()["exchanges_running"] == 0


@ensureDeferred
async def test_what_was_said_before_the_close_arrives(stage: Stage) -> None:
    def speak_and_leave(asked: Asked) -> None:
        asked.send(SWITCH + frame(b"x" * 300_000))
        asked.connection.close()

    origin = await stage.origin(speak_and_leave)
    await stage.serve(simple(origin))
    client = await stage.client()
    client.pause()
    client.send(request("GET", "/", *UPGRADE))
    await until(lambda: origin.asked)
    await turn(0.05)
    client.resume()
    assert (await client.answer()).status == 101
    # Last comes a Close of the gateway's own: the origin has sent none.
    assert await client.rest() == frame(b"x" * 300_000) + frame(b"\x03\xf3", CLOSE)


@ensureDeferred
async def test_a_silent_tunnel_is_closed(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: asked.send(SWITCH))
    await stage.serve(simple(origin, up={"timeouts": {"idle": "200ms"}}))
    client = await stage.client()
    assert (await client.ask("GET", "/", *UPGRADE)).status == 101
    for _ in range(4):
        await turn(0.1)
        client.send(said())  # as long as something passes it stays, longer than any other limit
    await until(lambda: origin.connections[0].unread == said() * 4)
    began = reactor.seconds()
    await client.gone(within=1.0)
    assert reactor.seconds() - began > 0.15
    await until(lambda: not origin.open)


@ensureDeferred
async def test_a_tunnel_holds_back_who_sends_faster_than_the_other_reads(stage: Stage) -> None:
    origin = await stage.origin(lambda asked: asked.send(SWITCH))
    await stage.serve(simple(origin))
    client = await stage.client()
    assert (await client.ask("GET", "/", *UPGRADE)).status == 101
    there = origin.connections[0]
    long = (1 << 30).to_bytes(8, "big")  # one frame each way that takes all of it
    with growth() as memory:
        for sender, reader, head in ((client, there, b"\x82\xff" + long + PLAIN), (there, client, b"\x82\x7f" + long)):
            reader.pause()
            sender.send(head)
            sent = len(head) + await sender.fill(b"x" * (1 << 20))
            memory.look()
            reader.resume()
            while sent:
                sent -= len(await reader.some())
    assert memory.grown < 24 << 20
