"""A name server on the loopback, by twisted.names, that answers as it is told."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.names import common, dns, error, server

LOOPBACK = "127.0.0.1"


class Zone(common.ResolverBase):
    """records: (name, type) to record payloads with their TTLs. failing: names, or (name, type), of SERVFAIL."""

    def __init__(self) -> None:
        super().__init__()
        self.records: dict[tuple[bytes, int], list[tuple[Any, int]]] = {}
        self.failing: set[tuple[bytes, int] | bytes] = set()
        self.asked: list[tuple[bytes, int]] = []

    def add(self, name: bytes, payload: Any, ttl: int) -> None:
        self.records.setdefault((name, payload.TYPE), []).append((payload, ttl))

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> Deferred[Any]:
        name = name.lower()
        self.asked.append((name, type))
        aliases = self.records.get((name, dns.CNAME), [])
        held = [*aliases, *self.records.get((name, type), [])]
        if not held and not any(known == name for known, _ in self.records):
            return fail(error.DomainError(name))
        answers = [dns.RRHeader(name, payload.TYPE, dns.IN, ttl, payload) for payload, ttl in held]
        return succeed((answers, [], []))


class Factory(server.DNSServerFactory):
    """Cuts the answers to names in `truncated` where they would go over UDP, and says SERVFAIL where the zone does."""

    def __init__(self, zone: Zone) -> None:
        super().__init__(clients=[zone])
        self.zone = zone
        self.truncated: set[bytes] = set()

    def sendReply(self, protocol: Any, message: Any, address: Any) -> None:
        query = message.queries[0]
        name = query.name.name.lower()
        if name in self.zone.failing or (name, query.type) in self.zone.failing:
            message.rCode = dns.ESERVER
            message.answers = []
        if address is not None and name in self.truncated:
            message.trunc = 1
            message.answers = []
        super().sendReply(protocol, message, address)


class Mute(DatagramProtocol):
    """Reads questions and answers none."""

    def __init__(self) -> None:
        self.heard = 0

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.heard += 1


class NameServer:
    """A zone served over UDP and TCP on one port."""

    def __init__(self, interface: str = LOOPBACK) -> None:
        self._interface = interface
        self.zone = Zone()
        self.factory = Factory(self.zone)
        self.factory.noisy = False
        self._udp, self._tcp = self._listen()
        self.port: int = self._udp.getHost().port

    def _listen(self) -> tuple[Any, Any]:
        ports: Any = reactor
        while True:
            tcp = ports.listenTCP(0, self.factory, interface=self._interface)
            try:
                protocol = dns.DNSDatagramProtocol(self.factory)
                return ports.listenUDP(tcp.getHost().port, protocol, interface=self._interface), tcp
            except CannotListenError:  # somebody has the port of that number over UDP
                tcp.stopListening()

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    async def close(self) -> None:
        await self._udp.stopListening()
        await self._tcp.stopListening()
