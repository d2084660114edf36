"""Names to addresses, and to services: literals and the hosts file at once, the rest by asking name servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail, succeed
from twisted.names import dns
from twisted.python.failure import Failure
from zope.interface import implementer

from apigateway.adapters.dns_query import DnsQuestions
from apigateway.adapters.hosts_file import DNS_PORT, LOOPBACK, ReadAgain, parse_hosts, parse_resolv_conf
from apigateway.config.addresses import as_ip, parse_server
from apigateway.ports.interfaces import (
    IResolver,
    NameNotFound,
    Resolution,
    ResolutionFailed,
    ServiceRecord,
    ServiceResolution,
)

# All questions of one name together.
TIMEOUT = 5.0
# A server that has not answered in this part of it is asked again, or the next one is.
ONE_TRY = 0.3
FEWEST_TRIES = 3
# For how long a server that gave no answer is not asked first.
BEHIND = 10.0
LONGEST_CHAIN = 8
LITERAL_TTL = 86400.0
HOSTS_TTL = 60.0


@dataclass(frozen=True, slots=True)
class _Found:
    """What the servers say: the name that aliases led to, its records (perhaps none), seconds to believe it."""

    name: bytes
    payloads: tuple[Any, ...]
    ttl: float


@implementer(IResolver)
class DnsResolver:
    """Resolves the names of targets.

    An IP address is itself (believed for a day). Names of the hosts file come next (a minute), and "localhost" is
    this machine (RFC 6761 6.3). Everything else is asked for as it stands, without a search list: A and AAAA side
    by side, aliases followed, the shortest TTL of all counts. The servers are asked in turn, and again, until one
    answers or 5 s are over; SERVFAIL and the like are no answer, and for 10 s questions begin behind the server that
    gave none. Where one type is answered and the other is not, what came is taken; NameNotFound needs both answered.
    servers: "address" or "address:port"; none: those of resolv.conf, which is read again when it changes.
    """

    def __init__(
        self,
        reactor: Any,
        servers: Sequence[str] = (),
        *,
        hosts: str = "/etc/hosts",
        resolv_conf: str = "/etc/resolv.conf",
        timeout: float = TIMEOUT,
    ) -> None:
        self._reactor = reactor
        named = [parse_server(server, DNS_PORT) for server in servers]
        self._servers = [(server.host, server.port) for server in named]
        self._hosts = ReadAgain(hosts, parse_hosts)
        self._resolv_conf = ReadAgain(resolv_conf, parse_resolv_conf)
        self._questions = DnsQuestions(reactor)
        self._timeout = timeout
        # With this server, until then (of the reactor): the first one may be there for a reason.
        self._begin: tuple[str, int] | None = None
        self._begin_until = 0.0

    def resolve(self, name: str) -> Deferred[Resolution]:
        """See IResolver."""
        literal = name.removeprefix("[").removesuffix("]")
        if as_ip(literal):
            return succeed(Resolution((literal,), LITERAL_TTL))
        key = name.lower().rstrip(".")
        known = self._hosts().get(key)
        if known is not None:
            return succeed(Resolution(known, HOSTS_TTL))
        if key == "localhost" or key.endswith(".localhost"):
            return succeed(Resolution(LOOPBACK, HOSTS_TTL))
        wire_name = _wire_name(key)
        if wire_name is None:
            return fail(NameNotFound(f"{name!r} cannot be the name of a host"))
        return Deferred.fromCoroutine(self._look_up(name, wire_name))

    def services(self, name: str) -> Deferred[ServiceResolution]:
        """See IResolver; the hosts file knows no services."""
        wire_name = _wire_name(name.lower().rstrip("."))
        if wire_name is None:
            return fail(NameNotFound(f"{name!r} cannot be the name of a service"))
        return Deferred.fromCoroutine(self._look_up_service(name, wire_name))

    async def _look_up_service(self, name: str, wire_name: bytes) -> ServiceResolution:
        try:
            found = await self._records(wire_name, dns.SRV, self._reactor.seconds() + self._timeout)
        except ResolutionFailed as error:
            raise ResolutionFailed(f"{name!r}: {error}") from None
        # A single "." says that the service is not to be had there (RFC 2782, "Target").
        offered = tuple(record for record in records_of(found.payloads) if record.host and record.port)
        if not offered:
            raise NameNotFound(f"{name!r} does not exist, or offers no service")
        return ServiceResolution(offered, found.ttl)

    async def _look_up(self, name: str, wire_name: bytes) -> Resolution:
        end = self._reactor.seconds() + self._timeout
        questions = [Deferred.fromCoroutine(self._records(wire_name, kind, end)) for kind in (dns.A, dns.AAAA)]
        answers = await DeferredList(questions, consumeErrors=True)
        found = [answer for fine, answer in answers if fine]
        addresses = [address for one in found for address in addresses_of(one.payloads)]
        if addresses:
            return Resolution(tuple(addresses), min(one.ttl for one in found if one.payloads))
        failures = [cast(Failure, answer) for fine, answer in answers if not fine]
        if failures:
            failures[0].trap(ResolutionFailed)
            raise ResolutionFailed(f"{name!r}: {failures[0].getErrorMessage()}")
        raise NameNotFound(f"{name!r} does not exist, or has no address")

    async def _records(self, name: bytes, kind: int, end: float) -> _Found:
        found = _Found(name, (), LITERAL_TTL)
        for _ in range(LONGEST_CHAIN):
            answer = await self._answer(dns.Query(found.name, kind, dns.IN), end)
            if answer.rCode == dns.ENAME:
                return found
            asked = found.name
            found = _follow(found, kind, answer.answers)
            if found.payloads or found.name == asked:
                return found
        raise ResolutionFailed("its aliases do not end")

    async def _answer(self, query: dns.Query, end: float) -> dns.Message:
        servers = self._servers or self._resolv_conf()
        # The text only: an exception that is raised holds this frame, and would be held by it.
        problem = "no answer in time"
        first = self._first(servers)
        for turn in range(max(FEWEST_TRIES, 2 * len(servers))):
            left = end - self._reactor.seconds()
            if left <= 0:
                break
            server, behind = (servers[(first + turn + more) % len(servers)] for more in (0, 1))
            try:
                answer = await self._questions.ask(server, query, min(self._timeout * ONE_TRY, left))
            except CancelledError:
                self._begin_with(behind)  # who gives it up has waited for as long as he could
                raise
            except Exception as error:
                problem = f"{server[0]}: {type(error).__name__}"
            else:
                if answer.rCode in (dns.OK, dns.ENAME):
                    return answer
                problem = f"{server[0]} answered with code {answer.rCode}"
            self._begin_with(behind)
        raise ResolutionFailed(problem)

    def _first(self, servers: Sequence[tuple[str, int]]) -> int:
        known = self._begin in servers and self._reactor.seconds() < self._begin_until
        return servers.index(self._begin) if known else 0

    def _begin_with(self, server: tuple[str, int]) -> None:
        self._begin, self._begin_until = server, self._reactor.seconds() + BEHIND


def addresses_of(payloads: Sequence[Any]) -> list[str]:
    """Of records of type A and AAAA."""
    return [str(ip_address(payload.address)) for payload in payloads]


def records_of(payloads: Sequence[Any]) -> list[ServiceRecord]:
    """Of records of type SRV."""
    return [
        ServiceRecord(one.priority, one.weight, one.target.name.decode("ascii", "replace").rstrip("."), one.port)
        for one in payloads
    ]


def _follow(found: _Found, kind: int, records: list[Any]) -> _Found:
    """As far as the records of one answer lead from a name: along its aliases, to what stands at their end."""
    name, ttl = found.name, found.ttl
    aliases = {record.name.name.lower(): record for record in records if record.type == dns.CNAME}
    while (alias := aliases.pop(name, None)) is not None:
        name = alias.payload.name.name.lower()
        ttl = min(ttl, alias.ttl)
    here = [record for record in records if record.type == kind and record.name.name.lower() == name]
    payloads = tuple(record.payload for record in here)
    return _Found(name, payloads, min([ttl, *(record.ttl for record in here)]))


def _wire_name(name: str) -> bytes | None:
    try:
        wire_name: bytes = dns.domainString(name)
    except UnicodeError:
        return None
    return wire_name
