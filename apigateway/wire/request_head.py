"""From a parsed head to a Request: the one pass over what is not an ordinary field."""

from __future__ import annotations

from typing import Final

from apigateway.wire import framing
from apigateway.wire.fields import (
    CODING,
    CONNECTION,
    EXPECT,
    HOST,
    LENGTH,
    TE,
    UPGRADE,
    connection_options,
    tokens,
)
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request

Lines = list[tuple[bytes, bytes]]

_SLASH: Final = 0x2F


def read_request(
    line: bytes,
    lines: Lines,
    special: dict[int, bytes],
    forwarded: Lines | None,
    max_target: int,
    scheme: str,
) -> Request:
    """Build a Request, or raise Refused.

    line: the request line without CRLF. lines: the ordinary fields, taken over. special: the others by
    kind, repeated ones joined (RFC 9110 5.3). forwarded: lines that a proxy may have written.
    """
    method, target, version = framing.request_line(line, max_target)
    named = None
    if target[0] != _SLASH:
        target, named = framing.origin_form(method, target, scheme)
    host = special.get(HOST)
    if host is None or named is not None or not framing.valid_host(host):
        host = framing.authority(host, named, version)
    headers = Headers.__new__(Headers)
    headers.lines = lines
    request = Request(method, target, headers, host, scheme, version)
    request.forwarded = forwarded
    if len(special) > 1 or version != "1.1" or HOST not in special:
        _read_special(request, special)
    return request


def _read_special(request: Request, special: dict[int, bytes]) -> None:
    """What more than Host says: framing, connection options, expectations."""
    version = request.version
    request.length = framing.body_length(special.get(LENGTH), special.get(CODING), version)
    options = connection_options(special.get(CONNECTION))
    if options.names:
        # Also what everybody needs, such as Authorization: the standard makes no exception, and who names
        # it harms only his own request. The forwarding fields are not in `lines`: naming them hides nothing.
        lines = request.headers.lines
        lines[:] = [field for field in lines if field[0] not in options.names]
    request.persistent = options.persistent(version)
    if EXPECT in special:
        request.expect_continue = framing.expects_continue(special[EXPECT], version, request.length != 0)
    if TE in special:
        request.trailers_welcome = b"trailers" in tokens(special[TE])
    if UPGRADE in special and options.upgrade and not options.close:
        request.upgrade = _upgrade(request, special[UPGRADE])


def _upgrade(request: Request, value: bytes) -> bytes:
    """The protocol to switch to, where it is one the gateway carries and the request can ask for it.

    RFC 9110 7.8 lets a server ignore Upgrade; RFC 6455 4.1: WebSocket is asked for by a GET of HTTP/1.1.
    """
    possible = request.method == b"GET" and request.version == "1.1" and request.length == 0
    return b"websocket" if possible and b"websocket" in tokens(value) else b""
