"""Sets of IP addresses, given as addresses, networks and ranges."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
    summarize_address_range,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_MOST_ANSWERS = 4096
_MAPPED = IPv6Network("::ffff:0:0/96")


def parse_address(text: str) -> Address | None:
    """An address, an IPv4-mapped IPv6 one as IPv4 (RFC 4291 2.5.5.2); None for anything else."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return unmapped(address)


def unmapped(address: Address) -> Address:
    """IPv4 for an IPv4-mapped IPv6 address, else the address itself."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


@lru_cache(_MOST_ANSWERS)
def network_of(ip: str, ipv6_prefix: int) -> str:
    """The IPv6 network that an address belongs to ("2001:db8::/64"); an IPv4 address, an IPv4-mapped one as IPv4, and
    what is none, as it is.

    An IPv6 client has a whole network to call from (RFC 6177), an IPv4 client one address.
    """
    address = parse_address(ip)
    if not isinstance(address, IPv6Address):
        return ip if address is None else str(address)
    return str(IPv6Network((int(address), ipv6_prefix), strict=False))


class IpSet:
    """Which addresses are meant: "192.0.2.1", "10.0.0.0/8", "10.0.0.1-10.0.0.9", the same in IPv6.

    Kept as a set of network numbers for each prefix length, so that a look-up costs one step per length
    used, however many entries there are. Answers are remembered, a bounded number of them. Host bits below
    a prefix are ignored. unknown: whether the set holds what is no address. ValueError names the entry that cannot be
    read.
    """

    __slots__ = ("_answers", "_unknown", "_v4", "_v6")

    def __init__(self, entries: Iterable[str], *, unknown: bool = False) -> None:
        self._unknown = unknown
        v4: dict[int, set[int]] = {}
        v6: dict[int, set[int]] = {}
        for entry in entries:
            for network in _networks(entry):
                shift = network.max_prefixlen - network.prefixlen
                numbers = (v4 if network.version == 4 else v6).setdefault(shift, set())
                numbers.add(int(network.network_address) >> shift)
        self._v4 = tuple(sorted(v4.items()))
        self._v6 = tuple(sorted(v6.items()))
        self._answers: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._v4 or self._v6)

    def __contains__(self, ip: str) -> bool:
        """Whether the set holds an address; for what is no address, `unknown`."""
        answer = self._answers.get(ip)
        if answer is None:
            answer = self._look_up(ip)
            if len(self._answers) >= _MOST_ANSWERS:
                self._answers.clear()
            self._answers[ip] = answer
        return answer

    def _look_up(self, ip: str) -> bool:
        address = parse_address(ip)
        if address is None:
            return self._unknown
        number = int(address)
        lengths = self._v4 if address.version == 4 else self._v6
        return any(number >> shift in numbers for shift, numbers in lengths)


def _networks(entry: str) -> list[Network]:
    try:
        first, dash, last = entry.partition("-")
        if not dash:
            return [_unmapped_network(ip_network(entry.strip(), strict=False))]
        low, high = (unmapped(ip_address(end.strip())) for end in (first, last))
        if isinstance(low, IPv4Address) and isinstance(high, IPv4Address):
            return list(summarize_address_range(low, high))
        if isinstance(low, IPv6Address) and isinstance(high, IPv6Address):
            return list(summarize_address_range(low, high))
        raise ValueError("the ends are of different versions")
    except ValueError as error:
        raise ValueError(f"{entry!r} is not an IP address, network or range: {error}") from None


def _unmapped_network(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        number = int(network.network_address) & 0xFFFFFFFF
        return IPv4Network((number, network.prefixlen - 96))
    return network
