"""Listening and connecting: what is wrong is known at once, and by its name."""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from peers import Echo, Recorder, RecordingFactory, Sockets, accepted, in_thread, no_descriptors, pause
from pytest_twisted import ensureDeferred
from twisted.internet import error, reactor
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint, IStreamServerEndpoint
from zope.interface.verify import verifyObject

from apigateway.transport.endpoints import NativeClientEndpoint, NativeServerEndpoint
from apigateway.transport.listening import bind_socket
from apigateway.transport.reactor import loop_of

LOCAL = ("127.0.0.1", 0)


def endpoint(place: Any = LOCAL, **options: Any) -> NativeServerEndpoint:
    return NativeServerEndpoint(reactor, place, **options)


def client(place: Any, **options: Any) -> NativeClientEndpoint:
    return NativeClientEndpoint(reactor, place, **options)


def bound(family: int = socket.AF_INET) -> socket.socket:
    """A TCP socket with an address, that nobody listens on."""
    taken = socket.socket(family)
    taken.bind(LOCAL)
    return taken


@ensureDeferred
async def test_interfaces(sockets: Sockets) -> None:
    port, _ = await sockets.serve()
    assert verifyObject(IListeningPort, port)
    assert verifyObject(IStreamServerEndpoint, endpoint())
    assert verifyObject(IStreamClientEndpoint, client(LOCAL))


def test_a_reactor_without_a_loop_is_refused() -> None:
    with pytest.raises(TypeError, match="--reactor=uvloop"):
        NativeServerEndpoint(object(), LOCAL)


# ---- listening


def test_a_taken_port_is_an_error_before_the_loop_is_asked() -> None:
    with bind_socket(LOCAL, backlog=5, reuse_port=False) as first:
        with pytest.raises(error.CannotListenError, match="in use"):
            endpoint(first.getsockname()).bind()


def test_reuse_port_lets_two_listen() -> None:
    with bind_socket(LOCAL, backlog=5, reuse_port=True) as first:
        with endpoint(first.getsockname(), reuse_port=True).bind() as second:
            assert second.getsockname() == first.getsockname()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(error.CannotListenError):
        endpoint(("192.0.2.1", 0)).bind()


@ensureDeferred
async def test_clients_wait_from_bind_until_listen(sockets: Sockets) -> None:
    early = endpoint()
    place = early.bind().getsockname()
    assert early.bind().getsockname() == place
    with socket.create_connection(place) as waiting:
        waiting.sendall(b"first")
        factory = RecordingFactory(Echo)
        port = await early.listen(factory)
        sockets.ports.append((port, factory))
        assert await in_thread(waiting.recv, 5) == b"first"
    assert port.getHost().port == place[1]


@ensureDeferred
async def test_a_socket_bound_elsewhere_is_used(sockets: Sockets) -> None:
    given = bind_socket(LOCAL, backlog=5, reuse_port=False)
    name = given.getsockname()
    port, _ = await sockets.serve(Echo, place=("192.0.2.1", 0), sock=given)
    assert (port.getHost().host, port.getHost().port) == name


@ensureDeferred
async def test_ipv6(sockets: Sockets) -> None:
    port, _ = await sockets.serve(Echo, place=("::1", 0))
    there = await sockets.connect(port)
    there.transport.write(b"six")
    assert await there.until(3) == b"six"
    assert there.transport.getPeer().host == "::1"


@ensureDeferred
async def test_stop_listening_keeps_connections_and_frees_the_address(sockets: Sockets) -> None:
    port, factory = await sockets.serve(Echo)
    there = await sockets.connect(port)
    assert factory.started == 1
    await port.stopListening()
    await port.stopListening()
    assert factory.started == 0
    there.transport.write(b"still")
    assert await there.until(5) == b"still"
    host = port.getHost()
    with pytest.raises(error.ConnectionRefusedError):
        await sockets.connect(port)
    await sockets.serve(place=(host.host, host.port))
    with pytest.raises(error.CannotListenError):
        port.startListening()


@ensureDeferred
async def test_out_of_descriptors_neither_spins_nor_ends_a_port(
    sockets: Sockets, failures: list[Any]
) -> None:
    port, _ = await sockets.serve(Echo)
    place = (port.getHost().host, port.getHost().port)
    with no_descriptors() as waiting:
        for client in waiting:
            client.connect(place)
        before = time.process_time()
        await pause(0.3)
        assert time.process_time() - before < 0.1
    for client in waiting:
        client.close()
    await pause(1.0 if loop_of(reactor).__module__.startswith("asyncio") else 0)
    there = await sockets.connect(port)
    there.transport.write(b"again")
    assert await there.until(5) == b"again"


# ---- Unix sockets


@ensureDeferred
async def test_unix_socket(sockets: Sockets, tmp_path: Path) -> None:
    path = str(tmp_path / "gateway.sock")
    port, factory = await sockets.serve(Echo, place=path)
    there = await sockets.connect(port)
    there.transport.write(b"local")
    assert await there.until(5) == b"local"
    here = await accepted(factory)
    assert here.transport.getHost() == there.transport.getPeer() == UNIXAddress(path.encode())
    assert here.transport.getPeer() == UNIXAddress(None)
    here.transport.setTcpNoDelay(True)
    assert here.transport.getTcpNoDelay() is False
    there.transport.loseConnection()
    assert await here.ended() is error.ConnectionDone
    await port.stopListening()
    assert not os.path.exists(path)


@ensureDeferred
async def test_a_socket_whose_file_was_removed_is_accepted_on(sockets: Sockets, tmp_path: Path) -> None:
    path = str(tmp_path / "gateway.sock")
    early = endpoint(path, sock=bind_socket(path, backlog=5, reuse_port=False))
    with socket.socket(socket.AF_UNIX) as waiting:
        waiting.connect(path)
        waiting.sendall(b"first")
        os.unlink(path)
        factory = RecordingFactory(Echo)
        port = await early.listen(factory)
        sockets.ports.append((port, factory))
        assert await in_thread(waiting.recv, 5) == b"first"
    # What somebody else puts in its place is not removed.
    Path(path).write_text("precious")
    await port.stopListening()
    assert Path(path).read_text() == "precious"


def test_a_left_over_socket_file_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "gateway.sock")
    bind_socket(path, backlog=5, reuse_port=False).close()
    assert os.path.exists(path)
    bind_socket(path, backlog=5, reuse_port=False, mode=0o600).close()
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_socket_file_in_use_is_not_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "gateway.sock")
    with bind_socket(path, backlog=5, reuse_port=False), pytest.raises(error.CannotListenError):
        endpoint(path).bind()
    assert os.path.exists(path)


def test_a_file_that_is_no_socket_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sock"
    path.write_text("precious")
    with pytest.raises(error.CannotListenError):
        endpoint(str(path)).bind()
    assert path.read_text() == "precious"


@ensureDeferred
async def test_a_file_put_in_place_of_ours_stays(sockets: Sockets, tmp_path: Path) -> None:
    path = str(tmp_path / "gateway.sock")
    port, _ = await sockets.serve(place=path)
    with bind_socket(path + ".new", backlog=5, reuse_port=False):
        os.rename(path + ".new", path)
        await port.stopListening()
        assert os.path.exists(path)


# ---- connecting


@ensureDeferred
async def test_refused() -> None:
    with bound() as nobody, pytest.raises(error.ConnectionRefusedError):
        await client(nobody.getsockname()).connect(RecordingFactory(Recorder))


@ensureDeferred
async def test_no_socket_file(tmp_path: Path) -> None:
    with pytest.raises(error.ConnectError):
        await client(str(tmp_path / "nobody")).connect(RecordingFactory(Recorder))


@ensureDeferred
async def test_no_answer_is_a_timeout() -> None:
    # A full backlog: the kernel drops further handshakes, as a dead machine does.
    with bind_socket(LOCAL, backlog=0, reuse_port=False) as deaf:
        with socket.create_connection(deaf.getsockname()):
            with pytest.raises(error.TimeoutError):
                await client(deaf.getsockname(), timeout=0.1).connect(RecordingFactory(Recorder))


@ensureDeferred
async def test_a_handshake_that_never_ends_is_a_timeout_and_closes() -> None:
    with bind_socket(LOCAL, backlog=5, reuse_port=False) as silent:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        attempt = client(silent.getsockname(), ssl_context=context, timeout=0.1)
        with pytest.raises(error.TimeoutError):
            await attempt.connect(RecordingFactory(Recorder))
        await ends(silent)


async def ends(listener: socket.socket) -> None:
    """The one connection in a listener's backlog was closed by its client."""
    there, _ = listener.accept()
    there.settimeout(5)
    with there:
        assert await in_thread(lambda: len(b"".join(iter(lambda: there.recv(65536), b"")))) >= 0


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "handshake"])
@ensureDeferred
async def test_cancel_closes_the_socket(tls: bool) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if tls else None
    with bind_socket(LOCAL, backlog=0, reuse_port=False) as server:
        waiting = [] if tls else [socket.create_connection(server.getsockname())]
        before = len(os.listdir("/dev/fd"))
        connecting = client(server.getsockname(), ssl_context=context).connect(RecordingFactory(Recorder))
        await pause(0.05)
        assert len(os.listdir("/dev/fd")) == before + 1
        connecting.cancel()
        with pytest.raises(error.ConnectingCancelledError):
            await connecting
        await pause(0.05)
        assert len(os.listdir("/dev/fd")) == before
        for other in waiting:
            other.close()


@ensureDeferred
async def test_a_cancel_in_any_turn_leaves_no_protocol_without_its_end(sockets: Sockets) -> None:
    """The loop may connect in the very turn in which the attempt ends."""

    class Greets(Recorder):
        def connectionMade(self) -> None:
            super().connectionMade()
            self.transport.write(b"hello")

    port, _ = await sockets.serve()
    host = port.getHost()
    factory = RecordingFactory(Greets)
    for turns in range(8):
        connecting = client((host.host, host.port)).connect(factory)
        for _ in range(turns):
            await pause(0)
        connecting.cancel()
        if factory.built and not factory.built[-1].lost.called:
            factory.built[-1].transport.abortConnection()
        with suppress(error.ConnectingCancelledError):
            await connecting
    await pause(0.05)
    assert [await one.ended() for one in factory.built] == [error.ConnectionAborted] * len(factory.built)


@ensureDeferred
async def test_the_protocol_is_handed_out_before_its_first_byte(sockets: Sockets) -> None:
    class Greets(Recorder):
        def connectionMade(self) -> None:
            self.transport.write(b"hello")

    port, _ = await sockets.serve(Greets)
    seen: list[bytes] = []
    host = port.getHost()
    connecting = client((host.host, host.port)).connect(RecordingFactory(Recorder))
    connecting.addCallback(lambda protocol: seen.append(protocol.received) or protocol)
    there: Any = await connecting
    sockets.clients.append(there)
    assert await there.until(5) == b"hello"
    assert seen == [b""]


@ensureDeferred
async def test_a_factory_that_builds_nothing(sockets: Sockets) -> None:
    port, factory = await sockets.serve()
    with pytest.raises(error.NoProtocol):
        await sockets.connect(port, lambda: None)
    assert await (await accepted(factory)).ended()


@ensureDeferred
async def test_a_factory_that_raises(sockets: Sockets, failures: list[Any]) -> None:
    def raises() -> Any:
        raise ValueError("not today")

    port, _ = await sockets.serve()
    with pytest.raises(ValueError, match="not today"):
        await sockets.connect(port, raises)
    assert failures == []


def test_the_loop_is_found_under_the_reactor() -> None:
    assert loop_of(reactor) is reactor._asyncioEventloop  # type: ignore[attr-defined]
