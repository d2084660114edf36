"""A port behind proxies: whom a connection is said to be of, what is behind the header, and who waits how long."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from peers import PATIENCE, Echo, RecordingFactory, Sockets, accepted, in_thread, no_descriptors, pause
from pytest_twisted import ensureDeferred
from twisted.internet import error, reactor
from twisted.internet.address import IPv4Address, IPv6Address

from apigateway.transport import proxied
from apigateway.transport.endpoints import NativeServerEndpoint
from apigateway.transport.proxy_header import HeaderWait
from apigateway.transport.reactor import loop_of
from apigateway.transport.several import SeveralSocketsEndpoint
from apigateway.wire.proxy_protocol import ProxyHeader

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n"
BINARY = b"\r\n\r\n\0\r\nQUIT\n" + bytes.fromhex("2111 0013 c0000201 c6336402 1267 01bb 04 0004 00000000")
LOCAL = b"\r\n\r\n\0\r\nQUIT\n" + bytes.fromhex("2000 0000")
SOURCE, DESTINATION = IPv4Address("TCP", "192.0.2.1", 4711), IPv4Address("TCP", "198.51.100.2", 443)


class ProxiedRecording(RecordingFactory):
    """timeout: of every peer's header; None: nobody is a proxy."""

    def __init__(self, timeout: float | None) -> None:
        super().__init__(Echo)
        self.timeout = timeout
        self.refused: list[tuple[str, str]] = []
        self.coming: list[Any] = []

    def proxy_timeout(self, ip: str) -> float | None:
        return self.timeout

    def proxy_refused(self, peer: Any, why: str) -> None:
        self.refused.append((peer.host, why))

    def still_coming(self, port: Any) -> None:
        self.coming.append(port)

    def none_coming(self, port: Any) -> None:
        self.coming.remove(port)


async def serve(sockets: Sockets, timeout: float | None = 30.0, **options: Any) -> tuple[Any, ProxiedRecording]:
    factory = ProxiedRecording(timeout)
    place = options.pop("place", ("127.0.0.1", 0))
    port = await NativeServerEndpoint(reactor, place, proxied=True, **options).listen(factory)
    sockets.ports.append((port, factory))
    return port, factory


def dial(port: Any, data: bytes = b"") -> socket.socket:
    """A connection that has sent something; the kernel takes it, so that nothing has to run meanwhile."""
    host = port.getHost()
    client = socket.create_connection((host.host, host.port), timeout=PATIENCE)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    client.sendall(data)
    return client


def received(client: socket.socket, size: int) -> bytes:
    """So many octets, less where the connection ends; for a thread."""
    data = b""
    while len(data) < size and (more := client.recv(size - len(data))):
        data += more
    return data


def ending(client: socket.socket) -> bytes:
    """What comes until the connection ends, or is reset; for a thread."""
    try:
        return received(client, 1 << 20)
    except ConnectionError:
        return b""


async def until(condition: Callable[[], object], within: float = PATIENCE) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, condition
        await pause(0.002)


@pytest.mark.parametrize("header", [LINE, BINARY], ids=["v1", "v2"])
@pytest.mark.parametrize("at_once", [True, False])
@ensureDeferred
async def test_the_header_names_the_ends_and_what_is_behind_it_arrives(
    sockets: Sockets, header: bytes, at_once: bool
) -> None:
    port, factory = await serve(sockets)
    with dial(port, header + b"hello" if at_once else header) as client:
        here = await accepted(factory)
        if not at_once:
            client.sendall(b"hello")
        assert await in_thread(received, client, 5) == b"hello"
        assert (here.transport.getPeer(), here.transport.getHost()) == (SOURCE, DESTINATION)
        assert here.transport.proxy == IPv4Address("TCP", *client.getsockname())
        assert here.transport.getTcpNoDelay()
    assert await here.ended() is error.ConnectionDone
    assert here.received == b"hello"
    assert factory.refused == []


@pytest.mark.parametrize("header", [LINE, BINARY], ids=["v1", "v2"])
@ensureDeferred
async def test_octet_by_octet(sockets: Sockets, header: bytes) -> None:
    port, factory = await serve(sockets)
    with dial(port) as client:
        for at in range(len(header)):
            assert factory.built == []
            client.sendall(header[at : at + 1])
            await pause(0.001)
        here = await accepted(factory)
        # One octet is read by itself: the kernel does not go on holding back what is little.
        client.sendall(b"x")
        assert await in_thread(received, client, 1) == b"x"
        assert here.transport.getPeer() == SOURCE


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 1 2 3\r\n"], ids=repr)
@ensureDeferred
async def test_a_proxy_that_speaks_for_itself_is_the_peer(sockets: Sockets, header: bytes) -> None:
    port, factory = await serve(sockets)
    with dial(port, header + b"hello") as client:
        assert await in_thread(received, client, 5) == b"hello"
        here = await accepted(factory)
        assert here.transport.getPeer() == IPv4Address("TCP", *client.getsockname())
        assert here.transport.getHost() == port.getHost()


@ensureDeferred
async def test_who_is_no_proxy_is_served_as_it_is(sockets: Sockets) -> None:
    port, factory = await serve(sockets, timeout=None)
    with dial(port, LINE) as client:
        assert await in_thread(received, client, len(LINE)) == LINE
        here = await accepted(factory)
        assert here.transport.getPeer() == IPv4Address("TCP", *client.getsockname())


@ensureDeferred
async def test_ipv6(sockets: Sockets) -> None:
    port, factory = await serve(sockets, place=("::1", 0))
    with dial(port, b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\nhello") as client:
        assert await in_thread(received, client, 5) == b"hello"
        here = await accepted(factory)
        assert here.transport.getPeer() == IPv6Address("TCP", "2001:db8::1", 1)
        assert here.transport.getHost() == IPv6Address("TCP", "2001:db8::2", 2)
        assert here.transport.proxy.host == "::1"


# ---- no header


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "there is no header"),
        (b"\x16\x03\x01", "there is no header"),
        (b"PROXY TCP4 192.0.2.1\r\n", "the line is not"),
        (BINARY[:12] + b"\x31" + BINARY[13:], "version 3"),
    ],
)
@ensureDeferred
async def test_what_is_no_header_ends_the_connection(sockets: Sockets, sent: bytes, why: str) -> None:
    port, factory = await serve(sockets)
    with dial(port, sent) as client:
        assert await in_thread(ending, client) == b""
    assert factory.built == []
    assert [host for host, _ in factory.refused] == ["127.0.0.1"]
    assert why in factory.refused[0][1]


@pytest.mark.parametrize("sent", [b"", LINE[:1], LINE[:-1], BINARY[:20]], ids=repr)
@ensureDeferred
async def test_a_header_that_does_not_come_in_time(sockets: Sockets, sent: bytes) -> None:
    port, factory = await serve(sockets, timeout=0.05)
    with dial(port, sent) as client:
        assert await in_thread(ending, client) == b""
    assert factory.refused == [("127.0.0.1", "the header did not come in time")]
    assert factory.built == []


@pytest.mark.parametrize("sent", [LINE[:1], LINE[:-1], BINARY[:20]], ids=repr)
@ensureDeferred
async def test_a_peer_that_ends_within_its_header(sockets: Sockets, sent: bytes) -> None:
    port, factory = await serve(sockets)
    with dial(port, sent) as client:
        client.shutdown(socket.SHUT_WR)
        assert await in_thread(ending, client) == b""
    assert factory.refused == [("127.0.0.1", "the connection ended within the header")]


@ensureDeferred
async def test_who_only_looks_whether_the_port_is_open_is_no_event(sockets: Sockets) -> None:
    port, factory = await serve(sockets)
    for reset in (False, True):
        client = dial(port)
        await pause(0.02)
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    await until(lambda: not port._waiting)
    assert factory.refused == factory.built == []


@ensureDeferred
async def test_a_peer_that_has_sent_all_and_ended_is_heard(sockets: Sockets) -> None:
    port, factory = await serve(sockets)
    dial(port, LINE + b"hello").close()
    here = await accepted(factory)
    await here.ended()
    assert here.received == b"hello"


# ---- many


def low_water(waiting: HeaderWait) -> int:
    return waiting._connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


@ensureDeferred
async def test_half_headers_cost_nothing_while_they_wait(sockets: Sockets) -> None:
    port, factory = await serve(sockets)
    waiting = [dial(port, half) for half in (LINE[:1], LINE[:20], LINE[:-1], BINARY[:3], BINARY[:16], BINARY[:-1]) * 8]
    await until(lambda: len(port._waiting) == len(waiting))
    await until(lambda: all(low_water(one) > 1 for one in port._waiting))
    before = time.process_time()
    await pause(0.4)
    assert time.process_time() - before < 0.1
    with dial(port, LINE + b"hello") as client:
        assert await in_thread(received, client, 5) == b"hello"
    assert len(factory.built) == 1
    for client in waiting:
        client.close()
    await until(lambda: not port._waiting)
    assert len(factory.refused) == len(waiting)


@ensureDeferred
async def test_too_many_that_wait_cost_the_one_that_waits_longest(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxied, "MOST_WAITING", 3)
    port, factory = await serve(sockets)
    clients = []
    for _ in range(4):
        clients.append(dial(port, LINE[:9]))
        await until(lambda: len(port._waiting) + len(factory.refused) == len(clients))
    assert await in_thread(ending, clients[0]) == b""
    assert factory.refused == [("127.0.0.1", "too many connections wait for a header")]
    clients[1].sendall(LINE[9:] + b"hello")
    assert await in_thread(received, clients[1], 5) == b"hello"
    for client in clients:
        client.close()


@ensureDeferred
async def test_out_of_descriptors_it_goes_on_when_there_are_some(sockets: Sockets) -> None:
    port, factory = await serve(sockets)
    with no_descriptors() as waiting:
        for client in waiting:
            client.settimeout(PATIENCE)
            client.connect((port.getHost().host, port.getHost().port))
            client.sendall(LINE + b"hello")
        before = time.process_time()
        await pause(0.3)
        assert time.process_time() - before < 0.1
        assert factory.built == []
    await until(lambda: len(factory.built) == 5)
    for client in waiting:
        assert await in_thread(received, client, 5) == b"hello"
        client.close()


@ensureDeferred
async def test_a_factory_that_fails_costs_one_connection(sockets: Sockets, failures: list[Any]) -> None:
    port, factory = await serve(sockets)
    factory.timeout = "soon"  # type: ignore[assignment]
    with dial(port, LINE) as client:
        assert await in_thread(ending, client) == b""
    factory.timeout = 30.0
    with dial(port, LINE + b"hello") as client:
        assert await in_thread(received, client, 5) == b"hello"
    assert [type(failure) for failure in failures] == [TypeError]


# ---- the end of the port


@ensureDeferred
async def test_stop_listening_leaves_what_has_begun_and_what_waits_for_its_header(sockets: Sockets) -> None:
    port, factory = await serve(sockets)
    with dial(port, LINE + b"hello") as served, dial(port, LINE[:9]) as half, dial(port) as silent:
        assert await in_thread(received, served, 5) == b"hello"
        await until(lambda: len(port._waiting) == 2)
        await port.stopListening()
        assert (factory.started, factory.coming) == (0, [port])
        for client, rest in ((served, b""), (half, LINE[9:]), (silent, LINE)):
            client.sendall(rest + b"again")
            assert await in_thread(received, client, 5) == b"again"
        assert [here.transport.getPeer() for here in factory.built] == [SOURCE] * 3
        await until(lambda: not factory.coming)
    assert factory.refused == []


@ensureDeferred
async def test_stop_listening_leaves_who_waits_for_nobody(sockets: Sockets) -> None:
    port, factory = await serve(sockets)
    with dial(port, LINE + b"hello") as client:
        assert await in_thread(received, client, 5) == b"hello"
        await port.stopListening()
        assert factory.coming == []


@ensureDeferred
async def test_what_waits_after_the_stop_ends_by_its_own_time_or_by_its_peer(sockets: Sockets) -> None:
    port, factory = await serve(sockets, timeout=0.3)
    with dial(port, LINE[:9]) as late:
        gone = dial(port)
        await until(lambda: len(port._waiting) == 2)
        await port.stopListening()
        gone.close()
        assert await in_thread(ending, late) == b""
    await until(lambda: not factory.coming)
    assert factory.refused == [("127.0.0.1", "the header did not come in time")]
    assert factory.built == []


@pytest.mark.parametrize("tls", [False, True])
@ensureDeferred
async def test_what_is_still_coming_can_be_ended(sockets: Sockets, server_tls: ssl.SSLContext, tls: bool) -> None:
    port, factory = await serve(sockets, ssl_context=server_tls if tls else None)
    with dial(port, LINE[:9]) as half, dial(port, LINE if tls else b"") as other:
        await until(lambda: len(port._waiting) + len(port._handing) == 2 and len(port._handing) == tls)
        await port.stopListening()
        with dial_nobody() as unstarted:
            port.hand_over(unstarted, IPv4Address("TCP", "127.0.0.1", 1), None)
            assert factory.coming == [port]
            port.end_coming()
            await until(lambda: not factory.coming)
            assert unstarted.fileno() == -1
        assert await in_thread(ending, half) == b""
        assert await in_thread(ending, other) == b""
    assert factory.built == factory.refused == []


def dial_nobody() -> socket.socket:
    connection, there = socket.socketpair()
    there.close()
    connection.setblocking(False)
    return connection


@ensureDeferred
async def test_a_handshake_that_runs_at_the_stop_ends(
    sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    port, factory = await serve(sockets, ssl_context=server_tls)
    client = TlsInOneSegment(port, LINE, client_tls)
    await until(lambda: port._waiting)
    await port.stopListening()
    assert factory.coming == [port]
    assert await in_thread(client.echo, b"hello") == b"hello"
    await until(lambda: not factory.coming)
    assert factory.built[0].transport.getPeer() == SOURCE


@ensureDeferred
async def test_a_socket_that_is_left_to_others_and_taken_again_ends_nobody(sockets: Sockets) -> None:
    factory = ProxiedRecording(30.0)
    listening = [socket.create_server(("127.0.0.1", 0))]
    port = await SeveralSocketsEndpoint(
        lambda one: NativeServerEndpoint(reactor, ("127.0.0.1", 0), sock=one, proxied=True), listening, [0]
    ).listen(factory)
    sockets.ports.append((port, factory))
    await pause(0)
    with dial(port) as silent, dial(port, LINE[:9]) as half:
        first = next(iter(port._accepting.values()))
        await until(lambda: len(first._waiting) == 2)
        port.accept_on([])
        await pause(0.02)
        port.accept_on([0])
        silent.sendall(LINE + b"hello")
        half.sendall(LINE[9:] + b"hello")
        assert await in_thread(received, silent, 5) == b"hello"
        assert await in_thread(received, half, 5) == b"hello"
    with dial(port, LINE + b"hello") as client:
        assert await in_thread(received, client, 5) == b"hello"
    await until(lambda: not factory.coming)


@ensureDeferred
async def test_who_has_sent_its_header_before_the_stop_has_its_protocol_after_it(sockets: Sockets) -> None:
    port, factory = await serve(sockets)
    with dial(port, LINE + b"hello") as client:
        # Accepted and read in this turn of the loop; its transport comes in a later one.
        port._accept_some()
        assert factory.built == []
        await port.stopListening()
        assert len(factory.built) == 1
        assert await in_thread(received, client, 5) == b"hello"


@ensureDeferred
async def test_stop_listening_out_of_descriptors(sockets: Sockets) -> None:
    port, _ = await serve(sockets)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, limits[1]))
            client.connect((port.getHost().host, port.getHost().port))
            await until(lambda: port._exhausted)
            await port.stopListening()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    await pause(0.3)  # longer than it would have waited to accept again
    assert port._pause.cancelled()


# ---- TLS


class TlsInOneSegment:
    """A client whose first write is the header with the ClientHello behind it; for a thread."""

    def __init__(self, port: Any, header: bytes, context: ssl.SSLContext) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="a.test")
        self._first = header
        self._socket = dial(port)

    def run(self, what: Callable[..., Any], *args: Any) -> Any:
        while True:
            try:
                result = what(*args)
            except ssl.SSLWantReadError:
                self._flush()
                self._in.write(self._socket.recv(65536))
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        data, self._first = self._first + self._out.read(), b""
        if data:
            self._socket.sendall(data)

    def echo(self, data: bytes) -> bytes:
        self.run(self._tls.do_handshake)
        self.run(self._tls.write, data)
        answer: bytes = self.run(self._tls.read, 100)
        self._socket.close()
        return answer


@pytest.mark.parametrize("header", [LINE, BINARY, LOCAL], ids=["v1", "v2", "local"])
@ensureDeferred
async def test_tls_behind_the_header_in_the_same_segment(
    sockets: Sockets, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext, header: bytes
) -> None:
    port, factory = await serve(sockets, ssl_context=server_tls)
    client = TlsInOneSegment(port, header, client_tls)
    assert await in_thread(client.echo, b"hello") == b"hello"
    here = await accepted(factory)
    assert here.transport.ssl_object.version() == "TLSv1.3"
    assert here.transport.getPeer().host == ("127.0.0.1" if header is LOCAL else "192.0.2.1")
    if header is not LOCAL:
        assert here.transport.getHost() == DESTINATION
        assert here.transport.proxy.host == "127.0.0.1"


@ensureDeferred
async def test_a_handshake_that_fails_is_nobodys_failure(sockets: Sockets, server_tls: ssl.SSLContext) -> None:
    port, factory = await serve(sockets, ssl_context=server_tls, handshake_timeout=0.1)
    with dial(port, LINE + b"GET / HTTP/1.1\r\n\r\n") as plain, dial(port, LINE) as silent, dial(port, LINE) as gone:
        gone.close()
        await in_thread(ending, plain)
        await in_thread(ending, silent)
    await until(lambda: not port._handing)
    assert factory.built == factory.refused == []


# ---- the kernel's help


class Told:
    def __init__(self) -> None:
        self.headers: list[tuple[socket.socket, ProxyHeader]] = []
        self.refusals: list[str] = []

    def wait_over(self, waiting: HeaderWait) -> None: ...

    def hand_over(self, connection: socket.socket, peer: object, header: ProxyHeader) -> None:
        self.headers.append((connection, header))

    def refused(self, peer: object, why: str) -> None:
        self.refusals.append(why)


def waiting_on_unix_socket(told: Told) -> socket.socket:
    here, there = socket.socketpair()
    here.setblocking(False)
    loop: asyncio.AbstractEventLoop = loop_of(reactor)
    HeaderWait(told, loop, here, IPv4Address("TCP", "127.0.0.1", 1)).begin(30.0)
    return there


@ensureDeferred
async def test_where_the_kernel_wakes_for_nothing_it_looks_now_and_then() -> None:
    # Linux does not heed SO_RCVLOWAT when it polls a Unix socket.
    told = Told()
    with waiting_on_unix_socket(told) as there:
        there.sendall(LINE[:20])
        before = time.process_time()
        await pause(0.4)
        assert time.process_time() - before < 0.1
        there.sendall(LINE[20:] + b"hello")
        await until(lambda: told.headers)
        connection, header = told.headers[0]
        assert (header.length, connection.recv(100)) == (len(LINE), b"hello")
        connection.close()


@ensureDeferred
async def test_a_wait_that_looked_away_notices_the_end() -> None:
    told = Told()
    with waiting_on_unix_socket(told) as there:
        there.sendall(LINE[:20])
        await pause(0.02)
    await until(lambda: told.refusals)
    assert told.refusals == ["the connection ended within the header"]
