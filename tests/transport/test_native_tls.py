"""The same over TLS: handshakes, ends, and what a peer's certificate is refused for."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
import trustme
from peers import Echo, Recorder, Sockets, accepted, in_thread, pause
from pytest_twisted import ensureDeferred
from twisted.internet import error
from twisted.internet.interfaces import IPushProducer, ISSLTransport
from zope.interface import implementer
from zope.interface.verify import verifyObject

from apigateway.transport.endpoints import TlsHandshakeFailed

PIECE = b"x" * 65536
ENDS = (error.ConnectionLost, error.ConnectionDone)  # asyncio's own loop takes an abort for a close_notify


def tls_client(port: Any, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A client of another implementation; blocking, for a thread."""
    plain = socket.create_connection((port.getHost().host, port.getHost().port), timeout=5)
    return context.wrap_socket(plain, server_hostname="a.test", suppress_ragged_eofs=False)


@ensureDeferred
async def test_bytes_go_both_ways(
    sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    port, factory = await sockets.serve(Echo, ssl_context=server_tls)
    there = await sockets.connect(port, ssl_context=client_tls, server_hostname="a.test")
    there.transport.write(b"secret ")
    there.transport.writeSequence([b"one", b"two"])
    assert await there.until(13) == b"secret onetwo"
    assert verifyObject(ISSLTransport, there.transport)
    assert there.transport.ssl_object.version() == "TLSv1.3"
    certificate = there.transport.getPeerCertificate()
    assert ssl.DER_cert_to_PEM_cert(there.transport.peer_certificate())
    assert certificate.get_extension_count() > 0
    here = await accepted(factory)
    assert here.transport.peer_certificate() is None
    assert here.transport.getPeerCertificate() is None


@implementer(IPushProducer)
class Tap:
    """Notes what it is told."""

    def __init__(self, told: list[str]) -> None:
        self.pauseProducing = lambda: told.append("pause")
        self.resumeProducing = lambda: told.append("resume")
        self.stopProducing = lambda: told.append("stop")


def write_until_paused(transport: Any, told: list[str]) -> int:
    """As a producer does that minds its consumer; how much was written."""
    sent = 0
    while not told:
        transport.write(PIECE)
        sent += len(PIECE)
    return sent


@ensureDeferred
async def test_backpressure_both_ways(
    sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    port, factory = await sockets.serve(ssl_context=server_tls)
    there = await sockets.connect(port, ssl_context=client_tls, server_hostname="a.test")
    here = await accepted(factory)
    told: list[str] = []
    here.transport.pauseProducing()
    there.transport.registerProducer(Tap(told), True)
    sent = write_until_paused(there.transport, told)
    await pause(0.05)
    assert (told, here.received) == (["pause"], b"")
    here.transport.resumeProducing()
    await here.until(sent)
    assert told == ["pause", "resume"]


@ensureDeferred
async def test_what_came_on_one_connection_is_never_told_to_another(
    sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    port, _ = await sockets.serve(Echo, ssl_context=server_tls)
    letters = b"abcd"
    clients = [
        await sockets.connect(port, ssl_context=client_tls, server_hostname="a.test") for _ in letters
    ]
    for _ in range(10):
        for client, letter in zip(clients, letters, strict=True):
            client.transport.write(bytes([letter]) * 30_000)
        await pause(0)
    for client, letter in zip(clients, letters, strict=True):
        assert await client.until(300_000) == bytes([letter]) * 300_000


def read_to_end(client: ssl.SSLSocket) -> tuple[int, bool]:
    """How much came, and whether close_notify ended it."""
    total = 0
    with client:
        try:
            while piece := client.recv(16384):
                total += len(piece)
        except ssl.SSLEOFError:
            return total, False
    return total, True


@ensureDeferred
async def test_lose_connection_sends_everything_first_to_a_slow_reader(
    sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    port, factory = await sockets.serve(ssl_context=server_tls, shutdown_timeout=0.2)
    client = await in_thread(tls_client, port, client_tls)
    here = await accepted(factory)
    told: list[str] = []
    here.transport.registerProducer(Tap(told), True)
    sent = write_until_paused(here.transport, told)
    here.transport.unregisterProducer()
    here.transport.loseConnection()
    here.transport.write(b"too late")
    await pause(0.4)  # past the shutdown timeout, with nothing read
    assert await in_thread(read_to_end, client) == (sent, True)
    assert await here.ended() is error.ConnectionDone


@ensureDeferred
async def test_a_peer_that_does_not_say_goodbye_is_not_waited_for(
    sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    port, factory = await sockets.serve(ssl_context=server_tls, shutdown_timeout=0.1)
    client = await in_thread(tls_client, port, client_tls)
    here = await accepted(factory)
    here.transport.loseConnection()
    assert await here.ended() is error.ConnectionDone
    client.close()


@pytest.mark.parametrize(("polite", "reason"), [(True, error.ConnectionDone), (False, error.ConnectionLost)])
@ensureDeferred
async def test_an_end_without_close_notify_is_told_apart(
    sockets: Sockets,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    polite: bool,
    reason: type[Exception],
) -> None:
    port, factory = await sockets.serve(ssl_context=server_tls)
    client = await in_thread(tls_client, port, client_tls)
    here = await accepted(factory)
    client.sendall(b"the whole message?")
    await here.until(18)
    if polite:
        await in_thread(lambda: client.unwrap().close())
    else:
        client.close()
    assert await here.ended() is reason


@ensureDeferred
async def test_abort(sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    port, factory = await sockets.serve(ssl_context=server_tls)
    there = await sockets.connect(port, ssl_context=client_tls, server_hostname="a.test")
    here = await accepted(factory)
    here.transport.write(PIECE * 300)
    here.transport.abortConnection()
    assert await here.ended() is error.ConnectionAborted
    assert await there.ended() in ENDS


@ensureDeferred
async def test_our_side_cannot_be_ended_alone(
    sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    port, _ = await sockets.serve(ssl_context=server_tls)
    there = await sockets.connect(port, ssl_context=client_tls, server_hostname="a.test")
    there.transport.loseWriteConnection()
    assert await there.ended() is error.ConnectionDone


class Faulty(Recorder):
    def dataReceived(self, data: bytes) -> None:
        raise ValueError("a defect")


@ensureDeferred
async def test_a_protocol_that_raises_loses_its_connection(
    sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, failures: list[Any]
) -> None:
    port, factory = await sockets.serve(Faulty, ssl_context=server_tls)
    there = await sockets.connect(port, ssl_context=client_tls, server_hostname="a.test")
    there.transport.write(b"?")
    assert await (await accepted(factory)).ended() is error.ConnectionLost
    assert await there.ended() in ENDS
    assert [str(failure) for failure in failures] == ["a defect"]


@ensureDeferred
async def test_no_protocol_is_built_for_a_handshake_that_fails(
    sockets: Sockets, server_tls: ssl.SSLContext, failures: list[Any]
) -> None:
    port, factory = await sockets.serve(ssl_context=server_tls, handshake_timeout=0.1)
    silent = await sockets.connect(port)
    assert await silent.ended()
    talks = await sockets.connect(port)
    talks.transport.write(b"GET / HTTP/1.1\r\n\r\n")
    assert await talks.ended()
    assert b"HTTP" not in talks.received
    assert (factory.built, failures) == ([], [])


# ---- connecting


@pytest.mark.parametrize(
    ("name", "trusted", "certificate", "reason"),
    [
        ("b.test", True, True, "Hostname mismatch"),
        ("a.test", False, True, "unable to get local issuer certificate"),
    ],
    ids=["wrong name", "unknown CA"],
)
@ensureDeferred
async def test_a_certificate_that_does_not_hold(
    sockets: Sockets,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
    name: str,
    trusted: bool,
    certificate: bool,
    reason: str,
) -> None:
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trustme.CA().configure_trust(stranger)
    port, _ = await sockets.serve(ssl_context=server_tls)
    with pytest.raises(TlsHandshakeFailed, match=reason) as failed:
        await sockets.connect(port, ssl_context=client_tls if trusted else stranger, server_hostname=name)
    assert failed.value.certificate is certificate
    assert isinstance(failed.value, error.ConnectError)


@ensureDeferred
async def test_a_peer_that_speaks_no_tls(sockets: Sockets, client_tls: ssl.SSLContext) -> None:
    port, _ = await sockets.serve(Echo)
    with pytest.raises(TlsHandshakeFailed) as failed:
        await sockets.connect(port, ssl_context=client_tls, server_hostname="a.test")
    assert failed.value.certificate is False


class Leaves(Recorder):
    def dataReceived(self, data: bytes) -> None:
        self.transport.abortConnection()


@ensureDeferred
async def test_a_peer_that_leaves_in_the_handshake(sockets: Sockets, client_tls: ssl.SSLContext) -> None:
    port, _ = await sockets.serve(Leaves)
    with pytest.raises(TlsHandshakeFailed) as failed:
        await sockets.connect(port, ssl_context=client_tls, server_hostname="a.test")
    assert failed.value.certificate is False


@ensureDeferred
async def test_an_address_is_looked_for_in_the_certificate_too(
    sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    port, _ = await sockets.serve(Echo, ssl_context=server_tls)
    there = await sockets.connect(port, ssl_context=client_tls)
    there.transport.write(b"by address")
    assert await there.until(10) == b"by address"
