"""Which fields of a head the gateway reads itself, and which it only passes on."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, TypeVar

_T = TypeVar("_T")

# What a field is for us. Everything that is not PLAIN stays out of Headers.
PLAIN: Final = 0
HOST: Final = 1
LENGTH: Final = 2
CODING: Final = 3
CONNECTION: Final = 4
TE: Final = 5
UPGRADE: Final = 6
EXPECT: Final = 7
KEEP_ALIVE: Final = 8
FORWARDED: Final = 9
DROPPED: Final = 10

_FRAMING = {
    b"connection": CONNECTION,
    b"content-length": LENGTH,
    b"keep-alive": KEEP_ALIVE,
    b"proxy-connection": DROPPED,
    b"transfer-encoding": CODING,
    b"upgrade": UPGRADE,
}

#: Names that a message's writer sets itself; it skips them wherever they came from.
WRITERS_OWN: Final = frozenset((*_FRAMING, b"te", b"trailer"))

# RFC 9110 6.5.1: nothing that frames, routes, authenticates or changes how the content is read.
_NOT_IN_TRAILERS: Final = WRITERS_OWN | {
    b"age",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"cookie",
    b"date",
    b"expect",
    b"expires",
    b"host",
    b"location",
    b"max-forwards",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"vary",
    b"www-authenticate",
}

# RFC 9110 5.6.2, in lower case.
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_MOST_NAMES: Final = 1024
_LONGEST_NAME: Final = 64
_LONGEST_LINE: Final = 256

#: Fields whose lines are remembered: those that say the same in most messages, and can hold no secret.
REMEMBERED: Final = frozenset(
    (
        b"accept", b"accept-charset", b"accept-encoding", b"accept-language", b"access-control-allow-credentials",
        b"access-control-allow-headers", b"access-control-allow-methods", b"access-control-allow-origin",
        b"access-control-expose-headers", b"access-control-max-age", b"cache-control", b"content-encoding",
        b"content-language", b"content-type", b"date", b"dnt", b"origin", b"pragma", b"priority",
        b"referrer-policy", b"sec-ch-ua", b"sec-ch-ua-mobile", b"sec-ch-ua-platform", b"sec-fetch-dest",
        b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user", b"server", b"strict-transport-security",
        b"upgrade-insecure-requests", b"user-agent", b"vary", b"via", b"x-content-type-options", b"x-frame-options",
        b"x-powered-by", b"x-requested-with",
    )
)


class FieldTable:
    """Maps a field name as sent to its lower-case form and what it is for us.

    `names` (name as sent -> lower-case name and kind) is looked up once per field line. `lines` (an ordinary line as
    sent -> its field) saves even that: clients repeat most of their lines. Both are bounded in count and length, so
    that what a client invents cannot fill them; `look_up` and `remember` fill them.
    """

    __slots__ = ("_forwarded", "_kinds", "lines", "names")

    def __init__(self, kinds: dict[bytes, int], *, forwarded: bool) -> None:
        self._kinds = kinds
        self._forwarded = forwarded
        self.names: dict[bytes, tuple[bytes, int]] = {}
        self.lines: dict[bytes, tuple[bytes, bytes]] = {}

    def look_up(self, name: bytes) -> tuple[bytes, int]:
        """(lower-case name, kind) of a name not met before."""
        lower = name.lower()
        answer = lower, self.kind(lower)
        if len(name) <= _LONGEST_NAME:
            _remember(self.names, name, answer)
        return answer

    def remember(self, line: bytes, field: tuple[bytes, bytes]) -> None:
        """Keep an ordinary line of a REMEMBERED name that was found to be one, unless it is long."""
        if len(line) <= _LONGEST_LINE:
            _remember(self.lines, line, field)

    def kind(self, lower: bytes) -> int:
        """What a field of this name, in lower case, is for us."""
        kind = self._kind_of(lower)
        if kind == PLAIN and b"_" in lower and self._forwarded and _TOKEN.fullmatch(lower) is not None:
            # Many servers read X_Real_IP and Content_Length as the names with a dash: a way around us. What is no name
            # stays what it is, and is refused.
            return DROPPED if self._kind_of(lower.replace(b"_", b"-")) != PLAIN else PLAIN
        return kind

    def _kind_of(self, lower: bytes) -> int:
        if self._forwarded and lower.startswith(b"x-forwarded-"):
            return FORWARDED
        return self._kinds.get(lower, PLAIN)


def _remember(names: dict[bytes, _T], name: bytes, answer: _T) -> None:
    if len(names) >= _MOST_NAMES:
        names.clear()
    names[name] = answer


# RFC 9110 7.6.1 and 11.7.2 (Proxy-Authorization is for the nearest proxy); HTTP2-Settings belongs to
# Upgrade: h2c.
REQUEST_FIELDS: Final = FieldTable(
    {
        **_FRAMING,
        b"expect": EXPECT,
        b"forwarded": FORWARDED,
        b"host": HOST,
        b"http2-settings": DROPPED,
        b"proxy-authorization": DROPPED,
        b"te": TE,
        b"x-forwarded": FORWARDED,
        b"x-real-ip": FORWARDED,
    },
    forwarded=True,
)

RESPONSE_FIELDS: Final = FieldTable(
    {**_FRAMING, b"proxy-authenticate": DROPPED, b"proxy-authentication-info": DROPPED, b"te": DROPPED},
    forwarded=False,
)


def tokens(value: bytes) -> list[bytes]:
    """The members of a comma-separated list, trimmed, lower-case; empty ones too."""
    return [member.strip(b" \t").lower() for member in value.split(b",")]


class ConnectionOptions:
    """A Connection field, read (RFC 9110 7.6.1). names: the fields it says are for this hop only."""

    __slots__ = ("close", "keep_alive", "names", "upgrade")

    def __init__(self, value: bytes) -> None:
        options = set(tokens(value))
        self.close = b"close" in options
        self.keep_alive = b"keep-alive" in options
        self.upgrade = b"upgrade" in options
        self.names = frozenset(options - {b"close", b"keep-alive", b"upgrade", b""})

    def persistent(self, version: str) -> bool:
        """Whether the connection may be used again (RFC 9112 9.3)."""
        return not self.close and (version == "1.1" or self.keep_alive)


_remembered: Final = lru_cache(256)(ConnectionOptions)
NO_OPTIONS: Final = ConnectionOptions(b"")


def connection_options(value: bytes | None) -> ConnectionOptions:
    """The options of a Connection field; the short ones are remembered."""
    if value is None:
        return NO_OPTIONS
    return _remembered(value) if len(value) <= _LONGEST_NAME else ConnectionOptions(value)


def allowed_trailers(lines: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The trailer fields (names in lower case) that may be passed on (RFC 9110 6.5.1).

    Not what the gateway takes out of a request's head, either: who merges trailers into the head would
    believe an X-Forwarded-For that nobody has looked at.
    """
    return [
        line for line in lines if line[0] not in _NOT_IN_TRAILERS and REQUEST_FIELDS.kind(line[0]) == PLAIN
    ]
