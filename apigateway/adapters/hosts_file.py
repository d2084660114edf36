"""Names and name servers that the machine's own files tell: /etc/hosts and /etc/resolv.conf."""

from __future__ import annotations

import os
from collections.abc import Callable
from ipaddress import ip_address
from typing import Generic, TypeVar

T = TypeVar("T")
DNS_PORT = 53
LOOPBACK = ("127.0.0.1", "::1")


class ReadAgain(Generic[T]):
    """A small file, read once and again whenever it has changed; a file that is not there reads as empty."""

    def __init__(self, path: str, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._seen: tuple[int, int] | None = None
        self._value = parse("")

    def __call__(self) -> T:
        try:
            status = os.stat(self._path)
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._seen:
                with open(self._path, encoding="utf-8", errors="replace") as file:
                    self._value = self._parse(file.read())
                self._seen = seen
        except OSError:
            self._seen = None
            self._value = self._parse("")
        return self._value


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Lower-case name to addresses, of a hosts(5) file; what is no address is passed over."""
    names: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        address, *aliases = line.partition("#")[0].split() or [""]
        if is_address(address):
            for alias in aliases:
                name = alias.lower().rstrip(".")
                names[name] = (*names.get(name, ()), address)
    return names


def parse_resolv_conf(text: str) -> list[tuple[str, int]]:
    """The name servers of a resolv.conf(5); this machine's own where it names none, as libc has it."""
    words = [line.split() for line in text.splitlines()]
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and is_address(line[1])]
    return [(address, DNS_PORT) for address in found or [LOOPBACK[0]]]


def parse_server(text: str) -> tuple[str, int]:
    """The address and port of "192.0.2.1", "192.0.2.1:5353", "2001:db8::1" or "[2001:db8::1]:5353".

    ValueError for what is neither; a name server cannot be given by name.
    """
    if is_address(text):
        return text, DNS_PORT
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if colon and is_address(host) and port.isascii() and port.isdigit() and 0 < int(port) < 65536:
        return host, int(port)
    raise ValueError(f'a name server is "address" or "address:port", not {text!r}')


def is_address(text: str) -> bool:
    """Whether the text is an IPv4 or IPv6 address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
