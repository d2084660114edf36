"""One address with several sockets, of which a process accepts on some: workers share an address that way."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred, DeferredList, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from zope.interface import implementer

from apigateway.transport.addresses import Address, address_from
from apigateway.transport.endpoints import NativeServerEndpoint
from apigateway.transport.server import NativeListeningPort

log = Logger()

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
        """Fires at once with the port; it accepts from the next turn of the loop on.

        Fails with CannotListenError where it could not accept on all of the first ones: who begins like that is not
        ready, and another that can is not to end for it.
        """
        port = SeveralSocketsPort(self._make, self._sockets, protocolFactory)
        short = port.accept_on(self._accepted)
        if short is None:
            return succeed(port)
        error = CannotListenError(None, port.getHost(), short)
        return port.stopListening().addCallback(lambda _: fail(error))


@implementer(IListeningPort)
class SeveralSocketsPort:
    """Accepts on some of its sockets, until stopListening, which closes all of them here.

    What it accepts on is a duplicate: to stop accepting on a socket leaves who waits in its backlog to others.
    """

    def __init__(self, make: Make, sockets: Sequence[socket.socket], factory: IProtocolFactory) -> None:
        self._make, self._sockets, self._factory = make, sockets, factory
        self._host = address_from(sockets[0].getsockname())
        self._accepting: dict[int, NativeListeningPort] = {}
        self._stopped = self._short = False

    def getHost(self) -> Address:
        return self._host

    def startListening(self) -> None:
        """Nothing: see accept_on."""

    def accept_on(self, numbers: Iterable[int]) -> OSError | None:
        """Accept on these sockets, and on no others, from the next turn of the loop on.

        What kept it from some of them, for want of descriptors: it accepts on the rest, and may be told again. None
        where all is as it was asked for.
        """
        if self._stopped:
            return None
        wanted = {self._sockets[number].fileno(): self._sockets[number] for number in numbers}
        for descriptor in self._accepting.keys() - wanted.keys():
            self._accepting.pop(descriptor).stopListening()
        error = None
        for descriptor in wanted.keys() - self._accepting.keys():
            try:
                duplicate = wanted[descriptor].dup()
            except OSError as short:
                error = short
                continue
            self._accepting[descriptor] = port = self._make(duplicate).port(self._factory)
            port.startListening()
        self._tell(error)
        return error

    def _tell(self, error: OSError | None) -> None:
        """Once, however often it is tried."""
        if error is not None and not self._short:
            log.error("connections to {host} wait: {why}", host=self._host, why=error.strerror)
        self._short = error is not None

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
