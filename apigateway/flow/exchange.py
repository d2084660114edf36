"""An exchange as policies see it: one request, its response, and what was learnt on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
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

    __slots__ = (
        "answered",
        "api",
        "attempts",
        "client",
        "connection",
        "ended",
        "fault",
        "gates",
        "id",
        "identity",
        "notes",
        "octets_in",
        "octets_out",
        "params",
        "plan",
        "request",
        "response",
        "route",
        "sent",
        "slots",
        "started",
        "status",
        "steps_done",
        "target",
        "upstream",
        "version",
    )

    def __init__(self, id: str, request: Request, connection: Connection, client: str, started: float) -> None:
        self.id = id
        self.request = request
        self.connection = connection
        self.client = client
        self.started = started
        self.response: Response | None = None
        self.identity: Identity | None = None
        self.fault: Fault | None = None
        self.plan: Any = None
        self.api = ""
        self.route = ""
        self.version = ""
        self.params: Mapping[str, str] = _NONE
        self.slots: dict[Slot[Any], Any] | None = None
        self.notes: dict[str, Any] | None = None
        self.upstream = ""
        self.target = ""
        self.attempts = 0
        self.gates = 0
        self.status = 0
        self.octets_in = 0
        self.octets_out = 0
        self.steps_done = 0.0
        self.sent = 0.0
        self.answered = 0.0
        self.ended = 0.0

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


_NONE: Mapping[str, str] = {}
