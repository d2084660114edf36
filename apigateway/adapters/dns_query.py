"""One question to one name server: over UDP, and over TCP where the answer did not fit."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, connectProtocol
from twisted.internet.error import CannotListenError
from twisted.names import dns

_PORTS_TRIED = 8


class DnsQuestions:
    """Asks servers; nothing of a question is left when its answer is there or its time is over.

    Ports and ids are unpredictable, and an answer from another address is not taken (RFC 5452 9.1, 9.2):
    twisted.names sees to that, given a random port.
    reactor: has listenUDP, connectTCP, callLater and seconds.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    async def ask(self, server: tuple[str, int], query: dns.Query, seconds: float) -> dns.Message:
        """The answer, whatever its code. Fails with what Twisted has for that where there is none in time, or no
        way to the server."""
        end = self._reactor.seconds() + seconds
        answer = await self._over_udp(server, query, seconds)
        if answer.trunc:
            return await self._over_tcp(server, query, end)
        return answer

    async def _over_udp(self, server: tuple[str, int], query: dns.Query, seconds: float) -> dns.Message:
        protocol = OneServer(self, self._reactor, server)
        port = self._listen(protocol, "::" if ":" in server[0] else "")
        try:
            return await protocol.query(server, [query], seconds)
        finally:
            _call_off(protocol)
            await maybeDeferred(port.stopListening)

    def _listen(self, protocol: dns.DNSDatagramProtocol, interface: str) -> Any:
        for _ in range(_PORTS_TRIED):
            try:
                return self._reactor.listenUDP(dns.randomSource(), protocol, interface=interface)
            except CannotListenError:
                continue
        return self._reactor.listenUDP(0, protocol, interface=interface)

    async def _over_tcp(self, server: tuple[str, int], query: dns.Query, end: float) -> dns.Message:
        family = TCP6ClientEndpoint if ":" in server[0] else TCP4ClientEndpoint
        protocol: Any = dns.DNSProtocol(self, self._reactor)
        endpoint = family(self._reactor, *server, timeout=self._left(end))
        await connectProtocol(endpoint, protocol)
        try:
            answer: dns.Message = await protocol.query([query], self._left(end))
            return answer
        finally:
            _call_off(protocol)
            protocol.transport.loseConnection()

    def _left(self, end: float) -> float:
        now: float = self._reactor.seconds()
        return max(0.1, end - now)

    # ---- what the protocols of twisted.names tell their controller

    def connectionMade(self, protocol: Any) -> None:
        return None

    def connectionLost(self, protocol: Any) -> None:
        return None

    def messageReceived(self, message: Any, protocol: Any, address: Any = None) -> None:
        """An answer to nothing that was asked: late, or forged."""


class OneServer(dns.DNSDatagramProtocol):
    """What one server is asked over. twisted.names takes an answer only from the very text that was asked, and an IPv6
    address has many; the zone of a link-local one ("fe80::1%eth0") is not even told by who answers."""

    def __init__(self, controller: Any, reactor: Any, server: tuple[str, int]) -> None:
        super().__init__(controller, reactor)  # type: ignore[no-untyped-call]
        self._server = server
        self._from = _without_zone(server[0]), server[1]

    def datagramReceived(self, data: bytes, addr: tuple[str, int]) -> None:
        super().datagramReceived(data, self._server if (_without_zone(addr[0]), addr[1]) == self._from else addr)


def _without_zone(host: str) -> IPv4Address | IPv6Address:
    return ip_address(host.partition("%")[0])


def _call_off(protocol: dns.DNSMixin) -> None:
    """Stop the timers of questions that nobody waits for any more."""
    for _, timer in protocol.liveMessages.values():
        if timer.active():
            timer.cancel()
    protocol.liveMessages.clear()
