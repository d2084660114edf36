"""A Twisted protocol on the loop's own transport, over real sockets."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from peers import Echo, Recorder, Sockets, accepted, in_thread, pause
from pytest_twisted import ensureDeferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
)
from zope.interface import implementer
from zope.interface.verify import verifyObject

from apigateway.transport.native import HIGH_WATER

MEGABYTE = b"x" * 1_000_000


def plain_client(port: Any, receive_buffer: int | None = None) -> socket.socket:
    """A client that reads only when told to; the kernel completes its handshake without the loop."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(5)
    client.connect((port.getHost().host, port.getHost().port))
    return client


def read_to_end(client: socket.socket) -> bytes:
    with client:
        return b"".join(iter(lambda: client.recv(65536), b""))


@implementer(IPushProducer)
class Tap:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


@implementer(IPullProducer)
class Pieces:
    """Gives its consumer one piece each time it is asked, then unregisters."""

    def __init__(self, consumer: Any, count: int) -> None:
        self.consumer, self.left, self.stopped = consumer, count, False

    def resumeProducing(self) -> None:
        self.consumer.write(b"p" * 10_000)
        self.left -= 1
        if not self.left:
            self.consumer.unregisterProducer()
            self.consumer.loseConnection()

    def stopProducing(self) -> None:
        self.stopped = True


@ensureDeferred
async def test_bytes_go_both_ways(sockets: Sockets) -> None:
    _, there = await sockets.pair(server=Echo)
    there.transport.write(b"one ")
    there.transport.writeSequence([b"two ", b"three"])
    assert await there.until(13) == b"one two three"


@ensureDeferred
async def test_provides_what_twisted_protocols_ask_for(sockets: Sockets) -> None:
    here, there = await sockets.pair()
    for interface in (ITCPTransport, IConsumer, IPushProducer):
        assert verifyObject(interface, here.transport)
    assert here.transport.getPeer() == there.transport.getHost()
    assert here.transport.getHost() == there.transport.getPeer()
    assert here.transport.ssl_object is None


@ensureDeferred
async def test_the_factory_is_told_the_peer(sockets: Sockets) -> None:
    told: list[Any] = []
    port, factory = await sockets.serve()
    build = factory.buildProtocol
    factory.buildProtocol = lambda addr: told.append(addr) or build(addr)  # type: ignore[method-assign]
    there = await sockets.connect(port)
    await accepted(factory)
    assert told == [there.transport.getHost()]


@ensureDeferred
async def test_socket_options(sockets: Sockets) -> None:
    here, _ = await sockets.pair()
    assert here.transport.getTcpNoDelay() is True
    here.transport.setTcpNoDelay(False)
    here.transport.setTcpKeepAlive(True)
    assert here.transport.getTcpNoDelay() is False
    assert here.transport.getTcpKeepAlive() is True


@ensureDeferred
async def test_producer_waits_for_a_peer_that_does_not_read(sockets: Sockets) -> None:
    port, factory = await sockets.serve()
    client = plain_client(port, receive_buffer=4096)
    here = await accepted(factory)
    tap = Tap()
    here.transport.registerProducer(tap, True)
    sent = 0
    while not tap.told:
        here.transport.write(MEGABYTE[:HIGH_WATER])
        sent += HIGH_WATER
    await pause(0.05)
    assert tap.told == ["pause"]
    received = in_thread(read_to_end, client)
    while tap.told == ["pause"]:
        await pause(0.005)
    assert tap.told == ["pause", "resume"]
    here.transport.unregisterProducer()
    here.transport.loseConnection()
    assert len(await received) == sent


@ensureDeferred
async def test_a_producer_registered_late_is_paused_at_once(sockets: Sockets) -> None:
    port, factory = await sockets.serve()
    with plain_client(port, receive_buffer=4096):
        here = await accepted(factory)
        here.transport.write(MEGABYTE * 20)
        tap = Tap()
        here.transport.registerProducer(tap, True)
        assert tap.told == ["pause"]
        with pytest.raises(RuntimeError, match="still registered"):
            here.transport.registerProducer(Tap(), True)


@ensureDeferred
async def test_reading_is_paused_and_resumed(sockets: Sockets) -> None:
    here, there = await sockets.pair()
    here.transport.pauseProducing()
    there.transport.write(b"hello")
    await pause(0.05)
    assert here.received == b""
    here.transport.resumeProducing()
    assert await here.until(5) == b"hello"


@ensureDeferred
async def test_paused_reading_holds_the_sender_back(sockets: Sockets) -> None:
    here, there = await sockets.pair()
    here.transport.pauseProducing()
    tap = Tap()
    there.transport.registerProducer(tap, True)
    there.transport.write(MEGABYTE * 20)
    await pause(0.05)
    assert tap.told == ["pause"]
    assert here.received == b""
    here.transport.resumeProducing()
    await here.until(20 * len(MEGABYTE))
    assert tap.told == ["pause", "resume"]


@ensureDeferred
async def test_a_pull_producer_is_asked_as_fast_as_the_peer_reads(sockets: Sockets) -> None:
    here, there = await sockets.pair()
    here.transport.registerProducer(Pieces(here.transport, 500), False)
    assert len(await there.until(5_000_000)) == 5_000_000
    assert await there.ended() is ConnectionDone


@ensureDeferred
async def test_a_pull_producer_is_stopped_with_its_connection(sockets: Sockets) -> None:
    port, factory = await sockets.serve()
    client = plain_client(port, receive_buffer=4096)
    here = await accepted(factory)
    pieces = Pieces(here.transport, 1_000_000)
    here.transport.registerProducer(pieces, False)
    await pause(0.05)
    reset(client)
    await here.ended()
    left = pieces.left
    await pause(0.02)
    assert pieces.stopped
    assert pieces.left == left


@ensureDeferred
async def test_lose_connection_sends_everything_first(sockets: Sockets) -> None:
    port, factory = await sockets.serve()
    client = plain_client(port, receive_buffer=4096)
    here = await accepted(factory)
    here.transport.write(MEGABYTE * 5)
    here.transport.loseConnection()
    here.transport.write(b"too late")
    await pause(0.05)
    assert len(await in_thread(read_to_end, client)) == 5_000_000
    assert await here.ended() is ConnectionDone


@ensureDeferred
async def test_lose_connection_waits_for_the_producer(sockets: Sockets) -> None:
    here, there = await sockets.pair()
    here.transport.registerProducer(Tap(), True)
    here.transport.loseConnection()
    assert here.transport.disconnecting
    here.transport.write(b"the rest")
    await there.until(8)
    here.transport.unregisterProducer()
    assert await there.ended() is ConnectionDone


@ensureDeferred
async def test_abort_drops_what_was_not_sent_and_tells_the_peer(sockets: Sockets) -> None:
    port, factory = await sockets.serve()
    client = plain_client(port, receive_buffer=4096)
    here = await accepted(factory)
    tap = Tap()
    here.transport.registerProducer(tap, True)
    here.transport.write(MEGABYTE * 20)
    here.transport.abortConnection()
    here.transport.abortConnection()
    assert await here.ended() is ConnectionAborted
    assert tap.told == ["pause", "stop"]
    with pytest.raises(ConnectionResetError):
        await in_thread(read_to_end, client)


def reset(client: socket.socket) -> None:
    """Close with RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@ensureDeferred
async def test_a_reset_is_not_a_clean_end(sockets: Sockets) -> None:
    port, factory = await sockets.serve()
    client = plain_client(port)
    here = await accepted(factory)
    reset(client)
    assert await here.ended() is ConnectionLost


@ensureDeferred
async def test_a_peer_reset_before_it_is_accepted_is_forgotten(sockets: Sockets, failures: list[Any]) -> None:
    port, _ = await sockets.serve(Echo)
    reset(plain_client(port))
    there = await sockets.connect(port)
    there.transport.write(b"still here")
    assert await there.until(10) == b"still here"
    assert failures == []


@ensureDeferred
async def test_a_peer_that_ends_its_side_is_gone(sockets: Sockets) -> None:
    port, factory = await sockets.serve()
    client = plain_client(port)
    here = await accepted(factory)
    here.transport.write(b"flushed")
    client.shutdown(socket.SHUT_WR)
    assert await here.ended() is ConnectionDone
    assert await in_thread(read_to_end, client) == b"flushed"


@implementer(IHalfCloseableProtocol)
class Patient(Recorder):
    """Answers after the peer has ended its side."""

    def readConnectionLost(self) -> None:
        self.transport.resumeProducing()
        self.transport.write(b"got " + self.received)
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        raise AssertionError("no TCP transport can tell")


@ensureDeferred
async def test_a_half_closeable_protocol_may_still_answer(sockets: Sockets) -> None:
    port, factory = await sockets.serve(Patient)
    client = plain_client(port)
    client.sendall(b"all")
    client.shutdown(socket.SHUT_WR)
    assert await in_thread(read_to_end, client) == b"got all"
    assert await factory.built[0].ended() is ConnectionDone


@ensureDeferred
async def test_ending_our_side_keeps_the_other_open(sockets: Sockets) -> None:
    port, factory = await sockets.serve()
    client = plain_client(port)
    here = await accepted(factory)
    here.transport.write(b"last")
    here.transport.loseWriteConnection()
    here.transport.write(b"too late")
    assert await in_thread(lambda: client.recv(10) + client.recv(10)) == b"last"
    client.sendall(b"more")
    assert await here.until(4) == b"more"
    client.close()
    assert await here.ended() is ConnectionDone


class Faulty(Recorder):
    """Raises when it reads."""

    error: Exception = ValueError("a defect")

    def dataReceived(self, data: bytes) -> None:
        raise self.error


@pytest.mark.parametrize("error", [ValueError("a defect"), FileNotFoundError(2, "no such file")])
@ensureDeferred
async def test_a_protocol_that_raises_loses_its_connection_only(
    sockets: Sockets, failures: list[Any], error: Exception
) -> None:
    Faulty.error = error
    port, factory = await sockets.serve(Faulty)
    there = await sockets.connect(port)
    other = await sockets.connect(port)
    there.transport.write(b"?")
    await there.ended()
    assert await factory.built[0].ended() is ConnectionLost
    assert failures == [error]
    assert not other.lost.called


class Unmade(Recorder):
    def connectionMade(self) -> None:
        raise ValueError("not today")


def build_raises() -> Any:
    raise ValueError("not today")


@pytest.mark.parametrize(("kind", "logged"), [(Unmade, 1), (build_raises, 1), (lambda: None, 0)])
@ensureDeferred
async def test_a_connection_without_a_protocol_is_closed(
    sockets: Sockets, failures: list[Any], kind: Any, logged: int
) -> None:
    port, factory = await sockets.serve(kind)
    there = await sockets.connect(port)
    await there.ended()
    assert [str(failure) for failure in failures] == ["not today"] * logged
    factory.kind = Echo
    again = await sockets.connect(port)
    again.transport.write(b"better")
    assert await again.until(6) == b"better"


class Unlosable(Recorder):
    def connectionLost(self, reason: object) -> None:  # type: ignore[override]
        raise ValueError("cannot let go")


@ensureDeferred
async def test_a_protocol_that_cannot_be_told_is_logged(sockets: Sockets, failures: list[Any]) -> None:
    here, there = await sockets.pair(server=Unlosable)
    here.transport.abortConnection()
    await there.ended()
    assert [str(failure) for failure in failures] == ["cannot let go"]


@ensureDeferred
async def test_everything_is_harmless_when_it_is_over(sockets: Sockets) -> None:
    here, there = await sockets.pair()
    there.transport.loseConnection()
    await here.ended()
    transport, tap = here.transport, Tap()
    for call in (
        lambda: transport.write(b"x"),
        lambda: transport.writeSequence([b"x"]),
        transport.pauseProducing,
        transport.resumeProducing,
        transport.loseWriteConnection,
        transport.loseConnection,
        transport.abortConnection,
        lambda: transport.setTcpNoDelay(True),
        lambda: transport.registerProducer(tap, True),
        transport.unregisterProducer,
    ):
        call()
    assert tap.told == ["stop"]
    assert transport.getTcpNoDelay() is False
    assert transport.getPeer() == there.transport.getHost()
