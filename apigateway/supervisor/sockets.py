"""The listening sockets of all slots, bound by the supervisor and inherited by its workers."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

from apigateway.config.model import Listener
from apigateway.replacement import key_of, place_of_address
from apigateway.transport.addresses import Place
from apigateway.transport.inherited import Inherited
from apigateway.transport.listening import bind_socket, inode_of, remove_socket_file

_BACKLOG = 1024


class SocketTable:
    """For every listener one socket for each slot, so that the kernel shares connections out among them (Linux); or
    the same one for all, where it does not: Unix sockets, other systems.

    inherited: from the program before. There may be more of them than workers: each is a slot, and somebody's. Where
    there are fewer, workers share them: another one that listens would have the kernel send it clients from then on,
    whom nobody serves until the workers are ready, and who are reset if they never are; and until then the program
    before would not know of it. Two workers of one socket get about half each of what comes to it. A program that is
    stopped and begun has a socket for each again.
    """

    def __init__(self, listeners: Sequence[Listener], workers: int, inherited: Inherited) -> None:
        self._listeners, self._workers, self._inherited = listeners, workers, inherited
        self._sockets: dict[str, list[socket.socket]] = {}
        # Of Unix sockets: key, path, inode.
        self._files: list[tuple[str, str, int]] = []

    def bind(self) -> None:
        """Bind what was not inherited. Raises CannotListenError."""
        for listener in self._listeners:
            key, place = key_of(listener.name, listener.address), place_of_address(listener.address)
            self._sockets[key] = self._of_address(place, self._inherited.take(key))
            if isinstance(place, str):
                self._files.append((key, place, inode_of(place)))

    def _of_address(self, place: Place, inherited: list[socket.socket]) -> list[socket.socket]:
        if inherited:
            return inherited
        if isinstance(place, str) or sys.platform != "linux":
            return [bind_socket(place, backlog=_BACKLOG, reuse_port=False)]
        sockets = [_first(place)]
        while len(sockets) < self._workers:
            sockets.append(bind_socket((place[0], _port(sockets[0])), backlog=_BACKLOG, reuse_port=True))
        return sockets

    @property
    def slots(self) -> int:
        """How many slots there are: one for each worker, and more where more sockets were inherited."""
        return max(self._workers, *(len(sockets) for sockets in self._sockets.values()))

    def descriptors(self) -> dict[str, list[int]]:
        """By `key_of`, in the order of slots."""
        return {
            key: [sockets[slot % len(sockets)].fileno() for slot in range(self.slots)]
            for key, sockets in self._sockets.items()
        }

    def handed_over(self) -> list[tuple[str, int]]:
        """Each socket once, for the program that follows."""
        return [(key, one.fileno()) for key, sockets in self._sockets.items() for one in sockets]

    def close(self) -> None:
        """Workers have their own descriptors: the addresses are free when the last of them has closed his."""
        for sockets in self._sockets.values():
            for one in sockets:
                one.close()
        self._sockets.clear()

    def remove_files(self) -> None:
        """Remove the files of Unix sockets; not those on which the program before goes on."""
        for key, path, inode in self._files:
            if not self._inherited.still_theirs(key):
                remove_socket_file(path, inode)


def _first(place: tuple[str, int]) -> socket.socket:
    """The first socket of an address. With SO_REUSEPORT a second program would share the address with us, instead of
    being told that it is taken: so it is bound without, to see whether that goes."""
    if place[1]:
        bind_socket(place, backlog=1, reuse_port=False).close()
    return bind_socket(place, backlog=_BACKLOG, reuse_port=True)


def _port(one: socket.socket) -> int:
    port: int = one.getsockname()[1]
    return port
