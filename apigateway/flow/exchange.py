"""An exchange as policies see it: one request, its response, and what was learnt on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from apigateway.wire.message import Request, Response

if TYPE_CHECKING:
    from apigateway.flow.faults import Fault

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Slot(Generic[T]):
    """A typed place in an exchange that one kind fills and another reads."""

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
    are believed. local_port: the one the client reached, None on a Unix socket. certificate_names: names of the certificate that we showed
    (for 421), empty without TLS.
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


class Exchange:
    """One request and its response.

    id: unique among the workers of an environment. client: the client's IP, trusted proxies looked through.
    api, route, version: names of what was matched, "" before. params: path parameters, decoded.
    response: the head that came, or that is being made; None before.
    upstream, target: names, "" where none was chosen. attempts: how often an upstream was tried.
    fault: the Fault that ended it, else None. gates: bits of the conditions that held (the plan's own business).
    octets_in, octets_out: body octets from and to the client.
    Times are monotonic seconds, 0.0 where that point was not reached: started (head complete), steps_done (request
    steps over), sent (last attempt began), answered (response head came), ended.
    """

    # Defaults stand on the class and are looked up there until they are set: an exchange sets few of them, and every
    # store that is not made is time saved on every request.
    response: Response | None = None
    identity: Identity | None = None
    fault: Fault | None = None
    plan: Any = None
    api = ""
    route = ""
    version = ""
    params: Mapping[str, str] = MappingProxyType({})
    slots: dict[Slot[Any], Any] | None = None
    notes: dict[str, Any] | None = None
    upstream = ""
    target = ""
    attempts = 0
    gates = 0
    status = 0
    octets_in = 0
    octets_out = 0
    steps_done = 0.0
    sent = 0.0
    answered = 0.0
    ended = 0.0

    def __init__(self, id: str, request: Request, connection: Connection, client: str, started: float) -> None:
        self.id = id
        self.request = request
        self.connection = connection
        self.client = client
        self.started = started

    def put(self, slot: Slot[T], value: T) -> None:
        """Fill a slot; IDENTITY is the attribute `identity` too."""
        if slot is IDENTITY:
            self.identity = value  # type: ignore[assignment]
            return
        if self.slots is None:
            self.slots = {}
        self.slots[slot] = value

    def take(self, slot: Slot[T]) -> T | None:
        """What is in a slot, or None."""
        if slot is IDENTITY:
            return self.identity  # type: ignore[return-value]
        return None if self.slots is None else self.slots.get(slot)

    def note(self, name: str, value: Any) -> None:
        """Say something in the access log line of this exchange; value ready for JSON, no secret."""
        if self.notes is None:
            self.notes = {}
        self.notes[name] = value

