"""Addresses, urls and hosts as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.config.addresses import (
    TargetUrl,
    TcpAddress,
    UnixAddress,
    check_host,
    parse_listen_address,
    parse_server,
    parse_target_url,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", TcpAddress("127.0.0.1", 8080)),
        ("0.0.0.0:0", TcpAddress("0.0.0.0", 0)),
        ("[::1]:443", TcpAddress("::1", 443)),
        ("gateway.example.test:443", TcpAddress("gateway.example.test", 443)),
        ("unix:/run/a.sock", UnixAddress("/run/a.sock")),
    ],
)
def test_listen_addresses(text: str, address: TcpAddress | UnixAddress) -> None:
    assert parse_listen_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        ":80",
        "a:",
        "a:b",
        "a:80:80",
        "[::1]",
        "[::1",
        "[::1]80",
        "[a]:80",
        "a b:80",
        "a:-1",
        "a:٣",
        "999.1.1.1:80",
        "unix:",
    ],
)
def test_what_is_no_listen_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(expected|a |an )"):
        parse_listen_address(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a", TargetUrl("http", TcpAddress("a", 80), "")),
        ("https://a/", TargetUrl("https", TcpAddress("a", 443), "")),
        ("http://127.0.0.1:9001/v1/", TargetUrl("http", TcpAddress("127.0.0.1", 9001), "/v1")),
        ("https://[::1]:9/a%20b", TargetUrl("https", TcpAddress("::1", 9), "/a%20b")),
    ],
)
def test_target_urls(text: str, url: TargetUrl) -> None:
    assert parse_target_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http:/a",
        "http://",
        "http:///a",
        "HTTP://a",
        "http://a:b",
        "http://a:65536",
        "http://a/ b",
        "http://a/%zz",
        "http://[::1",
        "http://a#b",
        "http://a\n",
        "http://a\\b",
    ],
)
def test_what_is_no_target_url(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_target_url(text)


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.8.0.1", True),
        ("::1", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("a.test", False),
    ],
)
def test_loopback(address: str, loopback: bool) -> None:
    assert TcpAddress(address, 1).loopback is loopback


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 53),
        ("192.0.2.1:54", "192.0.2.1", 54),
        ("2001:db8::1", "2001:db8::1", 53),
        ("[2001:db8::1]", "2001:db8::1", 53),
        ("[2001:db8::1]:54", "2001:db8::1", 54),
    ],
)
def test_a_server_is_an_address_perhaps_with_a_port(text: str, host: str, port: int) -> None:
    assert parse_server(text, 53) == TcpAddress(host, port)


@pytest.mark.parametrize("text", ["", "ns.test", "ns.test:53", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "1.2.3"])
def test_a_server_is_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|host|port"):
        parse_server(text, 53)


def test_hosts_are_bounded() -> None:
    check_host(".".join(["a" * 63] * 3))
    for text in ("a" * 64, ".".join(["a" * 63] * 4), "-a", "a-", "a..b", ""):
        with pytest.raises(ValueError, match="expected a host"):
            check_host(text)


@given(st.text())
def test_readers_refuse_by_value_error_only(text: str) -> None:
    for read in (
        parse_listen_address,
        parse_target_url,
        check_host,
        lambda it: parse_target_url(f"http://{it}"),
    ):
        try:
            read(text)
        except ValueError as refusal:
            assert str(refusal)
