"""Addresses, urls and host names as values; each reader refuses with a sentence for who wrote them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal
from urllib.parse import urlsplit

# Letters as DNS and TLS know them (RFC 1123 2.1, with the underscore that internal names have).
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_URL_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)*")
_ZONE = re.compile(r"[A-Za-z0-9._~-]+")  # RFC 6874 2
_DEFAULT_PORTS = {"http": 80, "https": 443}
_OF_SERVICE = "+srv"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A host (name or IP address, v6 without brackets) and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        address = as_ip(self.host)
        return address.is_loopback if address else self.host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class TargetUrl:
    """Where a target is; path is put in front of a request's, and is "" for none. service: the host is the name of SRV
    records, which tell hosts and ports; the port is 0 then."""

    scheme: Literal["http", "https"]
    address: TcpAddress
    path: str
    service: bool = False


def as_ip(text: str) -> IPv4Address | IPv6Address | None:
    """The IP address that a text is, or None for a name. A zone is the name of an interface ("fe80::1%eth0")."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # The standard library takes any text for a zone, also one that could not be written in brackets.
    zone = address.scope_id if isinstance(address, IPv6Address) else None
    return address if zone is None or _ZONE.fullmatch(zone) else None


def parse_listen_address(text: str) -> TcpAddress | UnixAddress:
    """An address to listen on: "host:port", "[v6]:port" or "unix:/path"; port 0 lets the system choose.

    Raises ValueError.
    """
    if text.startswith("unix:"):
        if text == "unix:":
            raise ValueError('a path has to follow "unix:"')
        return UnixAddress(text.removeprefix("unix:"))
    host, port = _host_and_port(text) if ":" in text else (text, None)
    if port is None:
        raise ValueError('a port is missing: expected "host:port", "[v6]:port" or "unix:/path"')
    return TcpAddress(host, _port(port, least=0))


def parse_server(text: str, default_port: int) -> TcpAddress:
    """An IP address with or without a port. Raises ValueError."""
    host, port = (text, None) if as_ip(text) else _host_and_port(text)
    if as_ip(host) is None:
        raise ValueError("expected an IP address, with or without a port")
    return TcpAddress(host, default_port if port is None else _port(port))


def parse_place(text: str, default_port: int) -> TcpAddress:
    """A host name or IP address (v6 in brackets), with or without a port. Raises ValueError."""
    host, port = _host_and_port(text)
    return TcpAddress(host, default_port if port is None else _port(port))


def parse_target_url(text: str) -> TargetUrl:
    """ "http[s]://host[:port][/path]" or "http[s]+srv://name[/path]", without user, query or fragment. Raises
    ValueError."""
    before, separator, rest = text.partition("://")
    scheme = before.removesuffix(_OF_SERVICE)
    service = scheme != before
    if not separator or scheme not in _DEFAULT_PORTS:
        raise ValueError("a url begins with http:// or https://, or with http+srv:// or https+srv:// for SRV records")
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError("a url holds no user or password; set them by a policy, from a reference")
    if "?" in rest or "#" in rest:
        raise ValueError("a url of a target holds no query or fragment")
    host, port = _host_and_port(parts.netloc)
    path = rest[len(parts.netloc) :].rstrip("/")
    if not _URL_PATH.fullmatch(path):
        raise ValueError("the path of the url has characters that have to be percent-encoded")
    if service and (port is not None or as_ip(host)):
        raise ValueError("SRV records belong to a name, and tell the ports: expected a name without a port")
    number = 0 if service else _DEFAULT_PORTS[scheme] if port is None else _port(port)
    return TargetUrl("https" if scheme == "https" else "http", TcpAddress(host, number), path, service)


def check_host(text: str, *, wildcard: bool = False) -> None:
    """ValueError unless a text is a host without a port; wildcard: "*.example.test" will do, too."""
    name = text.removeprefix("*.") if wildcard else text
    if name == "*":
        raise ValueError('"*" alone is no host: name none to take any')
    if text.startswith("[") and text.endswith("]") and isinstance(as_ip(text[1:-1]), IPv6Address):
        return
    if not text.isascii():
        raise ValueError("a host is written in ASCII (xn--…)")
    if len(name) > 253 or not _HOST_NAME.fullmatch(name):
        raise ValueError(
            "expected a host name or address, without a port" + (", or *.name" if wildcard else "")
        )


def _host_and_port(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or not isinstance(as_ip(host), IPv6Address) or (rest and not rest.startswith(":")):
            raise ValueError("expected an IPv6 address in brackets, and a port")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        raise ValueError("an IPv6 address is written in brackets")
    host, colon, port = text.partition(":")
    if not host:
        raise ValueError("a host is missing")
    check_host(host)
    if host.replace(".", "").isdigit() and as_ip(host) is None:
        raise ValueError("expected an IPv4 address of four numbers up to 255")
    return host, port if colon else None


def _port(text: str, least: int = 1) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not least <= int(text) <= 65535:
        raise ValueError("a port is a number from 1 to 65535")
    return int(text)
