"""Host names: the one form they are compared in, and the tables of patterns they are looked up in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import AddressValueError, IPv6Address
from typing import Final, Generic, TypeVar

T = TypeVar("T")

ANY: Final = "*"

# Names seen are remembered, so that a request costs one lookup. Clients choose the names: past this many, the
# rest is looked up anew each time, which is right too.
_REMEMBERED: Final = 4096


def normal_host(authority: str) -> str:
    """The host of an authority: lower-case, without port and trailing dot; IPv6 in brackets, in its shortest
    form.

    (RFC 3986 3.2.2 and 6.2.2.1, RFC 5952.) An address that is none stays as written, and so matches nothing.
    """
    text = authority.lower()
    if text.startswith("["):
        return _normal_address(text[1 : text.find("]")] if "]" in text else text)
    if text.count(":") > 1:
        return _normal_address(text)
    return text.partition(":")[0].removesuffix(".")


def _normal_address(text: str) -> str:
    try:
        return f"[{IPv6Address(text).compressed}]"
    except AddressValueError:
        return text


def patterns_over(host: str) -> Iterator[str]:
    """The patterns that take a host, most specific first: itself, wildcards from the longest, then any."""
    if host:
        yield host
    if not host.startswith("["):
        dot = host.find(".")
        while dot >= 0:
            yield f"*{host[dot:]}"
            dot = host.find(".", dot + 1)
    yield ANY


class HostTable(Generic[T]):
    """Something for each host pattern: a name, "*.name" (one or more labels in front, as in the Gateway API),
    "*"."""

    def __init__(self) -> None:
        self._by_pattern: dict[str, T] = {}
        self._seen: dict[bytes, tuple[T, ...]] = {}

    def put(self, pattern: str, value: T) -> None:
        """Set what a pattern leads to; to be done before the first lookup."""
        self._by_pattern[pattern] = value

    def get(self, pattern: str) -> T | None:
        return self._by_pattern.get(pattern)

    def over(self, authority: bytes) -> tuple[T, ...]:
        """What the patterns that take this host lead to, the most specific first."""
        found = self._seen.get(authority)
        if found is None:
            found = self._look_up(authority)
        return found

    def _look_up(self, authority: bytes) -> tuple[T, ...]:
        table = self._by_pattern
        host = normal_host(authority.decode("latin-1"))
        found = tuple(table[pattern] for pattern in patterns_over(host) if pattern in table)
        if len(self._seen) < _REMEMBERED:
            self._seen[authority] = found
        return found


def covers(names: Sequence[str], host: str) -> bool:
    """Whether one of a certificate's names is for a host (as normal_host has it): exactly, or by a wildcard that
    stands for one label (RFC 9525 6.3)."""
    label, _, parent = host.partition(".")
    return host in names or (bool(label and parent) and f"*.{parent}" in names)
