"""Names and name servers that the machine's own files tell: /etc/hosts and /etc/resolv.conf."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

from apigateway.config.addresses import as_ip

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
        if as_ip(address):
            for alias in aliases:
                name = alias.lower().rstrip(".")
                names[name] = (*names.get(name, ()), address)
    return names


def parse_resolv_conf(text: str) -> list[tuple[str, int]]:
    """The name servers of a resolv.conf(5); this machine's own where it names none, as libc has it."""
    words = [line.split() for line in text.splitlines()]
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver" and as_ip(line[1])]
    return [(address, DNS_PORT) for address in found or [LOOPBACK[0]]]
