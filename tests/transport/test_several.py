"""One address with several sockets: accepted on as far as there are descriptors."""

from __future__ import annotations

import errno
import socket

import pytest
from peers import Echo, RecordingFactory, Sockets, in_thread, no_descriptors, pause
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.error import CannotListenError

from apigateway.transport.endpoints import NativeServerEndpoint
from apigateway.transport.several import SeveralSocketsEndpoint

LOCAL = ("127.0.0.1", 0)


def over(listening: list[socket.socket], accepted: list[int]) -> SeveralSocketsEndpoint:
    return SeveralSocketsEndpoint(
        lambda one: NativeServerEndpoint(reactor, LOCAL, sock=one), listening, accepted
    )


async def echoed(place: tuple[str, int]) -> bytes:
    def ask() -> bytes:
        with socket.create_connection(place, timeout=10) as client:
            client.sendall(b"hello")
            return client.recv(5)

    said: bytes = await in_thread(ask)
    return said


@ensureDeferred
async def test_want_of_descriptors_leaves_what_it_accepts_on_and_is_made_up_for(sockets: Sockets) -> None:
    listening = [socket.create_server(LOCAL) for _ in range(3)]
    places = [one.getsockname() for one in listening]
    factory = RecordingFactory(Echo)
    port = await over(listening, [0]).listen(factory)
    sockets.ports.append((port, factory))
    await pause(0)
    with no_descriptors():
        short = port.accept_on([0, 1])
        assert short is not None and short.errno == errno.EMFILE
        again = port.accept_on([0, 1, 2])
        assert again is not None
        # What it gives up is enough for another.
        assert port.accept_on([1]) is None
        await pause(0)
    assert await echoed(places[1]) == b"hello"
    assert port.accept_on([0, 1, 2]) is None
    assert [await echoed(place) for place in places] == [b"hello"] * 3


@ensureDeferred
async def test_who_begins_without_descriptors_does_not_begin(sockets: Sockets) -> None:
    listening = [socket.create_server(LOCAL) for _ in range(2)]
    factory = RecordingFactory(Echo)
    with no_descriptors(), pytest.raises(CannotListenError, match="Too many open files"):
        await over(listening, [0, 1]).listen(factory)
    assert [one.fileno() for one in listening] == [-1, -1]
    assert factory.started == 0
