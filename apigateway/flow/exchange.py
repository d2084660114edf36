"""An exchange as policies see it: one request, its response, and what was learnt on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

from apigateway.flow.identity import IDENTITY, Connection, Identity, PeerCertificate, Slot
from apigateway.wire.message import Request, Response

if TYPE_CHECKING:
    from apigateway.flow.faults import Fault

__all__ = ["IDENTITY", "Connection", "Exchange", "Identity", "PeerCertificate", "Slot"]

T = TypeVar("T")

NO_PARAMS: Final[Mapping[str, str]] = {}


class Exchange:
    """One request and its response.

    id: unique among the workers of an environment. client: the client's IP, trusted proxies looked through.
    api, route, version: names of what was matched, "" before. params: path parameters, decoded.
    response: the head that came, or that is being made; None before.
    upstream, target: names, "" where none was chosen. attempts: how often an upstream was tried.
    lost: a kept connection ended with the request on it, which was sent anew; whether it had arrived nobody knows.
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
    slots: dict[Slot[Any], Any] | None = None
    notes: dict[str, Any] | None = None
    upstream = ""
    target = ""
    attempts = 0
    lost = False
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
        self.params = NO_PARAMS

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

