"""Events written down as plain values, so that a test reads like what went over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apigateway.wire.headers import Headers
from apigateway.wire.http1_client import Http1Client
from apigateway.wire.http1_server import Http1Server
from apigateway.wire.limits import DEFAULT_LIMITS, Limits
from apigateway.wire.message import Event, Interim, MessageEnd, Refusal, Request, Response


def told(events: list[Event]) -> list[tuple[Any, ...]]:
    """The events as tuples; body pieces next to each other become one."""
    lines: list[tuple[Any, ...]] = []
    for event in events:
        if isinstance(event, bytes) and lines and lines[-1][0] == "body":
            lines[-1] = ("body", lines[-1][1] + event)
        else:
            lines.append(_told(event))
    return lines


def _told(event: Event) -> tuple[Any, ...]:
    if isinstance(event, bytes):
        return ("body", event)
    if isinstance(event, Request):
        return ("request", event.method, event.target, event.authority, event.length, event.headers.lines)
    if isinstance(event, Response):
        return ("response", event.status, event.reason, event.length, event.bodiless, event.headers.lines)
    if isinstance(event, Interim):
        return ("interim", event.status, event.headers.lines)
    if isinstance(event, MessageEnd):
        return ("end", event.trailers.lines if event.trailers is not None else None)
    assert isinstance(event, Refusal)
    return ("refusal", event.status, event.section)


def splits(data: bytes) -> Iterator[list[bytes]]:
    """Octet by octet, and every way to cut the data in two."""
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def fed(machine: Http1Server | Http1Client, pieces: list[bytes]) -> list[Event]:
    events: list[Event] = []
    for piece in pieces:
        events += machine.feed(piece)
    return events


def request_of(data: bytes, scheme: str = "http") -> Request:
    """The request that these octets are; fails where they are refused."""
    event = Http1Server(DEFAULT_LIMITS, scheme).feed(data)[0]
    assert isinstance(event, Request), event
    return event


def refusal_of(data: bytes, limits: Any = DEFAULT_LIMITS) -> Refusal:
    """The Refusal that these octets end in; the same whether they come at once or one by one."""
    whole = Http1Server(limits).feed(data)
    single = fed(Http1Server(limits), [data[at : at + 1] for at in range(len(data))])
    assert isinstance(whole[-1], Refusal), whole
    assert told(whole) == told(single)
    return whole[-1]


def answered(pieces: list[bytes], limits: Limits = DEFAULT_LIMITS) -> list[Event]:
    """All events of a client's connection whose requests are answered as they end, and which then ends."""
    machine, seen = Http1Server(limits), list[Event]()
    for piece in pieces:
        events = machine.feed(piece)
        while events:
            seen += events
            if isinstance(events[0], Request) and events[0].upgrade:
                return seen  # what comes behind it may be another protocol
            ended, events = isinstance(events[-1], MessageEnd), []
            if ended:
                machine.send_head(Response(200, Headers(), length=0))
                machine.send_end()
                events = machine.next_request()
    return seen + machine.eof()


def asked(pieces: list[bytes], method: bytes = b"GET", limits: Limits = DEFAULT_LIMITS) -> list[Event]:
    """All events of an upstream's connection that was asked once, up to the end of the response or of the octets."""
    machine, seen = Http1Client(limits), list[Event]()
    machine.send_head(Request(method, b"/", Headers()), target=b"/", host=b"a")
    machine.send_end()
    for piece in pieces:
        seen += machine.feed(piece)
        if seen and isinstance(seen[-1], MessageEnd | Refusal):
            return seen
    return seen + machine.eof()
