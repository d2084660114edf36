"""What RFC 9112 forbids, a rule each: what llhttp lets through is refused here.

Every rule raises Refused with the section it comes from, or returns what it read.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from apigateway.wire.errors import Refused
from apigateway.wire.fields import tokens

#: The methods that nearly all requests have: they need not be looked at twice.
COMMON_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))
VERSIONS: Final = {b"HTTP/1.1": "1.1", b"HTTP/1.0": "1.0"}
_VERSION_SHAPE: Final = re.compile(rb"HTTP/[0-9]\.[0-9]")
# At the end of a request line, be it not complete, or at the beginning of a status line.
_VERSION_IN_LINE: Final = re.compile(rb"(?:[^ \r\n]+ [^ \r\n]+ )?HTTP/[0-9]\.[0-9]")
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET: Final = re.compile(rb"[\x21-\x22\x24-\x7e]+")
_HOST: Final = re.compile(rb"(?:([A-Za-z0-9\-._~!$&'()*+;=]+)|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{0,5}))?")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ABSOLUTE: Final = re.compile(rb"(https?)://([^/?]*)([^\x00]*)", re.IGNORECASE)
# A name has at most 253 octets (RFC 1035 2.3.4), a port five: what is longer is not kept in a cache either.
_LONGEST_HOST: Final = 300
_LONGEST_BODY: Final = 2**63 - 1
_NOT_FOR_US: Final = frozenset((b"CONNECT", b"PRI"))

# Text in llhttp's reason -> the section that it enforces. First match counts.
_SECTIONS = (
    ("Transfer-Encoding", "RFC 9112 6.1"),
    ("Content-Length", "RFC 9112 6.3"),
    ("chunk", "RFC 9112 7.1"),
    ("Chunk", "RFC 9112 7.1"),
    ("url", "RFC 9112 3.2"),
    ("header token", "RFC 9112 5.1"),
    ("whitespace", "RFC 9112 5.2"),
    ("space after start line", "RFC 9112 2.2"),
    ("header", "RFC 9110 5.5"),
    ("HTTP/", "RFC 9112 2.3"),
    ("RTSP/", "RFC 9112 2.3"),
    ("version", "RFC 9112 2.3"),
    ("CR", "RFC 9112 2.2"),
    ("LF", "RFC 9112 2.2"),
)


def parser_refusal(reason: str, head: bytes) -> Refused:
    """What llhttp's complaint means. `head`: the octets of the head so far."""
    line = head.lstrip(b"\r\n").split(b"\r\n", 1)[0]
    if reason.startswith("Invalid method") and "RTSP/" not in reason:
        # RFC 9110 9.1: a method we do not know is 501; octets that are no method at all are 400.
        known_shape = is_token(line.split(b" ", 1)[0])
        return Refused(501 if known_shape else 400, "The method is not known.", "RFC 9110 9.1")
    if reason == "Invalid HTTP version" and _VERSION_IN_LINE.match(line):
        return unsupported_version()
    if line.startswith(b"PRI "):
        return unsupported_version()
    section = next((section for text, section in _SECTIONS if text in reason), "RFC 9112 2")
    return Refused(400, f"{reason}.", section)


def is_token(name: bytes) -> bool:
    """RFC 9110 5.6.2."""
    return _TOKEN.fullmatch(name) is not None


def is_target(target: bytes) -> bool:
    """Printable ASCII without a space or a fragment (RFC 9112 3.2): it cannot break the request line."""
    return _TARGET.fullmatch(target) is not None


def has_control(value: bytes) -> bool:
    """RFC 9110 5.5: CR, LF, NUL and their like in a value."""
    return _CONTROL.search(value) is not None


def unsupported_version() -> Refused:
    return Refused(505, "Only HTTP/1.0 and HTTP/1.1 are spoken here.", "RFC 9110 15.6.6")


def request_line(line: bytes, max_target: int) -> tuple[bytes, bytes, str]:
    """(method, target, version). RFC 9112 3: three words, single spaces, nothing else."""
    try:
        method, target, protocol = line.split(b" ")
    except ValueError:
        raise Refused(400, "The request line is not a method, a target and a version.", "RFC 9112 3") from None
    version = VERSIONS.get(protocol)
    if version is None:
        if _VERSION_SHAPE.fullmatch(protocol):
            raise unsupported_version()
        raise Refused(400, "The HTTP version is not well-formed.", "RFC 9112 2.3")
    if method in _NOT_FOR_US:
        if method == b"PRI":
            raise unsupported_version()  # the preface of HTTP/2 (RFC 9113 3.4), whatever version it names
        raise Refused(501, "CONNECT is not offered: this is no forward proxy.", "RFC 9110 9.3.6")
    if len(target) > max_target:
        raise Refused(414, "The request target is too long.", "RFC 9110 15.5.15")
    if _TARGET.fullmatch(target) is None:
        raise Refused(400, "The request target holds a character that it may not.", "RFC 9112 3.2")
    return method, target, version


def origin_form(method: bytes, target: bytes, scheme: str) -> tuple[bytes, bytes | None]:
    """(target in origin-form or "*", authority that the target named or None). RFC 9112 3.2."""
    if target[0] == 0x2F:
        return target, None
    if target == b"*":
        if method != b"OPTIONS":
            raise Refused(400, "The target * is for OPTIONS only.", "RFC 9112 3.2.4")
        return target, None
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Refused(400, "The request target is neither a path nor an http URI.", "RFC 9112 3.2")
    if absolute[1].lower() != scheme.encode():
        raise Refused(400, "The target's scheme is not the listener's.", "RFC 9110 7.4")
    if not valid_host(absolute[2]):
        raise Refused(400, "The target's host is not valid.", "RFC 9110 4.2.4")
    rest = absolute[3]
    if not rest and method == b"OPTIONS":
        return b"*", absolute[2]  # RFC 9112 3.2.4: the last proxy turns it back
    return (rest if rest.startswith(b"/") else b"/" + rest), absolute[2]


def valid_host(host: bytes) -> bool:
    """RFC 9110 7.2, 4.2.1: a name or address, not empty, no userinfo, maybe a port up to 65535.

    Stricter than RFC 3986 3.2.2 in two: no comma (two Host fields joined) and no percent-encoding.
    """
    return len(host) <= _LONGEST_HOST and _valid_host(host)


@lru_cache(512)
def _valid_host(host: bytes) -> bool:
    match = _HOST.fullmatch(host)
    if match is None or int(match[3] or 0) > 65535:
        return False
    if match[2] is None:
        return True
    try:
        IPv6Address(match[2].decode("ascii"))
    except AddressValueError:
        return False
    return True


def authority(host: bytes | None, named: bytes | None, version: str) -> bytes:
    """The authority of a request; host: its Host fields joined, named: what an absolute target said.

    RFC 9112 3.2: one valid Host is needed, in HTTP/1.0 none is; 3.2.2: the target's wins.
    """
    if host is None:
        if version == "1.1":
            raise Refused(400, "There is no Host field.", "RFC 9112 3.2")
        return named or b""
    if not valid_host(host):
        raise Refused(400, "There is not exactly one valid Host field.", "RFC 9112 3.2")
    return host if named is None else named


def body_length(length: bytes | None, coding: bytes | None, version: str) -> int | None:
    """Octets that Content-Length announces (0 without one); None for chunked. RFC 9112 6.1, 6.3.

    Repeated fields come joined by ", ", so that two Content-Length are no number.
    """
    if coding is not None:
        if length is not None:
            raise Refused(400, "Content-Length and Transfer-Encoding came together.", "RFC 9112 6.1")
        if version == "1.0":
            raise Refused(400, "HTTP/1.0 knows no Transfer-Encoding.", "RFC 9112 6.1")
        _only_chunked(coding)
        return None
    if length is None:
        return 0
    if not length.isdigit() or len(length) > 19 or int(length) > _LONGEST_BODY:
        raise Refused(400, "Content-Length is not one number.", "RFC 9112 6.3")
    return int(length)


def body_within(octets: int, limit: int | None) -> None:
    """A body of so many octets is within max_body (RFC 9110 15.5.14)."""
    if limit is not None and octets > limit:
        raise Refused(413, "The body is too large.", "RFC 9110 15.5.14")


def _only_chunked(coding: bytes) -> None:
    codings = tokens(coding)
    if codings == [b"chunked"]:
        return
    if codings[-1] != b"chunked" or b"identity" in codings or codings.count(b"chunked") > 1 or b"" in codings:
        raise Refused(400, "Transfer-Encoding does not end in one chunked.", "RFC 9112 6.3")
    raise Refused(501, "Of transfer codings only chunked is known.", "RFC 9112 6.1")


def expects_continue(value: bytes | None, version: str, has_body: bool) -> bool:
    """Whether the client waits for a 100 (RFC 9110 10.1.1); HTTP/1.0 cannot, and needs not without a body."""
    if value is None:
        return False
    if value.strip(b" \t").lower() != b"100-continue":
        raise Refused(417, "Only the expectation 100-continue can be met.", "RFC 9110 10.1.1")
    return has_body and version == "1.1"


def status_line(line: bytes) -> tuple[str, int, bytes]:
    """(version, status, reason) of a response. RFC 9112 4; status 100 to 599 (RFC 9110 15)."""
    version = VERSIONS.get(line[:8])
    code = line[9:12]
    shaped = line[8:9] == b" " and code.isdigit() and len(code) == 3 and line[12:13] in (b" ", b"")
    if version is None or not shaped or not 100 <= int(code) <= 599:
        raise Refused(502, "The status line is not valid.", "RFC 9112 4")
    reason = line[13:]
    if has_control(reason):
        raise Refused(502, "The reason phrase holds a control character.", "RFC 9112 4")
    return version, int(code), reason
