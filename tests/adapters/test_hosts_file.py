"""What the machine's files tell of names and name servers."""

from __future__ import annotations

import pytest

from apigateway.adapters.hosts_file import parse_hosts, parse_resolv_conf


@pytest.mark.parametrize(
    ("text", "servers"),
    [("", ["127.0.0.1"]), ("search a.test\noptions ndots:5\n", ["127.0.0.1"]),
     ("nameserver 192.0.2.1\n# nameserver 192.0.2.9\n nameserver\t2001:db8::1 \nnameserver\n",
      ["192.0.2.1", "2001:db8::1"])],
)  # fmt: skip
def test_name_servers_of_the_machine(text: str, servers: list[str]) -> None:
    assert parse_resolv_conf(text) == [(address, 53) for address in servers]


def test_hosts_gather_the_addresses_of_a_name() -> None:
    text = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n\n# 192.0.2.1 off\nbad name\n192.0.2.2\n"
    text += "192.0.2.3 B.Test. c"
    assert parse_hosts(text) == {
        "localhost": ("127.0.0.1", "::1"), "ip6-localhost": ("::1",), "b.test": ("192.0.2.3",), "c": ("192.0.2.3",),
    }  # fmt: skip
