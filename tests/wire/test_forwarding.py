"""Who the client is, and what the upstream is told."""

from __future__ import annotations

import pytest

from apigateway.wire.forwarding import client_address, forwarded_lines, last_hop, trusted_scheme_host, via
from apigateway.wire.headers import Headers
from apigateway.wire.ipset import IpSet
from apigateway.wire.message import Request

PROXIES = IpSet(["10.0.0.0/8", "fd00::/8"])
NOBODY = IpSet([])
PROXY, CLIENT = "10.0.0.2", "203.0.113.9"

Lines = list[tuple[bytes, bytes]]


def request(
    *forwarded: tuple[bytes, bytes], authority: bytes = b"api.example.test", scheme: str = "http"
) -> Request:
    made = Request(b"GET", b"/", Headers(), authority=authority, scheme=scheme)
    made.forwarded = list(forwarded) or None
    return made


def xff(*values: bytes) -> Lines:
    return [(b"x-forwarded-for", value) for value in values]


def std(*values: bytes) -> Lines:
    return [(b"forwarded", value) for value in values]


@pytest.mark.parametrize(
    ("peer", "lines", "client"),
    [
        # RC-O23, with the allow list 198.51.100.7
        (CLIENT, xff(b"198.51.100.7"), CLIENT),
        (PROXY, xff(b"198.51.100.7, 203.0.113.9"), CLIENT),
        (PROXY, xff(b"203.0.113.9, 198.51.100.7"), "198.51.100.7"),
        (PROXY, xff(b"198.51.100.7", b"203.0.113.9, 10.0.0.3"), CLIENT),
        (PROXY, xff(b"garbage"), PROXY),
        (PROXY, xff(b"198.51.100.7, garbage, 10.0.0.3"), "10.0.0.3"),
        (PROXY, xff(b"198.51.100.7, , 10.0.0.3"), "10.0.0.3"),
        (PROXY, xff(b"10.0.0.9, 10.0.0.3"), "10.0.0.9"),
        (PROXY, xff(b"203.0.113.9:4711"), CLIENT),
        (PROXY, xff(b"[2001:DB8::1]:80"), "2001:db8::1"),
        (PROXY, xff(b"::ffff:203.0.113.9"), CLIENT),
        (PROXY, xff(b"198.51.100.7, unknown"), PROXY),
        (PROXY, xff(b""), PROXY),
        (PROXY, [], PROXY),
        ("::ffff:10.0.0.2", xff(b"203.0.113.9"), CLIENT),
        # Forwarded alone
        (PROXY, std(b"for=198.51.100.7, for=203.0.113.9;proto=https"), CLIENT),
        (PROXY, std(b'for="[2001:db8::1]:80";by=x'), "2001:db8::1"),
        (PROXY, std(b"For=203.0.113.9", b"proto=http;FOR=10.0.0.3"), CLIENT),
        (PROXY, std(b"for=198.51.100.7, for=_hidden"), PROXY),
        (PROXY, std(b"for=198.51.100.7, proto=http"), PROXY),
        (PROXY, std(b'for="198.51.100.7, for=203.0.113.9'), CLIENT),
        (PROXY, std(b"for=198.51.100.7, ==, for=10.0.0.3"), "10.0.0.3"),
        (PROXY, std(b"for=198.51.100.7 x, for=10.0.0.3"), "10.0.0.3"),
        (PROXY, std(b"for=203.0.113.9;"), CLIENT),
        (PROXY, std(b'for=198.51.100.7;x="a\\", for=10.0.0.3"'), "198.51.100.7"),
        # Both: the client may have written one of them
        (PROXY, [*std(b"for=198.51.100.7"), *xff(b"203.0.113.9")], PROXY),
        (PROXY, [*xff(b"198.51.100.7"), *std(b"for=203.0.113.9;proto=https")], PROXY),
        (PROXY, [*xff(b"198.51.100.7"), *std(b"proto=https")], PROXY),
        (PROXY, [*xff(b"198.51.100.7"), *std(b"for=_hidden")], PROXY),
        (PROXY, [*xff(b"198.51.100.7, 10.0.0.3"), *std(b"for=203.0.113.9, for=10.0.0.3")], PROXY),
        (PROXY, [*xff(b"198.51.100.7, 203.0.113.9"), *std(b'for="203.0.113.9:80"')], CLIENT),
        (PROXY, [*xff(b"203.0.113.9"), *std(b"for=203.0.113.9, for=10.0.0.3")], CLIENT),
        (CLIENT, [*xff(b"198.51.100.7"), *std(b"for=198.51.100.7")], CLIENT),
        (PROXY, [(b"x-real-ip", b"198.51.100.7")], PROXY),
    ],
)
def test_client_address(peer: str, lines: Lines, client: str) -> None:
    assert client_address(peer, request(*lines), PROXIES) == client


def test_without_trusted_proxies_the_peer_is_the_client() -> None:
    assert client_address(CLIENT, request(*xff(b"198.51.100.7")), NOBODY) == CLIENT


@pytest.mark.parametrize(
    ("peer", "lines", "expected"),
    [
        (PROXY, [(b"x-forwarded-proto", b"HTTPS"), (b"x-forwarded-host", b"a:444")], ("https", b"a:444")),
        (PROXY, [(b"x-forwarded-host", b"evil, a")], ("http", b"a")),
        (PROXY, [(b"x-forwarded-proto", b"https,http")], ("http", b"api.example.test")),
        (
            PROXY,
            [(b"x-forwarded-proto", b"ws"), (b"x-forwarded-host", b"a/b")],
            ("http", b"api.example.test"),
        ),
        (PROXY, std(b'host=evil, host="b:1";proto=https'), ("https", b"b:1")),
        (PROXY, std(b"=="), ("http", b"api.example.test")),
        (PROXY, xff(b"1.2.3.4"), ("http", b"api.example.test")),
        (
            CLIENT,
            [(b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"a")],
            ("http", b"api.example.test"),
        ),
    ],
)
def test_trusted_scheme_host(peer: str, lines: Lines, expected: tuple[str, bytes]) -> None:
    assert trusted_scheme_host(peer, request(*lines), PROXIES) == expected


def test_what_a_stranger_sent_is_replaced() -> None:
    sent = request(*xff(b"198.51.100.7"), (b"x-forwarded-proto", b"https"), (b"x-forwarded-host", b"evil"))
    assert forwarded_lines("x-forwarded", sent, CLIENT, False) == [
        (b"x-forwarded-for", b"203.0.113.9"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-host", b"api.example.test"),
        (b"x-forwarded-port", b"80"),
    ]


def test_what_a_proxy_of_ours_sent_is_continued() -> None:
    sent = request(
        *xff(b"198.51.100.7", b"203.0.113.9"), (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"shop.test"), (b"x-forwarded-port", b"8443"),
    )  # fmt: skip
    assert forwarded_lines("x-forwarded", sent, PROXY, True) == [
        (b"x-forwarded-for", b"198.51.100.7, 203.0.113.9, 10.0.0.2"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"shop.test"),
        (b"x-forwarded-port", b"8443"),
    ]


@pytest.mark.parametrize(
    ("authority", "scheme", "port", "expected"),
    [
        (b"a", "http", None, b"80"),
        (b"a", "https", None, b"443"),
        (b"a:81", "https", None, b"81"),
        (b"[::1]", "http", None, b"80"),
        (b"[::1]:82", "http", None, b"82"),
        (b"a:81", "http", 9000, b"9000"),
    ],
)
def test_port(authority: bytes, scheme: str, port: int | None, expected: bytes) -> None:
    lines = forwarded_lines(
        "x-forwarded", request(authority=authority, scheme=scheme), CLIENT, False, port=port
    )
    assert lines[-1] == (b"x-forwarded-port", expected)


def test_http_1_0_without_a_host() -> None:
    assert forwarded_lines("x-forwarded", request(authority=b""), CLIENT, False) == [
        (b"x-forwarded-for", b"203.0.113.9"),
        (b"x-forwarded-proto", b"http"),
        (b"x-forwarded-port", b"80"),
    ]


@pytest.mark.parametrize(
    ("sent", "peer", "trusted", "value"),
    [
        (request(), CLIENT, False, b"for=203.0.113.9;host=api.example.test;proto=http"),
        (request(authority=b"a:80"), "2001:db8::1", False, b'for="[2001:db8::1]";host="a:80";proto=http'),
        (request(authority=b"", scheme="https"), "x", False, b"for=unknown;proto=https"),
        (request(*std(b"for=evil")), CLIENT, False, b"for=203.0.113.9;host=api.example.test;proto=http"),
        (
            request(*std(b"for=a", b"for=b"), authority=b""),
            PROXY,
            True,
            b"for=a, for=b, for=10.0.0.2;proto=http",
        ),
        (
            request(*xff(b"1.2.3.4:5, ::1, x"), authority=b""),
            PROXY,
            True,
            b'for=1.2.3.4, for="[::1]", for=unknown, for=10.0.0.2;proto=http',
        ),
    ],
)
def test_rfc7239(sent: Request, peer: str, trusted: bool, value: bytes) -> None:
    assert forwarded_lines("rfc7239", sent, peer, trusted) == [(b"forwarded", value)]


def test_both_and_none() -> None:
    names = [name for name, _ in forwarded_lines("both", request(), CLIENT, False)]
    assert names == [
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"forwarded",
    ]
    assert forwarded_lines("none", request(*xff(b"1.2.3.4")), PROXY, True) == []


def test_forwarded_from_a_proxy_of_ours_becomes_x_forwarded() -> None:
    lines = forwarded_lines("x-forwarded", request(*std(b'for="[::1]:5";proto=https;host=h')), PROXY, True)
    assert lines[:3] == [
        (b"x-forwarded-for", b"[::1]:5, 10.0.0.2"),
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-host", b"h"),
    ]


@pytest.mark.parametrize(
    ("lines", "ours", "standard"),
    [
        ([*xff(b"198.51.100.7"), *std(b"for=203.0.113.9")], b"10.0.0.2", b"for=10.0.0.2;proto=http"),
        (
            [*xff(b"198.51.100.7, 203.0.113.9"), *std(b"for=192.0.2.1, for=203.0.113.9;by=x")],
            b"203.0.113.9, 10.0.0.2",
            b"for=203.0.113.9, for=10.0.0.2;proto=http",
        ),
    ],
)
def test_of_both_fields_only_what_they_agree_on_is_continued(
    lines: Lines, ours: bytes, standard: bytes
) -> None:
    sent = forwarded_lines("both", request(*lines, authority=b""), PROXY, True)
    assert (sent[0], sent[-1]) == ((b"x-forwarded-for", ours), (b"forwarded", standard))


def test_no_line_can_be_split_by_what_was_forwarded() -> None:
    lines = forwarded_lines("both", request(*std(b'for="a\\\\b";host="x y"')), PROXY, True)
    assert all(b"\r" not in value and b"\n" not in value for _, value in lines)
    assert (b"x-forwarded-host", b"api.example.test") in lines


def test_via() -> None:
    assert via("1.1") == b"1.1 apigateway"
    assert via("1.0", "edge") == b"1.0 edge"


@pytest.mark.parametrize(
    ("method", "value", "ends_here", "left"),
    [
        (b"OPTIONS", b"0", True, b"0"),
        (b"TRACE", b"0", True, b"0"),
        (b"OPTIONS", b"3", False, b"2"),
        (b"GET", b"0", False, b"0"),
        (b"TRACE", b"x", False, b"x"),
        (b"TRACE", None, False, None),
    ],
)
def test_max_forwards(method: bytes, value: bytes | None, ends_here: bool, left: bytes | None) -> None:
    asked = Request(method, b"*", Headers([(b"max-forwards", value)] if value is not None else []))
    assert last_hop(asked) is ends_here
    assert asked.headers.get(b"max-forwards") == left
