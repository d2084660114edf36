"""One address with several sockets, of which a process accepts on some: workers share an address that way."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from zope.interface import implementer

from apigateway.transport.addresses import Address, address_from
from apigateway.transport.endpoints import NativeServerEndpoint
from apigateway.transport.server import NativeListeningPort

Make = Callable[[socket.socket], NativeServerEndpoint]


class SeveralSocketsEndpoint:
    """An endpoint over sockets that listen already.

    make: the endpoint of one socket. sockets: in the order of slots; one may stand there several times, and is then
    accepted on for each of them. accepted: numbers of those that are accepted on at first.
    """

    def __init__(self, make: Make, sockets: Sequence[socket.socket], accepted: Iterable[int]) -> None:
        self._make, self._sockets, self._accepted = make, sockets, tuple(accepted)

    def bind(self) -> None:
        """Nothing is left to be bound."""

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[SeveralSocketsPort]:
        """Fires at once with the port; it accepts from the next turn of the loop on."""
        port = SeveralSocketsPort(self._make, self._sockets, protocolFactory)
        port.accept_on(self._accepted)
        return succeed(port)


@implementer(IListeningPort)
class SeveralSocketsPort:
    """Accepts on some of its sockets, until stopListening, which closes all of them here.

    What it accepts on is a duplicate: to stop accepting on a socket leaves who waits in its backlog to others.
    """

    def __init__(self, make: Make, sockets: Sequence[socket.socket], factory: IProtocolFactory) -> None:
        self._make, self._sockets, self._factory = make, sockets, factory
        self._host = address_from(sockets[0].getsockname())
        self._accepting: dict[int, NativeListeningPort] = {}
        self._stopped = False

    def getHost(self) -> Address:
        return self._host

    def startListening(self) -> None:
        """Nothing: see accept_on."""

    def accept_on(self, numbers: Iterable[int]) -> None:
        """Accept on these sockets, and on no others, from the next turn of the loop on."""
        if self._stopped:
            return
        wanted = {self._sockets[number].fileno(): self._sockets[number] for number in numbers}
        for descriptor in self._accepting.keys() - wanted.keys():
            self._accepting.pop(descriptor).stopListening()
        for descriptor in wanted.keys() - self._accepting.keys():
            port = self._make(wanted[descriptor].dup()).port(self._factory)
            self._accepting[descriptor] = port
            port.startListening()

    @property
    def descriptors(self) -> list[int]:
        """Of all sockets, accepted on or not; none after stopListening."""
        return [] if self._stopped else sorted({one.fileno() for one in self._sockets})

    def leave_file(self) -> None:
        """Nothing: each duplicate leaves the file of a Unix socket already."""

    def stopListening(self) -> Deferred[None]:
        """Stop accepting; who waits in a backlog is left to whoever else has the socket, or reset."""
        if self._stopped:
            return succeed(None)
        self._stopped = True
        ports, self._accepting = list(self._accepting.values()), {}
        stopped = DeferredList([port.stopListening() for port in ports])
        for one in self._sockets:
            one.close()
        return stopped.addCallback(lambda _: None)
