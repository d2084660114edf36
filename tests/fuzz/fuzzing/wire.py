"""What stands in fields and targets, and in front of HTTP."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from itertools import product

from apigateway.wire.accept import media_ranges, preferred
from apigateway.wire.cookies import cookie_values, remove_cookie
from apigateway.wire.forwarding import client_address, forwarded_lines, last_hop, trusted_scheme_host
from apigateway.wire.headers import Headers, checked
from apigateway.wire.ipset import IpSet, network_of, parse_address
from apigateway.wire.message import Refusal, Request
from apigateway.wire.proxy_protocol import ProxyHeaderRefused, read_proxy_header
from apigateway.wire.target import PathRules, query_values, remove_query_pair, split_path
from apigateway.wire.websocket_frames import GOING_AWAY, FrameFollower, close_frame
from fuzzing.http1 import alike, cuts
from fuzzing.target import Target, text_of

_RULES = tuple(
    PathRules(dots, slashes, empty)  # type: ignore[arg-type]
    for dots, slashes, empty in product(
        ("refuse", "normalise"), ("keep", "refuse"), ("keep", "refuse", "merge")
    )
)
# What hops of X-Forwarded-For become in Forwarded.
_NODE = re.compile(rb'for=(?:unknown|[0-9.]+|"\[[0-9a-f:.]+\]")')
_TRUSTED = IpSet(["10.0.0.0/8", "fd00::/8"])


def attempt_path(data: bytes) -> None:
    """What was normalised once is not changed again, and nothing climbs."""
    for rules in _RULES:
        split = split_path(data, rules)
        if isinstance(split, Refusal):
            assert split.status == 400
            continue
        raw, segments = split
        assert split_path(raw, rules) == split
        assert raw.startswith(b"/") and not {".", ".."} & set(segments)


def attempt_query(data: bytes) -> None:
    """A pair that was taken out is not found any more, and the others are."""
    query = data.partition(b"?")[2]
    before = query_values(query, "b")
    left = remove_query_pair(data, "key")
    assert query_values(left.partition(b"?")[2], "key") == []
    assert query_values(left.partition(b"?")[2], "b") == before


def _lines(data: bytes) -> list[tuple[bytes, bytes]]:
    """Field lines as the reader of heads would have let them in: no controls, nothing at the ends."""
    lines = []
    for line in data.split(b"\n"):
        name, _, value = line.partition(b":")
        value = bytes(octet for octet in value if octet == 9 or 32 <= octet != 127).strip(b" \t")
        lines.append((name.strip().lower(), value))
    return lines


def attempt_forwarding(data: bytes) -> None:
    """Whatever a client wrote: the fields told to the upstream are lines, and an address is one, or the peer's."""
    request = Request(b"OPTIONS", b"/", Headers(), b"gw.test")
    request.forwarded = _lines(data)
    request.headers = Headers([(b"max-forwards", data[:20])])
    last_hop(request)
    for peer in ("10.0.0.1", "203.0.113.9", "fd00::1"):
        client = client_address(peer, request, _TRUSTED)
        assert parse_address(client) is not None
        assert (peer in _TRUSTED or client == peer) and re.fullmatch(r"[0-9a-f:.]+", client)
        scheme, _ = trusted_scheme_host(peer, request, _TRUSTED)
        assert scheme in ("http", "https")
        for style in ("x-forwarded", "rfc7239", "both", "none"):
            for name, value in forwarded_lines(style, request, peer, peer in _TRUSTED):  # type: ignore[arg-type]
                checked(name, value)
                if name == b"forwarded" and not any(name == b"forwarded" for name, _ in request.forwarded):
                    assert all(map(_NODE.fullmatch, value.split(b", ")[:-1])), value


def attempt_ipset(data: bytes) -> None:
    """A set holds both ends of what it was made of."""
    text = text_of(data)
    network_of(text, 64)
    entries = text.split("\n")
    try:
        held = IpSet(entries)
    except ValueError:
        return
    for entry in entries:
        for end in entry.partition("/")[0].split("-"):
            # IPv4 addresses are not in a network of IPv6, be it as wide as all of IPv6.
            if not ("/" in entry and ":" in end and isinstance(parse_address(end.strip()), IPv4Address)):
                assert end.strip() in held, entry


def attempt_cookies(data: bytes) -> None:
    """A cookie that was taken out is gone, and the others are as they were."""
    headers = Headers([(b"cookie", line) for line in data.split(b"\n")])
    others = cookie_values(headers, "b")
    found = bool(cookie_values(headers, "a"))
    assert remove_cookie(headers, "a") == found
    assert cookie_values(headers, "a") == [] and cookie_values(headers, "b") == others


def attempt_accept(data: bytes) -> None:
    values = data.split(b"\n")
    assert all(0.0 <= one.weight <= 1.0 for one in media_ranges(values))
    offers = ("application/json", "text/html", "application/problem+xml")
    assert preferred(values, offers) in (*offers, None)


def attempt_proxy_header(data: bytes) -> None:
    """As the octets come: a header once, of the same length; a refusal stays one; more is asked for in good faith."""
    ends = [
        _proxy_header(data[:size])
        for size in {len(data), *(len(pieces[0]) for pieces in cuts(data) if pieces)}
    ]
    whole = _proxy_header(data)
    for end in ends:
        assert isinstance(end, int) or end == whole, (end, whole)


def _proxy_header(data: bytes) -> object:
    try:
        header = read_proxy_header(data)
    except ProxyHeaderRefused:
        return "refused"
    if isinstance(header, int):
        assert header > len(data)
    else:
        assert header.length <= len(data)
        assert (header.source is None) == (header.destination is None)
        for end in (header.source, header.destination):
            assert end is None or (parse_address(end[0]) is not None and 0 <= end[1] <= 65535)
    return header


def attempt_frames(data: bytes) -> None:
    """The first octet decides whose frames they are. What is passed on does not depend on the chunks, is the beginning
    of what came, breaks no rule, and ends inside of a payload or at a border."""
    masked, extended = bool((data or b"0")[0] & 1), bool((data or b"0")[0] & 2)

    def read(pieces: list[bytes]) -> list[tuple[object, ...]]:
        follower = FrameFollower(masked, extended)
        passed = b"".join([follower.feed(piece) for piece in pieces])
        return [(passed, follower.left, follower.fragmented, follower.closed, follower.violation)]

    ((passed, *state, violation),) = alike(read, data[1:])
    assert isinstance(passed, bytes) and data[1:].startswith(passed)
    assert read([passed]) == [(passed, *state, "")]
    if not state[0] and not state[2] and not violation:
        again = FrameFollower(masked, extended)
        assert len(data) - 1 - len(passed) < (14 if masked else 10)
        assert again.feed(passed + close_frame(GOING_AWAY, b"abcd" if masked else b"")) and again.closed


_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_PROXIED = (
    b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 443\r\nGET / HTTP/1.1\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 65535 0\r\n",
    b"PROXY UNKNOWN ffff:f...f:ffff 1\r\n",
    _V2 + b"\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x67\x01\xbbrest",
    _V2 + b"\x21\x21\x00\x29" + bytes(15) + b"\x01" + bytes(15) + b"\x02\x12\x67\x01\xbb\x04\x00\x02ab",
    _V2 + b"\x20\x00\x00\x00",
    _V2 + b"\x21\x31\x00\xd8" + b"/a".ljust(108, b"\0") * 2,
    _V2 + b"\x21\x11\x00\x13\xc0\x00\x02\x01\xc0\x00\x02\x02\x12\x67\x01\xbb\x03\x00\x04\x00\x00\x00\x00",
)
_FORWARDED = (
    b"x-forwarded-for: 192.0.2.1, 10.0.0.2\nx-forwarded-proto: https\n"
    b"x-forwarded-host: a.test:8080\nx-forwarded-port: 1",
    b'forwarded: for=192.0.2.1;proto=https;host="a.test:80", for="[2001:db8::1]:4711";by=_x',
    b'x-forwarded-for: [::1]:80\nforwarded: for=unknown, For="\\1\\9";;',
)
TARGETS = (
    Target(
        "paths",
        attempt_path,
        (b"/a/b%20c/%C3%A9;v=1/", b"/a//b/../%2e%2e/c%2Fd", b"/;x/..;y/"),
        (b"/", b"//", b"/.", b"/..", b"%2e", b"%2F", b"%5c", b"%00", b"%", b";", b"\\", b"%c3%a9", b"%ff"),
    ),
    Target(
        "queries",
        attempt_query,
        (b"/p?key=1&b=2&key=3", b"/?a&key&b=%41+c", b"/p"),
        (b"&", b"=", b"?", b"key", b"k%65y", b"b", b"%", b"+", b"%ff", b"#"),
    ),
    Target(
        "forwarding",
        attempt_forwarding,
        _FORWARDED,
        (
            b",",
            b";",
            b'"',
            b"\\",
            b"for=",
            b"proto=http",
            b"host=",
            b"[::1]",
            b"10.0.0.1",
            b"x-forwarded-for: ",
            b"\nforwarded: ",
            b"unknown",
            b'fe80::1%";a=',
            b"_hidden",
            b":80",
            b"::ffff:10.0.0.1",
            b"\xe9",
        ),
    ),
    Target(
        "ip sets",
        attempt_ipset,
        (b"192.0.2.1\n10.0.0.0/8\n10.0.0.1-10.0.0.9", b"2001:db8::/32\n::1-::ffff\n::ffff:1.2.3.0/120"),
        (
            b"/",
            b"-",
            b"\n",
            b"::",
            b"0.0.0.0",
            b"/0",
            b"/128",
            b"::ffff:",
            b"%1",
            b"255.255.255.255",
            b" ",
            b"0x1",
        ),
    ),
    Target(
        "cookies",
        attempt_cookies,
        (b'a=1; b=2; c="3"', b"a=1;a=2\nb=;x", b" a = b "),
        (b"a=", b"b=", b";", b"; ", b"\n", b"\t", b'"'),
    ),
    Target(
        "accept",
        attempt_accept,
        (b"text/html, application/json;q=0.9, */*;q=0.1", b"text/*;level=1;q=1.000"),
        (b",", b";q=", b"*/*", b"/", b"q=0.0001", b"q=2", b"q=nan", b"\n"),
    ),
    Target(
        "websocket frames",
        attempt_frames,
        (
            b"0\x81\x05hello\x01\x03abc\x89\x00\x80\x02de\x88\x02\x03\xe8",
            b"1\x81\x85abcdhello\x8a\x81abcdx\x88\x82abcd\x03\xe8",
            b"2\xc1\x7e\x00\x80" + bytes(128) + b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + b"x" * 300,
            b"3\x42\xfe\x01\x00abcd" + bytes(256) + b"\x80\x80abcd",
        ),
        (
            b"\x81\x00",
            b"\x01\x01a",
            b"\x80\x00",
            b"\x89\x7d",
            b"\x88\x00",
            b"\x82\x7f" + b"\xff" * 8,
            b"\x82\x7e\x00\x05",
            b"\x81\x80abcd",
            b"\x80\x80abcd",
            b"\x89\x80abcd",
            b"\x82\xff\x7f" + b"\xff" * 7,
            b"\xff\x00",
            b"\x7e",
            b"\x7f",
        ),
    ),
    Target(
        "proxy protocol",
        attempt_proxy_header,
        _PROXIED,
        (
            b"PROXY ",
            b"TCP4",
            b"TCP6",
            b"UNKNOWN",
            b"\r\n",
            b"\r",
            b" ",
            b"::1%eth0",
            b"65536",
            b"00",
            _V2,
            b"\x21\x11",
            b"\x03\x00\x04",
            b"\x20\x00\x00\x02",
        ),
    ),
)
