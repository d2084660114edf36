"""Sets of addresses."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.wire.ipset import IpSet, network_of

SET = IpSet(
    ["192.0.2.1", "10.0.0.0/8", "198.51.100.7-198.51.100.20", "2001:db8::/32", "::1", "fd00::1 - fd00::3"]
)


@pytest.mark.parametrize(
    "ip",
    [
        "192.0.2.1", "10.255.0.1", "198.51.100.7", "198.51.100.20", "2001:db8:1::2", "::1",
        "0:0::1", "fd00::2",
        "::ffff:10.1.2.3", "::ffff:c000:201",
    ],
)  # fmt: skip
def test_in(ip: str) -> None:
    assert ip in SET
    assert ip in SET  # the remembered answer


@pytest.mark.parametrize(
    "ip",
    [
        "192.0.2.2", "11.0.0.1", "198.51.100.21", "198.51.100.6", "2001:db9::", "::2", "fd00::4",
        "", "garbage",
        "10.0.0", "010.0.0.1", "10.0.0.1:80", "10.0.0.1/8", "unknown",
    ],
)  # fmt: skip
def test_not_in(ip: str) -> None:
    assert ip not in SET
    assert ip not in SET


@pytest.mark.parametrize(
    "entry", ["", "x", "10.0.0.0/33", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "10.0.0.1-", "1.2.3.4/8/9", "a-b"]
)
def test_a_bad_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match="not an IP address, network or range") as caught:
        IpSet(["10.0.0.1", entry])
    assert repr(entry) in str(caught.value)


def test_everything_nothing_and_mapped_entries() -> None:
    assert "203.0.113.1" in IpSet(["0.0.0.0/0"])
    assert "::1" not in IpSet(["0.0.0.0/0"])
    assert "10.0.0.1" not in IpSet([])
    assert not IpSet([]) and IpSet(["::1"])
    assert "10.1.1.1" in IpSet(["::ffff:10.0.0.0/104"])
    assert "10.0.0.5" in IpSet(["::ffff:10.0.0.4-::ffff:10.0.0.6"])
    assert "10.9.9.9" in IpSet(["10.1.2.3/8"])


def test_remembered_answers_are_bounded() -> None:
    small = IpSet(["10.0.0.0/8"])
    for number in range(10_000):
        assert (str(IPv4Address(number + 2**31)) in small) is False
    assert len(small._answers) <= 4096


@given(
    st.lists(st.ip_addresses(v=4).flatmap(lambda ip: st.tuples(st.just(ip), st.integers(0, 32)))), st.data()
)
def test_like_the_standard_library(entries: list[tuple[IPv4Address, int]], data: st.DataObject) -> None:
    networks = [ip_network((int(ip), length), strict=False) for ip, length in entries]
    near = st.sampled_from([ip for ip, _ in entries]) if entries else st.ip_addresses(v=4)
    ip = data.draw(near | st.ip_addresses(v=4))
    assert (str(ip) in IpSet(map(str, networks))) is any(ip in network for network in networks)


@pytest.mark.parametrize("ip", ["192.0.2.1", "", "garbage"])
def test_what_is_no_address_is_in_a_set_that_says_so(ip: str) -> None:
    holds_it = IpSet(["10.0.0.0/8"], unknown=True)
    assert (ip in holds_it) == (ip != "192.0.2.1")


@pytest.mark.parametrize(
    ("ip", "prefix", "network"),
    [
        ("2001:db8:0:0:ffff::2", 64, "2001:db8::/64"),
        ("2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::/48"),
        ("::1", 128, "::1/128"),
        ("fe80::1%eth0", 64, "fe80::/64"),
        ("192.0.2.1", 64, "192.0.2.1"),
        ("::ffff:192.0.2.1", 64, "192.0.2.1"),
        ("", 64, ""),
        ("unknown", 64, "unknown"),
    ],
)
def test_the_network_of_an_address(ip: str, prefix: int, network: str) -> None:
    assert network_of(ip, prefix) == network
