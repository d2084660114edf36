"""Protocols that record, and servers that end with their test."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from apigateway.transport.endpoints import NativeClientEndpoint, NativeServerEndpoint

PATIENCE = 5.0


class Recorder(Protocol):
    """Remembers what it was told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.made: Deferred[Recorder] = Deferred()
        self.lost: Deferred[type[BaseException]] = Deferred()
        self.received = b""
        self._waiting: list[tuple[int, Deferred[bytes]]] = []

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for size, waiting in [*self._waiting]:
            if len(self.received) >= size:
                self._waiting.remove((size, waiting))
                waiting.callback(self.received)

    def until(self, size: int) -> Deferred[bytes]:
        """Fires when `size` octets have arrived."""
        waiting: Deferred[bytes] = Deferred()
        self._waiting.append((size, waiting.addTimeout(PATIENCE, reactor)))
        Recorder.dataReceived(self, b"")
        return waiting

    def ended(self) -> Deferred[type[BaseException]]:
        """Fires with the kind of the reason, when the connection is over."""
        return self.lost.addTimeout(PATIENCE, reactor)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.reason = reason.value
        self.lost.callback(reason.type)


class Echo(Recorder):
    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(data)


class RecordingFactory(Factory):
    """Builds protocols of a kind and keeps them, the newest last."""

    noisy = False

    def __init__(self, kind: Callable[[], Any]) -> None:
        self.kind = kind
        self.built: list[Any] = []
        self.started = 0

    def startFactory(self) -> None:
        self.started += 1

    def stopFactory(self) -> None:
        self.started -= 1

    def buildProtocol(self, addr: object) -> Any:
        protocol = self.kind()
        if protocol is not None:
            self.built.append(protocol)
        return protocol


class Sockets:
    """Servers and connections of one test."""

    def __init__(self) -> None:
        self.ports: list[Any] = []
        self.clients: list[Recorder] = []

    async def serve(self, kind: Callable[[], Any] = Recorder, **options: Any) -> tuple[Any, RecordingFactory]:
        factory = RecordingFactory(kind)
        place = options.pop("place", ("127.0.0.1", 0))
        port = await NativeServerEndpoint(reactor, place, **options).listen(factory)
        self.ports.append((port, factory))
        return port, factory

    async def connect(self, port: Any, kind: Callable[[], Any] = Recorder, **options: Any) -> Any:
        host = port.getHost()
        place = (host.host, host.port) if hasattr(host, "port") else host.name.decode()
        client = await NativeClientEndpoint(reactor, place, **options).connect(RecordingFactory(kind))
        self.clients.append(client)
        return client

    async def pair(self, server: Callable[[], Any] = Recorder, client: Callable[[], Any] = Recorder) -> Any:
        """A connection, as (server's protocol, client's protocol)."""
        port, factory = await self.serve(server)
        there = await self.connect(port, client)
        return await accepted(factory), there

    async def close(self) -> None:
        for port, factory in self.ports:
            await port.stopListening()
            for protocol in factory.built:
                if protocol.transport is not None:
                    protocol.transport.abortConnection()
        for client in self.clients:
            client.transport.abortConnection()
        await pause(0.02)


async def accepted(factory: RecordingFactory, count: int = 1) -> Any:
    """The newest protocol, once `count` were built and connected."""
    for _ in range(int(PATIENCE / 0.005)):
        if len(factory.built) >= count and factory.built[-1].transport is not None:
            return factory.built[-1]
        await pause(0.005)
    raise AssertionError(f"{len(factory.built)} connections were accepted, not {count}")


@contextmanager
def no_descriptors(clients: int = 5) -> Iterator[list[socket.socket]]:
    """Nothing can be opened meanwhile; gives so many sockets that were opened before.

    Every number up to the highest one in use is taken, and the limit is right above: so that what is closed, to be
    opened again, as a loop does with one in reserve, finds its place again.
    """
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/dev/fd"))
    taken = [socket.socket()]
    while taken[-1].fileno() <= highest or len(taken) < clients:
        taken.append(socket.socket())
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1].fileno() + 1, limits[1]))
        yield taken[:clients]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for one in taken[clients:]:
            one.close()


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds, lambda: None)


def in_thread(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """A blocking client, off the loop."""
    loop = reactor._asyncioEventloop
    return Deferred.fromFuture(asyncio.ensure_future(loop.run_in_executor(None, function, *args), loop=loop))
