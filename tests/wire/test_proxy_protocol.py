"""The PROXY protocol's header: read at any split, refused unless it is exactly one."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from apigateway.wire.proxy_protocol import (
    LONGEST_HEADER,
    ProxyHeader,
    ProxyHeaderRefused,
    crc32c,
    read_proxy_header,
)

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
TCP4, UDP4, TCP6, UDP6, UNIX, UNIX_DGRAM = 0x11, 0x12, 0x21, 0x22, 0x31, 0x32
SOURCE, DESTINATION = ("192.0.2.1", 4711), ("198.51.100.2", 443)
BEHIND = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def v2(family: int, block: bytes, first: int = 0x21) -> bytes:
    return SIGNATURE + bytes([first, family]) + struct.pack("!H", len(block)) + block


def ends(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    packed = [ip_address(ip).packed for ip, _ in (source, destination)]
    return b"".join(packed) + struct.pack("!HH", source[1], destination[1])


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def checked(header: bytes, wrong: int = 0) -> bytes:
    """The same with a checksum at its end."""
    whole = header[:14] + struct.pack("!H", len(header) - 16 + 7) + header[16:] + tlv(3, bytes(4))
    return whole[:-4] + struct.pack("!I", crc32c(whole) ^ wrong)


BLOCK = ends(SOURCE, DESTINATION)
BLOCK6 = ends(("2001:db8::1", 1), ("2001:db8::2", 65535))
NOBODY = (None, None)

GOOD = [
    ("v1, IPv4", b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n", (SOURCE, DESTINATION)),
    ("v1, ports 0 and 65535", b"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n",
     (("0.0.0.0", 0), ("255.255.255.255", 65535))),
    ("v1, IPv6", b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", (("2001:db8::1", 1), ("::1", 2))),
    ("v1, the longest IPv6", b"PROXY TCP6 " + b" ".join([b":".join([b"ffff"] * 8)] * 2) + b" 65535 65535\r\n",
     ((":".join(["ffff"] * 8), 65535),) * 2),
    ("v1, IPv4 in IPv6", b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6402 4711 443\r\n", (SOURCE, DESTINATION)),
    ("v1, unknown", b"PROXY UNKNOWN\r\n", NOBODY),
    ("v1, unknown with anything", b"PROXY UNKNOWN ffff::1 \xff\0 x y\r\n", NOBODY),
    ("v1, unknown, the longest line", b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", NOBODY),
    ("v2, IPv4", v2(TCP4, BLOCK), (SOURCE, DESTINATION)),
    ("v2, IPv6", v2(TCP6, BLOCK6), (("2001:db8::1", 1), ("2001:db8::2", 65535))),
    ("v2, IPv4 in IPv6", v2(TCP6, ends(("::ffff:192.0.2.1", 4711), ("::ffff:198.51.100.2", 443))),
     (SOURCE, DESTINATION)),
    ("v2 with TLVs", v2(TCP4, BLOCK + tlv(1, b"h2") + tlv(4, b"") + tlv(0x20, b"\1\0\0\0\0" + tlv(0x21, b"TLSv1.3"))),
     (SOURCE, DESTINATION)),
    ("v2 with a TLV nobody knows", v2(TCP4, BLOCK + tlv(0xEA, b"\1vpce-08d2")), (SOURCE, DESTINATION)),
    ("v2 with a checksum", checked(v2(TCP4, BLOCK + tlv(2, b"a.test"))), (SOURCE, DESTINATION)),
    ("v2, as long as it may be", v2(TCP4, BLOCK + tlv(4, bytes(LONGEST_HEADER - 16 - 12 - 3))), (SOURCE, DESTINATION)),
    ("v2, LOCAL", v2(0, b"", 0x20), NOBODY),
    ("v2, LOCAL with a block of no meaning", v2(0xFF, b"\1\2\3", 0x20), NOBODY),
    ("v2, LOCAL with addresses", v2(TCP4, BLOCK, 0x20), NOBODY),
    ("v2, unspecified", v2(0, b""), NOBODY),
    ("v2, unspecified with a block", v2(0, b"anything"), NOBODY),
    ("v2, IPv4 over something unspecified", v2(0x10, BLOCK), NOBODY),
    ("v2, stream of something unspecified", v2(0x01, b""), NOBODY),
    ("v2, UDP", v2(UDP4, BLOCK), NOBODY),
    ("v2, UDP over IPv6", v2(UDP6, BLOCK6), NOBODY),
    ("v2, Unix", v2(UNIX, b"/run/a".ljust(108, b"\0") * 2 + tlv(4, b"x")), NOBODY),
    ("v2, Unix datagram", v2(UNIX_DGRAM, bytes(216)), NOBODY),
]


@pytest.mark.parametrize(("octets", "said"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD])
@pytest.mark.parametrize("behind", [b"", BEHIND, b"\x16\x03\x01", b"\r\n", b"PROXY "], ids=repr)
def test_every_split_asks_for_more_and_the_whole_says_who_it_is(octets: bytes, said: object, behind: bytes) -> None:
    for size in range(len(octets)):
        needed = read_proxy_header(octets[:size])
        assert isinstance(needed, int)
        # More than there is, so that who waits for it is not woken for nothing; no more than will ever come.
        assert size < needed <= len(octets)
    header = read_proxy_header(octets + behind)
    assert header == ProxyHeader(len(octets), *said)  # type: ignore[misc]


def test_v1_asks_for_the_shortest_line_and_then_for_each_octet() -> None:
    line = b"PROXY TCP4 192.0.2.1 198.51.100.2 4711 443\r\n"
    assert [read_proxy_header(line[:size]) for size in (1, 6, 14, 15, 40)] == [15, 15, 15, 16, 41]


def test_v2_asks_for_the_whole_at_once() -> None:
    header = v2(TCP4, BLOCK + tlv(4, bytes(500)))
    assert [read_proxy_header(header[:size]) for size in (1, 15, 16, 100)] == [16, 16, len(header), len(header)]


BAD = [
    # no header
    ("a request", BEHIND, "no header"),
    ("a request that begins like one", b"POST / HTTP/1.1\r\n", "no header"),
    ("TLS", b"\x16\x03\x01\x02\x00", "no header"),
    ("lower case", b"proxy TCP4 ", "no header"),
    ("no blank", b"PROXY\tTCP4", "no header"),
    ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n", "no header"),
    ("an empty line first", b"\r\nPROXY", "no header"),
    # version 1
    ("v1, LF alone", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", "stands alone"),
    ("v1, CR alone", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\rX", "stands alone"),
    ("v1, CR CR LF", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n", "stands alone"),
    ("v1, LF in unknown", b"PROXY UNKNOWN a\nb\r\n", "stands alone"),
    ("v1, no end", b"PROXY UNKNOWN ".ljust(107, b"x"), "longer than 107"),
    ("v1, an end that is one octet late", b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n", "longer than 107"),
    ("v1, nothing", b"PROXY \r\n", "the line is not"),
    ("v1, another protocol", b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", "the line is not"),
    ("v1, unknown and more", b"PROXY UNKNOWNS\r\n", "the line is not"),
    ("v1, in lower case", b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", "the line is not"),
    ("v1, two blanks", b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", "the line is not"),
    ("v1, a blank at the end", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", "the line is not"),
    ("v1, a port is missing", b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", "the line is not"),
    ("v1, a tab", b"PROXY TCP4 192.0.2.1 192.0.2.2 1\t2\r\n", "the line is not"),
    ("v1, IPv6 as TCP4", b"PROXY TCP4 ::1 192.0.2.2 1 2\r\n", "no address of TCP4"),
    ("v1, IPv4 as TCP6", b"PROXY TCP6 ::1 192.0.2.2 1 2\r\n", "no address of TCP6"),
    ("v1, a name", b"PROXY TCP4 localhost 192.0.2.2 1 2\r\n", "no address"),
    ("v1, zeros in front", b"PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n", "no address"),
    ("v1, a short form", b"PROXY TCP4 127.1 192.0.2.2 1 2\r\n", "no address"),
    ("v1, 256", b"PROXY TCP4 256.0.2.1 192.0.2.2 1 2\r\n", "no address"),
    ("v1, a network", b"PROXY TCP4 192.0.2.0/24 192.0.2.2 1 2\r\n", "no address"),
    ("v1, digits of another script", b"PROXY TCP4 192.0.2.\xb2 192.0.2.2 1 2\r\n", "no address"),
    ("v1, two double colons", b"PROXY TCP6 1::2::3 ::1 1 2\r\n", "no address"),
    ("v1, a zone", b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "has a zone"),
    ("v1, brackets", b"PROXY TCP6 [::1] ::1 1 2\r\n", "no address"),
    ("v1, port past 65535", b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", "no port"),
    ("v1, port with zeros in front", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 0443\r\n", "no port"),
    ("v1, port with a sign", b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", "no port"),
    ("v1, no port", b"PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n", "no port"),
    ("v1, port of another script", b"PROXY TCP4 192.0.2.1 192.0.2.2 \xb2 2\r\n", "no port"),
    # version 2
    ("v2, a wrong octet in the signature", b"\r\n\r\n\0\r\nQUIT\r", "no header"),
    ("v2, version 1", v2(TCP4, BLOCK, 0x11), "version 1, command 1 is not known"),
    ("v2, version 3", v2(TCP4, BLOCK, 0x31), "version 3, command 1 is not known"),
    ("v2, command 2", v2(TCP4, BLOCK, 0x22), "version 2, command 2 is not known"),
    ("v2, family 4", v2(0x41, BLOCK), "family 4, transport 1 is not known"),
    ("v2, transport 3", v2(0x13, BLOCK), "family 1, transport 3 is not known"),
    ("v2, IPv4 too short", v2(TCP4, BLOCK[:-1]), "shorter than its addresses"),
    ("v2, IPv6 too short", v2(TCP6, BLOCK), "shorter than its addresses"),
    ("v2, UDP too short", v2(UDP4, b""), "shorter than its addresses"),
    ("v2, Unix too short", v2(UNIX, bytes(215)), "shorter than its addresses"),
    ("v2, too long", v2(TCP4, BLOCK + tlv(4, bytes(LONGEST_HEADER - 16 - 12 - 2))), "more than 4096"),
    ("v2, LOCAL and too long", SIGNATURE + b"\x20\0\xff\xff", "65551 octets are announced"),
    ("v2, a TLV past the end", v2(TCP4, BLOCK + b"\4\0\2x"), "past the header's end"),
    ("v2, half a TLV", v2(TCP4, BLOCK + b"\4\0"), "past the header's end"),
    ("v2, one octet of a TLV", v2(TCP4, BLOCK + b"\4"), "past the header's end"),
    ("v2, a TLV past the end of Unix addresses", v2(UNIX, bytes(216) + b"\4\1\0"), "past the header's end"),
    ("v2, a wrong checksum", checked(v2(TCP4, BLOCK), wrong=1), "checksum is wrong"),
    ("v2, a checksum of three octets", v2(TCP4, BLOCK + tlv(3, bytes(3))), "checksum is wrong"),
]


@pytest.mark.parametrize(("octets", "why"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_refused_with_the_reason_and_whatever_follows(octets: bytes, why: str) -> None:
    for behind in (b"", BEHIND):
        with pytest.raises(ProxyHeaderRefused, match=why):
            read_proxy_header(octets + behind)


@pytest.mark.parametrize("octets", [case[1] for case in BAD], ids=[case[0] for case in BAD])
def test_what_is_refused_is_never_taken_for_a_header_at_a_split(octets: bytes) -> None:
    for size in range(len(octets)):
        try:
            needed = read_proxy_header(octets[:size])
        except ProxyHeaderRefused:
            return
        assert isinstance(needed, int)
        assert needed > size


def test_a_wrong_first_octet_is_refused_at_once() -> None:
    for octet in range(256):
        if octet in b"P\r":
            assert isinstance(read_proxy_header(bytes([octet])), int)
        else:
            with pytest.raises(ProxyHeaderRefused):
                read_proxy_header(bytes([octet]))


def test_the_checksum_is_the_one_of_rfc_3720() -> None:
    # RFC 3720 B.4 (the octets there are in the order of iSCSI, least significant first).
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


PORTS = st.integers(0, 65535)
V4 = st.tuples(st.ip_addresses(v=4), PORTS)
V6 = st.tuples(st.ip_addresses(v=6), PORTS)
End = tuple[IPv4Address | IPv6Address, int]


def text(end: End) -> tuple[str, int]:
    mapped = getattr(end[0], "ipv4_mapped", None)
    return str(mapped or end[0]), end[1]


@given(st.one_of(st.tuples(V4, V4), st.tuples(V6, V6)), st.binary(max_size=40), st.data())
def test_both_versions_say_the_same_at_every_split(both: tuple[End, End], behind: bytes, data: st.DataObject) -> None:
    source, destination = both
    family = source[0].version
    line = f"PROXY TCP{family} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode()
    block = source[0].packed + destination[0].packed + struct.pack("!HH", source[1], destination[1])
    tlvs = data.draw(st.lists(st.tuples(st.integers(4, 255), st.binary(max_size=30)), max_size=4))
    binary = v2(TCP4 if family == 4 else TCP6, block + b"".join(tlv(*one) for one in tlvs))
    for octets in (line, binary):
        split = data.draw(st.integers(0, len(octets) - 1))
        needed = read_proxy_header(octets[:split])
        assert isinstance(needed, int)
        assert split < needed <= len(octets)
        assert read_proxy_header(octets + behind) == ProxyHeader(len(octets), text(source), text(destination))


@given(st.sampled_from([case[1] for case in GOOD]), st.data())
def test_one_octet_changed_is_another_header_or_none(octets: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, min(len(octets), 300) - 1))
    changed = octets[:at] + data.draw(st.binary(min_size=1, max_size=1)) + octets[at + 1 :]
    read_or_refused(changed)


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ", SIGNATURE, SIGNATURE + b"\x21\x11\0"]),
       st.binary(max_size=300))
@example(SIGNATURE, b"\x21\x11\x00")
def test_anything_is_read_or_refused(start: bytes, rest: bytes) -> None:
    read_or_refused(start + rest)


def read_or_refused(octets: bytes) -> None:
    try:
        header = read_proxy_header(octets)
    except ProxyHeaderRefused as refused:
        assert str(refused)
        return
    if isinstance(header, int):
        assert len(octets) < header <= LONGEST_HEADER
    else:
        assert header.length <= len(octets)
        assert (header.source is None) is (header.destination is None)
