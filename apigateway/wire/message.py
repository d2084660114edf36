"""The heads of a message as every HTTP version knows them, and the events of a connection.

A connection's machine (Http1Server, Http1Client, later HTTP/2) returns a list whose items are
one of: Request or Response (a head), bytes (a piece of the body, framing removed), MessageEnd,
Refusal (the peer broke the protocol; nothing follows it), and from a client machine also
Interim (a 1xx). Dispatch on `type(event)`: that is what keeps an event cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from apigateway.wire.headers import Headers


class Request:
    """A request head. Fields are those of RFC 9110, not of a version's framing.

    method: as sent, e.g. b"GET".
    scheme: "http" or "https", of the listener (an absolute-form target has to agree).
    authority: host and port as the client named them (absolute-form wins over Host, RFC 9112 3.2.2).
    target: origin-form, byte for byte (b"/a%2Fb?x=1"), b"*" for OPTIONS *.
    received: the target as the client sent it (in origin-form), whatever policies make of `target`.
    path, query: target split at the first "?"; query is None when there is no "?".
    headers: without Host, hop-by-hop fields, the fields that Connection named, and framing fields
        (Content-Length, Transfer-Encoding): the writer frames anew. Host is `authority`.
    forwarded: the lines a proxy in front may have written (Forwarded, X-Forwarded-*, X-Real-IP), taken
        out of headers because anybody can send them; None where there were none. forwarding.py decides.
    length: body octets announced; 0 for none; None when only the end will tell (chunked).
    version: "1.0", "1.1", later "2".
    upgrade: the protocol asked for (lower case, e.g. b"websocket") where Connection allowed it, else b"".
    expect_continue: the client waits for a 100 before it sends the body.
    persistent: the client lets the connection be used again.
    trailers_welcome: the client sent `TE: trailers`.
    trailers: fields after the body, once the end came with some.
    withheld: names (as `folded` gives them) that the trailers may not bring to the upstream either; see `withhold`.
    body: the buffered body (apigateway.body.Body) where a step asked for one, else None.
    """

    # Defaults stand on the class until they are set: most requests set few of them.
    length: int | None = 0
    upgrade = b""
    expect_continue = False
    persistent = True
    trailers_welcome = False
    forwarded: list[tuple[bytes, bytes]] | None = None
    trailers: Headers | None = None
    withheld: frozenset[bytes] = frozenset()
    body: Any = None
    query: bytes | None = None

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Headers,
        authority: bytes = b"",
        scheme: str = "http",
        version: str = "1.1",
        **others: Any,
    ) -> None:
        """others: any of length, upgrade, expect_continue, persistent, trailers_welcome."""
        self.method = method
        self.received = self.target = target
        self.headers = headers
        self.authority = authority
        self.scheme = scheme
        self.version = version
        mark = target.find(b"?")
        if mark < 0:
            self.path = target
        else:
            self.path, self.query = target[:mark], target[mark + 1 :]
        if others:
            for name, value in others.items():
                setattr(self, name, value)

    def retarget(self, target: bytes) -> None:
        """Set the target, and path and query with it."""
        self.target = target
        mark = target.find(b"?")
        self.path = target if mark < 0 else target[:mark]
        self.query = None if mark < 0 else target[mark + 1 :]

    def withhold(self, names: frozenset[bytes]) -> None:
        """Drop what the client sent under these names (each as `folded` gives it), in whatever spelling, and keep it
        from arriving in a trailer field, which is read long after."""
        self.headers.drop(names)
        if self.length != 0:
            self.withheld |= names


class Response:
    """A final response head.

    status: 200..599. reason: as sent (HTTP/1), may be empty.
    headers: without hop-by-hop fields, fields named by Connection, and Transfer-Encoding.
        Content-Length is withheld too and kept as `length`, but see `length`.
    length: body octets; None when only the end will tell. For a response to HEAD and for 304 it
        is what Content-Length announced (no body follows), None when none was announced.
    bodiless: no body follows whatever the fields say (HEAD, 204, 304; RFC 9112 6.3).
    upgrade: on 101, the protocol switched to; else b"".
    trailers: fields after the body, once the end came with some.
    body: the buffered body (apigateway.body.Body) where a step asked for one, else None.
    """

    length: int | None = None
    reason = b""
    bodiless = False
    upgrade = b""
    trailers: Headers | None = None
    body: Any = None

    def __init__(
        self,
        status: int,
        headers: Headers,
        *,
        length: int | None = None,
        reason: bytes = b"",
        bodiless: bool = False,
        upgrade: bytes = b"",
    ) -> None:
        self.status = status
        self.headers = headers
        if length is not None:
            self.length = length
        if reason:
            self.reason = reason
        if bodiless:
            self.bodiless = True
        if upgrade:
            self.upgrade = upgrade


@dataclass(frozen=True, slots=True)
class Interim:
    """A 1xx response (100, 103); 101 is a Response, since it ends HTTP on the connection."""

    status: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class MessageEnd:
    """The message is complete. trailers: the trailer fields, or None."""

    trailers: Headers | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """The peer broke the protocol or a limit: answer `status`, then close.

    status: 400, 408, 413, 414, 417, 431, 501, 505 from a server machine; 502 from a client machine.
    detail: one sentence for the log and, since it tells of the client's own bytes, for the client.
    section: the rule broken, e.g. "RFC 9112 6.1".
    """

    status: int
    detail: str
    section: str = ""


Event = Request | Response | Interim | bytes | MessageEnd | Refusal
END: Final = MessageEnd()
