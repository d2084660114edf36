"""The header of the PROXY protocol, by which a balancer in front says whose connection it passes on.

Versions 1 (a line of text) and 2 (binary), as HAProxy's "The PROXY protocol" has them; sections are of that document.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address

from apigateway.wire.ipset import unmapped

LONGEST_HEADER = 4096
"""Octets of a header with all its TLVs. Version 2 could say 65,551; a sender is to stay below 536 (section 2), and a
client's certificate among the TLVs takes 2,000."""

Endpoint = tuple[str, int]
"""IP address, an IPv4-mapped one as IPv4, and port."""

_V1_START = b"PROXY "
_V1_SHORTEST, _V1_LONGEST = 15, 107
_V1_ADDRESSES: dict[str, type[IPv4Address] | type[IPv6Address]] = {"TCP4": IPv4Address, "TCP6": IPv6Address}
_PORT = re.compile(r"0|[1-9][0-9]{0,4}")

_V2_START = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED = 16
# Octets of one address by family: IPv4, IPv6, Unix.
_V2_SIZES = {1: 4, 2: 16, 3: 108}
_STREAM = 1
_CRC32C = 0x03


class ProxyHeaderRefused(ValueError):
    """What came is no header of the PROXY protocol; the text says why."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """A header that is complete.

    length: its octets; what the client sent begins behind them. source, destination: the connection's ends as the
    proxy has them; None where it spoke for nobody (LOCAL), or for no connection over TCP: then the ends of its own
    connection count (sections 2.1 and 2.2).
    """

    length: int
    source: Endpoint | None = None
    destination: Endpoint | None = None


def read_proxy_header(seen: bytes) -> ProxyHeader | int:
    """The header at the start of what a connection has sent so far.

    A number where it is not complete: octets (of the whole, more than `seen`) without which there is no use in asking
    again. Raises ProxyHeaderRefused, as early as it is certain.
    """
    if not seen:
        return 1
    if seen[: len(_V2_START)] == _V2_START[: len(seen)]:
        return _read_v2(seen)
    if seen[: len(_V1_START)] == _V1_START[: len(seen)]:
        return _read_v1(seen)
    raise ProxyHeaderRefused("there is no header")


# ---- version 1: "PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\n"


def _read_v1(seen: bytes) -> ProxyHeader | int:
    line, end, _ = seen[:_V1_LONGEST].partition(b"\r\n")
    if b"\n" in line or b"\r" in line[:-1] or (end and b"\r" in line):
        raise ProxyHeaderRefused("CR or LF stands alone")
    if end:
        return _v1_line(line)
    if len(seen) >= _V1_LONGEST:
        raise ProxyHeaderRefused(f"the line is longer than {_V1_LONGEST} octets")
    return max(_V1_SHORTEST, len(seen) + 1)


def _v1_line(line: bytes) -> ProxyHeader:
    length = len(line) + 2
    if line == b"PROXY UNKNOWN" or line.startswith(b"PROXY UNKNOWN "):
        return ProxyHeader(length)
    parts = line.decode("latin-1").split(" ")
    if len(parts) != 6 or parts[1] not in _V1_ADDRESSES:
        raise ProxyHeaderRefused("the line is not of PROXY, TCP4 or TCP6, two addresses and two ports")
    _, family, source, destination, source_port, destination_port = parts
    return ProxyHeader(
        length, (_v1_address(family, source), _v1_port(source_port)),
        (_v1_address(family, destination), _v1_port(destination_port)),
    )


def _v1_address(family: str, text: str) -> str:
    try:
        address = _V1_ADDRESSES[family](text)
    except ValueError:
        raise ProxyHeaderRefused(f"{text!r} is no address of {family}") from None
    if "%" in text:  # a zone belongs to the machine that wrote it
        raise ProxyHeaderRefused(f"{text!r} has a zone")
    return str(unmapped(address))


def _v1_port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise ProxyHeaderRefused(f"{text!r} is no port")
    return int(text)


# ---- version 2: signature, version and command, family and transport, length; addresses, ports, TLVs


def _read_v2(seen: bytes) -> ProxyHeader | int:
    if len(seen) < _V2_FIXED:
        return _V2_FIXED
    version, command = seen[12] >> 4, seen[12] & 15
    if version != 2 or command > 1:
        raise ProxyHeaderRefused(f"version {version}, command {command} is not known")
    length = _V2_FIXED + int.from_bytes(seen[14:16])
    if length > LONGEST_HEADER:
        raise ProxyHeaderRefused(f"{length} octets are announced, more than {LONGEST_HEADER}")
    if command == 0:
        # LOCAL, a health check of the proxy's own: family and block mean nothing, but the block is there.
        return ProxyHeader(length) if len(seen) >= length else length
    family, transport = seen[13] >> 4, seen[13] & 15
    if family > 3 or transport > 2:
        raise ProxyHeaderRefused(f"family {family}, transport {transport} is not known")
    if len(seen) < length:
        return length
    return _v2_block(seen[:length], family, transport)


def _v2_block(header: bytes, family: int, transport: int) -> ProxyHeader:
    if family == 0 or transport == 0:  # unspecified, so that nothing says where TLVs would begin
        return ProxyHeader(len(header))
    size = _V2_SIZES[family]
    ports = _V2_FIXED + 2 * size
    end = ports if family == 3 else ports + 4
    if len(header) < end:
        raise ProxyHeaderRefused("the block is shorter than its addresses")
    _check_tlvs(header, end)
    if family == 3 or transport != _STREAM:
        return ProxyHeader(len(header))
    middle = _V2_FIXED + size
    return ProxyHeader(
        len(header), _v2_endpoint(header[_V2_FIXED:middle], header[ports : ports + 2]),
        _v2_endpoint(header[middle:ports], header[ports + 2 : end]),
    )


def _v2_endpoint(address: bytes, port: bytes) -> Endpoint:
    ip = IPv4Address(address) if len(address) == 4 else IPv6Address(address)
    return str(unmapped(ip)), int.from_bytes(port)


def _check_tlvs(header: bytes, at: int) -> None:
    """That they fill the block, and that a checksum is right. What they say is not used: TLS of a client that ended
    at the proxy is that proxy's to vouch for, in fields of the request."""
    while at < len(header):
        kind, size = header[at], int.from_bytes(header[at + 1 : at + 3])
        value, at = at + 3, at + 3 + size
        if at > len(header):
            raise ProxyHeaderRefused("a TLV goes past the header's end")
        if kind == _CRC32C and not _crc32c_holds(header, value, size):
            raise ProxyHeaderRefused("the checksum is wrong")


def _crc32c_holds(header: bytes, at: int, size: int) -> bool:
    """Section 2.2.3: of the whole header, with the checksum's own octets as zeros."""
    if size != 4:
        return False
    return crc32c(header[:at] + bytes(4) + header[at + 4 :]) == int.from_bytes(header[at : at + 4])


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720 12.1 (Castagnoli)."""
    table = _crc32c_table()
    crc = 0xFFFFFFFF
    for octet in data:
        crc = table[(crc ^ octet) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _crc32c_table() -> tuple[int, ...]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)
