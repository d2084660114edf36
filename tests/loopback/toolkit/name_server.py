"""A name server on the loopback, by twisted.names, that answers as it is told."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.names import common, dns, error, server

from toolkit.waiting import reactor


class Zone(common.ResolverBase):
    """Addresses by name. waiting: questions that are held back."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: dict[bytes, tuple[list[str], int]] = {}
        self.services: dict[bytes, tuple[tuple[tuple[int, int, str, int], ...], int]] = {}
        self.failing: set[bytes] = set()
        self.holding = False
        self.waiting: list[tuple[bytes, int, Deferred[Any]]] = []
        self.asked = 0

    def _lookup(self, name: bytes, cls: int, type: int, timeout: Any) -> Deferred[Any]:
        self.asked += 1
        if not self.holding:
            return self._answer(name.lower(), type)
        waiting: Deferred[Any] = Deferred()
        self.waiting.append((name.lower(), type, waiting))
        return waiting

    def _answer(self, name: bytes, type: int) -> Deferred[Any]:
        if name in self.failing:
            return fail(error.DNSServerError("as told"))
        if type == dns.SRV and name in self.services:
            places, ttl = self.services[name]
            return succeed(([
                dns.RRHeader(name, dns.SRV, dns.IN, ttl, dns.Record_SRV(priority, weight, port, host.encode(), ttl))
                for priority, weight, host, port in places
            ], [], []))
        if name not in self.addresses:
            return fail(error.DomainError(name))
        addresses, ttl = self.addresses[name]
        held = addresses if type == dns.A else []
        records = [dns.RRHeader(name, dns.A, dns.IN, ttl, dns.Record_A(one, ttl)) for one in held]
        return succeed((records, [], []))

    def release(self) -> None:
        self.holding = False
        waiting, self.waiting = self.waiting, []
        for name, type, one in waiting:
            self._answer(name, type).chainDeferred(one)


class _Factory(server.DNSServerFactory):
    """Says SERVFAIL where the zone does; twisted.names would leave the question unanswered or say NXDOMAIN."""

    noisy = False

    def __init__(self, zone: Zone) -> None:
        super().__init__(clients=[zone])
        self._zone = zone

    def sendReply(self, protocol: Any, message: Any, address: Any) -> None:
        if message.queries[0].name.name.lower() in self._zone.failing:
            message.rCode, message.answers = dns.ESERVER, []
        super().sendReply(protocol, message, address)


class NameServer:
    """A zone served over UDP."""

    def __init__(self) -> None:
        self._zone = Zone()
        self._port = reactor.listenUDP(
            0, dns.DNSDatagramProtocol(_Factory(self._zone)), interface="127.0.0.1"
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port.getHost().port}"

    @property
    def asked(self) -> int:
        """Questions so far."""
        return self._zone.asked

    def say(self, name: str, *addresses: str, ttl: int) -> None:
        """The name leads there from now on."""
        self._zone.failing.discard(name.encode())
        self._zone.addresses[name.encode()] = (list(addresses), ttl)

    def offer(self, name: str, *places: tuple[int, int, str, int], ttl: int) -> None:
        """The service is there from now on; places: (priority, weight, host, port)."""
        self._zone.failing.discard(name.encode())
        self._zone.services[name.encode()] = (places, ttl)

    def forget(self, name: str) -> None:
        """NXDOMAIN from now on."""
        self._zone.failing.discard(name.encode())
        self._zone.services.pop(name.encode(), None)
        self._zone.addresses.pop(name.encode(), None)

    def fail(self, name: str) -> None:
        """SERVFAIL from now on."""
        self._zone.failing.add(name.encode())

    def hold(self) -> None:
        """Answer nothing, until `release`."""
        self._zone.holding = True

    def release(self) -> None:
        self._zone.release()

    async def close(self) -> None:
        self._zone.release()
        await self._port.stopListening()
