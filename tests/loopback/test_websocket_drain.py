"""The end of WebSockets that the gateway ends: a Close frame between two frames, and never a hang."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.authority import Authority
from toolkit.client import Client
from toolkit.origin import Connection, Origin
from toolkit.settings import Settings, simple
from toolkit.stage import Stage
from toolkit.stream import Closed, Stream
from toolkit.waiting import reactor, steady, turn, until
from toolkit.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PLAIN,
    SWITCH,
    TEXT,
    UPGRADE,
    Frame,
    frame,
    next_frame,
    said,
)
from twisted.internet.defer import Deferred

AT_LIMIT: Settings = {"drain": {"notice": "1ms", "timeout": "200ms"}}
NEVER: Settings = {"drain": {"notice": "1ms", "timeout": "30s"}}
GOING_AWAY = b"\x03\xe9"


@dataclass
class Tunnelled:
    """A WebSocket through the gateway: its two ends."""

    stage: Stage
    client: Client
    there: Connection

    def stop(self) -> Deferred[Any]:
        """Begin to stop, as a signal does."""
        service: Any = self.stage.gateway.service
        stopped: Deferred[Any] = service.stopService()
        return stopped

    async def stopped(self, stopping: Deferred[Any], within: float = 5.0) -> None:
        """Wait for the end; what the access log says then."""
        await stopping.addTimeout(within, reactor)
        self.stage.gateway.service = None  # type: ignore[assignment]

    async def arrived(self, octets: bytes, at: Stream) -> None:
        """Wait until this came, and take it."""
        await until(lambda: len(at.unread) >= len(octets), lambda: bytes(at.unread))
        assert await at.exactly(len(octets)) == octets


def switching(more: bytes = b"", *lines: str) -> Any:
    """An origin's script: switch, with these lines, and say more at once."""
    fields = "".join(f"{line}\r\n" for line in lines).encode()
    return lambda asked: asked.send(SWITCH[:-2] + fields + b"\r\n" + more)


async def tunnelled(stage: Stage, *lines: str, authority: Authority | None = None, **settings: Any) -> Tunnelled:
    """Both ends of a WebSocket. lines: of the 101. authority: TLS on both sides."""
    how: dict[str, Any] = {}
    if authority is None:
        origin: Origin = await stage.origin(switching(b"", *lines))
    else:
        origin = await stage.origin(switching(b"", *lines), tls=authority.server("127.0.0.1"))
        pair = authority.pair(stage.folder, "a", "a.test")
        settings["listeners"] = [
            {"name": "secure", "address": "127.0.0.1:0", "tls": {"certificates": [pair]}}
        ]
        settings["up"] = {"tls": {"ca": str(authority.file)}}
        how = {"tls": authority.client(), "server_name": "a.test"}
    await stage.serve(simple(origin, **settings))
    client = await stage.client(**how)
    assert (await client.ask("GET", "/", *UPGRADE, host="a.test")).status == 101
    one = Tunnelled(stage, client, origin.connections[0])
    client.send(said(b"hello"))
    await one.arrived(said(b"hello"), one.there)
    return one


async def last_frame(stream: Stream, code: int, within: float = 5.0) -> Frame:
    """A Close with this code, and nothing behind it."""
    close = await next_frame(stream, within)
    assert close.code == code
    assert stream.unread == b""
    return close


@pytest.fixture(params=["plain", "tls"])
def secured(request: pytest.FixtureRequest, authority: Authority) -> Authority | None:
    """TLS or none, on both sides."""
    return authority if request.param == "tls" else None


# ---- drain


@ensureDeferred
async def test_at_the_limit_both_sides_get_1001_and_are_closed_when_they_have_answered(
    stage: Stage, secured: Authority | None
) -> None:
    one = await tunnelled(stage, authority=secured, drain={"notice": "1ms", "timeout": "1s"})
    began = reactor.seconds()
    stopping = one.stop()
    await turn(0.05)
    one.client.send(said(b"still"))
    await one.arrived(said(b"still"), one.there)
    one.there.send(frame(b"here"))
    await one.arrived(frame(b"here"), one.client)
    assert not (await last_frame(one.client, 1001)).masked
    assert reactor.seconds() - began > 0.95
    assert (await last_frame(one.there, 1001)).masked
    one.client.send(said(GOING_AWAY, CLOSE))
    one.there.send(frame(GOING_AWAY, CLOSE))
    await one.stopped(stopping)
    await one.client.gone()
    await one.there.gone()
    # The answers to our Close are for us.
    assert (one.client.unread, one.there.unread) == (b"", b"")
    if secured is None:  # over TLS, asyncio tells nothing of how it ended
        assert (one.client.reason, one.there.reason) == (None, None)
    line = (await until(one.stage.gateway.access))[0]
    assert (line["status"], line.get("fault")) == (101, None)


@ensureDeferred
async def test_the_key_of_our_close_is_another_each_time(stage: Stage) -> None:
    origin = await stage.origin(switching())
    await stage.serve(simple(origin, **AT_LIMIT))
    clients = [await stage.client() for _ in range(8)]
    for client in clients:
        assert (await client.ask("GET", "/", *UPGRADE)).status == 101
    await stage.gateway.stop()
    closes = [bytes(one.unread) for one in origin.connections]
    assert {len(close) for close in closes} == {8}
    assert len({close[2:6] for close in closes}) == 8


@ensureDeferred
async def test_who_does_not_answer_our_close_is_closed_a_moment_later(stage: Stage) -> None:
    one = await tunnelled(stage, **AT_LIMIT)
    stopping = one.stop()
    await last_frame(one.client, 1001)
    await last_frame(one.there, 1001)
    told = reactor.seconds()
    await one.stopped(stopping)
    assert reactor.seconds() - told > 0.3
    await one.client.gone()
    await one.there.gone()


@ensureDeferred
async def test_frames_that_come_behind_our_close_are_dropped(stage: Stage) -> None:
    one = await tunnelled(stage, **AT_LIMIT)
    stopping = one.stop()
    await last_frame(one.client, 1001)
    await last_frame(one.there, 1001)
    one.client.send(said(b"late") + said(b"x" * 70000) + said(GOING_AWAY, CLOSE))
    one.there.send(frame(b"late") + frame(GOING_AWAY, CLOSE) + b"nonsense")
    await one.stopped(stopping)
    assert (await one.client.rest(), await one.there.rest()) == (b"", b"")


@ensureDeferred
async def test_between_the_fragments_of_a_message_is_a_border(stage: Stage) -> None:
    one = await tunnelled(stage, **AT_LIMIT)
    one.client.send(said(b"be", TEXT, fin=False))
    await one.arrived(said(b"be", TEXT, fin=False), one.there)
    stopping = one.stop()
    await last_frame(one.there, 1001)
    one.client.send(said(b"gun", CONTINUATION) + said(GOING_AWAY, CLOSE))
    one.there.send(frame(GOING_AWAY, CLOSE))
    await one.stopped(stopping)
    assert await one.there.rest() == b""


@pytest.mark.parametrize("side", ["client", "origin"])
@ensureDeferred
async def test_a_frame_that_was_begun_is_sent_to_its_end_first(stage: Stage, side: str) -> None:
    one = await tunnelled(stage, **AT_LIMIT)
    key = PLAIN if side == "client" else None
    sender, reader = (one.client, one.there) if side == "client" else (one.there, one.client)
    begun, behind = frame(b"b" * 100_000, key=key), frame(b"behind", key=key)
    sender.send(begun[:50_000])
    await until(lambda: len(reader.unread) == 50_000)
    stopping = one.stop()
    await last_frame(sender, 1001)  # the other direction stands at a border
    sender.send(begun[50_000:99_000])
    await until(lambda: len(reader.unread) == 99_000)
    sender.send(begun[99_000:] + behind + frame(GOING_AWAY, CLOSE, key=key))
    await one.arrived(begun, reader)
    await last_frame(reader, 1001)
    reader.send(frame(GOING_AWAY, CLOSE, key=None if side == "client" else PLAIN))
    await one.stopped(stopping)
    await reader.gone()
    assert reader.unread == b""


@ensureDeferred
async def test_a_header_that_was_begun_is_not_sent(stage: Stage) -> None:
    one = await tunnelled(stage, **AT_LIMIT)
    one.there.send(frame(b"x" * 300)[:3])
    await steady(lambda: not one.client.unread, 0.1, "half a header is nothing to anybody")
    stopping = one.stop()
    await last_frame(one.client, 1001)
    one.there.send(frame(b"x" * 300)[3:])
    await one.stopped(stopping)
    assert await one.client.rest() == b""


@ensureDeferred
async def test_a_frame_that_does_not_end_is_cut_off(stage: Stage) -> None:
    one = await tunnelled(stage, **AT_LIMIT)
    begun = frame(b"b" * 100_000)[:50_000]
    one.there.send(begun)
    await until(lambda: len(one.client.unread) == len(begun))
    stopping = one.stop()
    await last_frame(one.there, 1001)
    await one.stopped(stopping)
    assert await one.client.rest() == begun, "inside of a frame there is no place for a Close"


@ensureDeferred
async def test_a_client_that_reads_nothing_does_not_hold_the_end_up(stage: Stage) -> None:
    one = await tunnelled(stage, **AT_LIMIT)
    await full(one)
    stopping = one.stop()
    await last_frame(one.there, 1001)
    await one.stopped(stopping)
    one.client.resume()


async def full(one: Tunnelled) -> None:
    """Have the client read nothing, until its origin cannot say more."""
    one.client.pause()
    await one.there.fill(frame(b"f" * 60_000))


@ensureDeferred
async def test_who_has_closed_himself_is_answered_by_the_drain(stage: Stage) -> None:
    one = await tunnelled(stage, **AT_LIMIT)
    goodbye = said(b"\x03\xe8", CLOSE)
    one.client.send(goodbye)
    await one.arrived(goodbye, one.there)
    stopping = one.stop()  # the origin has not answered yet, and never will
    await last_frame(one.client, 1001)
    await one.client.gone()
    assert one.there.unread == b"", "a Close was the last thing it was told"
    await one.stopped(stopping)
    assert await one.there.rest() == b""


@ensureDeferred
async def test_a_second_signal_cuts_websockets_off_at_once(stage: Stage) -> None:
    one = await tunnelled(stage, **NEVER)
    stopping = one.stop()
    await steady(lambda: not stopping.called, 0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    await one.stopped(stopping)
    assert (await one.client.rest(), await one.there.rest()) == (b"", b"")


@ensureDeferred
async def test_a_second_signal_does_not_wait_for_answers_to_our_close(stage: Stage) -> None:
    one = await tunnelled(stage, **AT_LIMIT)
    await full(one)
    stopping = one.stop()
    await last_frame(one.there, 1001)
    os.kill(os.getpid(), signal.SIGTERM)
    # Without it, it takes two seconds: one for the answer, and one for the client to take what was sent.
    await one.stopped(stopping, within=1.5)
    one.client.resume()


# ---- who breaks the framing

BROKEN = [
    pytest.param(frame(b"x" * 1000, key=None), frame(b"x" * 1000, key=PLAIN), id="mask"),
    pytest.param(b"\xc2\x81" + PLAIN + b"x", b"\xc2\x01x", id="reserved-bit"),
    pytest.param(b"\x83\x80" + PLAIN, b"\x83\x00", id="reserved-opcode"),
    pytest.param(b"\x09\x80" + PLAIN, b"\x09\x00", id="ping-in-fragments"),
    pytest.param(b"\x89\xfe\x00\x80" + PLAIN, b"\x89\x7e\x00\x80", id="long-ping"),
    pytest.param(b"\x82\xff\x80" + bytes(7) + PLAIN, b"\x82\x7f\x80" + bytes(7), id="top-bit"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", id="http"),
]


@pytest.mark.parametrize(("octets", "unused"), BROKEN)
@ensureDeferred
async def test_a_client_that_breaks_the_framing_gets_1002_and_so_does_the_upstream(
    stage: Stage, octets: bytes, unused: bytes
) -> None:
    one = await tunnelled(stage)
    one.client.send(said(b"good") + octets)
    await one.arrived(said(b"good"), one.there)
    assert (await last_frame(one.there, 1002)).masked
    assert not (await last_frame(one.client, 1002)).masked
    await one.client.gone()
    one.client.close()
    one.there.send(frame(b"\x03\xea", CLOSE))
    await one.there.gone()
    line = await stage.gateway.line()
    assert (line["status"], line["octets_in"]) == (101, len(said(b"hello") + said(b"good") + octets))


@pytest.mark.parametrize(("unused", "octets"), BROKEN)
@ensureDeferred
async def test_an_upstream_that_breaks_the_framing_gets_1002_and_the_client_1011(
    stage: Stage, octets: bytes, unused: bytes
) -> None:
    one = await tunnelled(stage)
    one.there.send(frame(b"good") + octets)
    await one.arrived(frame(b"good"), one.client)
    await last_frame(one.client, 1011)
    await last_frame(one.there, 1002)
    await one.there.gone()
    one.client.send(said(b"\x03\xf3", CLOSE))
    await one.client.gone()


@ensureDeferred
async def test_who_breaks_the_framing_is_told_at_the_next_border_of_what_he_is_sent(
    stage: Stage, secured: Authority | None
) -> None:
    one = await tunnelled(stage, authority=secured)
    begun = frame(b"b" * 1000)
    one.there.send(begun[:500])
    await until(lambda: len(one.client.unread) == 500)
    one.client.send(frame(b"not masked"))
    await last_frame(one.there, 1002)
    one.there.send(begun[500:] + frame(b"behind"))
    await one.arrived(begun, one.client)
    await last_frame(one.client, 1002)
    one.there.send(frame(b"\x03\xea", CLOSE))
    await one.client.gone()
    await one.there.gone()


@ensureDeferred
async def test_who_breaks_the_framing_and_goes_on_sending_is_cut_off(stage: Stage) -> None:
    one = await tunnelled(stage)
    one.client.send(frame(b"not masked"))
    await last_frame(one.client, 1002)
    try:
        while not one.client.closed:
            await one.client.send_slowly(b"x" * 65536)
            await turn(0.01)
    except Closed:
        pass
    await one.there.gone()
    line = await stage.gateway.line()
    assert line["status"] == 101


@ensureDeferred
async def test_an_extension_that_was_agreed_on_may_use_reserved_bits(stage: Stage) -> None:
    one = await tunnelled(stage, "Sec-WebSocket-Extensions: permessage-deflate")
    for sender, reader, octets in (
        (one.client, one.there, b"\xc1\x81" + PLAIN + b"z"), (one.there, one.client, b"\xc1\x01z")
    ):  # fmt: skip
        sender.send(octets)
        await one.arrived(octets, reader)
    one.client.send(frame(b"not masked"))
    await last_frame(one.client, 1002)


# ---- who is gone


@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_an_upstream_that_is_gone_without_a_close_is_told_by_1011(
    stage: Stage, secured: Authority | None, how: str
) -> None:
    one = await tunnelled(stage, authority=secured)
    one.there.send(frame(b"be", TEXT, fin=False))
    await one.arrived(frame(b"be", TEXT, fin=False), one.client)
    getattr(one.there, how)()
    await last_frame(one.client, 1011)
    await one.client.gone()
    one.client.close()
    assert (await stage.gateway.line())["status"] == 101


@pytest.mark.parametrize("how", ["close", "reset"])
@ensureDeferred
async def test_an_upstream_that_is_gone_inside_of_a_frame_ends_the_client_without_a_word(
    stage: Stage, how: str
) -> None:
    one = await tunnelled(stage)
    begun = frame(b"b" * 1000)[:500]
    one.there.send(begun)
    await until(lambda: len(one.client.unread) == 500)
    getattr(one.there, how)()
    assert await one.client.rest() == begun
    assert (await stage.gateway.line())["status"] == 101


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("begun", [b"", said(b"b" * 1000)[:500]], ids=["between", "inside"])
@ensureDeferred
async def test_a_client_that_is_gone_ends_the_upstreams_connection(stage: Stage, how: str, begun: bytes) -> None:
    one = await tunnelled(stage)
    one.client.send(begun)
    await until(lambda: len(one.there.unread) == len(begun))
    getattr(one.client, how)()
    assert await one.there.rest() == begun
    assert (await stage.gateway.line())["status"] == 101


@ensureDeferred
async def test_a_client_that_sends_while_its_upstream_dies_still_reads_the_1011(stage: Stage) -> None:
    one = await tunnelled(stage)
    one.there.close()
    for _ in range(20):
        one.client.send(said(b"x" * 1000))
        await turn()
    await last_frame(one.client, 1011)
    await one.client.gone()
    assert one.client.reason is None, "it was not reset"


@ensureDeferred
async def test_the_closes_of_the_endpoints_pass_and_none_of_ours_is_added(stage: Stage) -> None:
    one = await tunnelled(stage)
    goodbye, answer = said(b"\x0f\xa0bye", CLOSE), frame(b"\x0f\xa0bye", CLOSE)
    one.client.send(goodbye)
    await one.arrived(goodbye, one.there)
    one.there.send(answer)
    await one.arrived(answer, one.client)
    await steady(lambda: not (one.client.ended or one.there.ended), 0.1, "the server closes first (RFC 6455 7.1.1)")
    one.there.close()
    assert (await one.client.rest(), await one.there.rest()) == (b"", b"")


@ensureDeferred
async def test_an_endless_frame_costs_nothing_but_its_octets(stage: Stage) -> None:
    one = await tunnelled(stage)
    size = 8 << 20
    octets = frame(b"z" * size, BINARY)
    sending = Deferred.fromCoroutine(one.there.send_slowly(octets))
    assert await one.client.exactly(len(octets)) == octets
    await sending
    one.there.send(frame(b"behind"))
    await one.arrived(frame(b"behind"), one.client)
