"""Who is calling, over which connection: what an exchange knows of the other side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Slot(Generic[T]):
    """A typed place in an exchange that one kind fills and another reads; the same one, not one of the same name."""

    name: str
    about: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling, once a policy knows.

    consumer: name of the configured consumer, "" for a subject that is none. credential: an id of what was shown,
    never the secret itself.
    """

    consumer: str = ""
    subject: str = ""
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default_factory=dict)
    credential: str = ""


IDENTITY: Slot[Identity] = Slot("identity", "who is calling")


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """The client's certificate: DER octets, and what of it conditions and logs may name."""

    der: bytes
    subject: str = ""
    fingerprint: str = ""


@dataclass(frozen=True, slots=True)
class Connection:
    """The connection that a request came by; the same object for all of its exchanges.

    peer: IP of the other end ("" on a Unix socket). trusted: it is one of our proxies, so that its forwarding fields
    are believed. local_port: the one the client reached, None on a Unix socket. certificate_names: of the certificate
    that we showed (for 421), empty without TLS. forwarding: lines for upstreams that were made before.
    """

    listener: str = ""
    peer: str = ""
    port: int = 0
    trusted: bool = False
    local_port: int | None = None
    scheme: str = "http"
    tls_version: str = ""
    sni: str = ""
    certificate: PeerCertificate | None = None
    certificate_names: tuple[str, ...] = ()
    forwarding: dict[tuple[str, bytes, str], Sequence[tuple[bytes, bytes]]] = field(default_factory=dict, compare=False)
