"""Lets browsers call from pages of other origins (CORS, as the Fetch standard has it).

It belongs first in a flow, in front of authentication: a browser's preflight carries no credentials, and
is answered here, never by the upstream. Everything after it, errors too, then carries the fields that let
the page read the answer.

`origins` are exact (`https://app.test`, with the port where it is not the scheme's own),
`https://*.app.test` for every name below, or `*` for all, which is refused together with `credentials`.
There is one `Access-Control-Allow-Origin` at most: the upstream's own is removed. `Vary: Origin` is added
wherever the answer depends on it. An origin that is not allowed gets its answer without these fields;
keeping others out is not what CORS is for.
"""

from __future__ import annotations

import re

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Duration, Method, Settings, Truth
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import Fault
from apigateway.flow.interfaces import IOnFault, IOnRequest, IOnResponse
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome, Reply
from apigateway.flow.services import Services
from apigateway.wire.headers import Headers

# RFC 6454 6.2: how a browser writes an origin: lower case, no path, no port that goes without saying.
_ORIGIN = re.compile(
    r"(https?)://(\*\.)?([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:[0-9]{1,5})?|null|\*"
)
_LABELS = re.compile(rb"[a-z0-9-]+(?:\.[a-z0-9-]+)*")
_TOKENS = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_TOKEN = r"^([!#$%&'*+.^_`|~0-9A-Za-z-]+)$"
_OWN = frozenset(
    (b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers")
)
_TOUCHED = _OWN | {b"vary"}
Lines = tuple[tuple[bytes, bytes], ...]


class Config(Settings):
    """Who may call from where, and how."""

    origins: tuple[str, ...] = Field(
        min_length=1, description='Origins that may: exact, "https://*.app.test", or "*".'
    )
    methods: tuple[Method, ...] = Field(default=("GET", "HEAD", "POST"), description="Methods they may use.")
    headers: tuple[str, ...] = Field(
        default=(), description='Request fields they may send; "*": whatever they ask for.'
    )
    expose: tuple[str, ...] = Field(default=(), description="Response fields that their scripts may read.")
    credentials: Truth = Field(default=False, description="Whether cookies and the like may be sent along.")
    max_age: Duration = Field(
        default=600.0, le=86400, description="How long browsers may remember a preflight."
    )


@implementer(IOnRequest, IOnResponse, IOnFault)
class Cors:
    """Lets browsers call from pages of other origins."""

    def __init__(self, config: Config) -> None:
        for origin in config.origins:
            _check_origin(origin)
        self._any = "*" in config.origins
        if self._any and config.credentials:
            raise ValueError(
                'origins: "*" together with credentials would open every page to every session; name them'
            )
        self._exact = frozenset(origin.encode() for origin in config.origins)
        self._patterns = tuple(_pattern(origin) for origin in config.origins if "*." in origin)
        self._any_header = "*" in config.headers
        self._preflight = _preflight_lines(config)
        shared: list[tuple[bytes, bytes]] = []
        if config.credentials:
            shared.append((b"access-control-allow-credentials", b"true"))
        self._shared: Lines = tuple(shared)
        exposed = ", ".join(_tokens("expose", config.expose)).encode()
        self._exposed: Lines = ((b"access-control-expose-headers", exposed),) if exposed else ()

    def provision(self, services: Services) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing to let go of."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Answer a preflight; any other request, an OPTIONS of another sort too, goes on."""
        request = exchange.request
        if request.method != b"OPTIONS" or b"access-control-request-method" not in request.headers:
            return None
        origin = request.headers.get(b"origin")
        if origin is None:
            return None
        allowed = self._allowed(origin)
        lines: list[tuple[bytes, bytes]] = []
        if allowed is not None:
            lines = [(b"access-control-allow-origin", allowed), *self._shared, *self._preflight]
            asked = request.headers.get(b"access-control-request-headers")
            if self._any_header and asked is not None and _TOKENS.fullmatch(asked):
                lines.append((b"access-control-allow-headers", asked))
        lines.append((b"vary", b"Origin, Access-Control-Request-Headers" if self._any_header else b"Origin"))
        return Reply(204, lines)

    def on_response(self, exchange: Exchange) -> Outcome:
        """Say who may read the answer, and nobody else does."""
        response = exchange.response
        if response is not None:
            headers = response.headers
            for name, _ in headers.lines:
                if name in _TOUCHED:
                    self._clean(headers)
                    break
            else:
                if not self._any:
                    headers.lines.append((b"vary", b"Origin"))
            origin = exchange.request.headers.get(b"origin")
            if origin is not None and (allowed := self._allowed(origin)) is not None:
                headers.lines += ((b"access-control-allow-origin", allowed), *self._shared, *self._exposed)
        return None

    def on_fault(self, exchange: Exchange, fault: Fault) -> Outcome:
        """A page may read errors, too."""
        return self.on_response(exchange)

    def _allowed(self, origin: bytes) -> bytes | None:
        """What Access-Control-Allow-Origin says to this origin; None: nothing."""
        if self._any:
            return b"*"
        if origin in self._exact or any(_matches(origin, *pattern) for pattern in self._patterns):
            return origin
        return None

    def _clean(self, headers: Headers) -> None:
        """Take out what the upstream said of this matter, and see to it that Vary names Origin."""
        headers.lines[:] = [line for line in headers.lines if line[0] not in _OWN]
        if not self._any:
            varies = [
                part.strip() for value in headers.get_all(b"vary") for part in value.lower().split(b",")
            ]
            if b"origin" not in varies and b"*" not in varies:
                headers.lines.append((b"vary", b"Origin"))


def _check_origin(origin: str) -> None:
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        raise ValueError(
            f'origins: {origin!r} is no origin; write scheme and host in lower case, as in "https://app.test"'
        )
    scheme, port = found[1], found[4]
    if (scheme, port) in (("http", ":80"), ("https", ":443")):
        raise ValueError(f"origins: browsers leave {port} out of {origin!r}; do so, too")


def _pattern(origin: str) -> tuple[bytes, bytes]:
    before, _, after = origin.partition("*")
    return before.encode(), after.encode()


def _matches(origin: bytes, before: bytes, after: bytes) -> bool:
    inside = len(origin) > len(before) + len(after) and origin.startswith(before) and origin.endswith(after)
    return inside and _LABELS.fullmatch(origin, len(before), len(origin) - len(after)) is not None


def _tokens(field: str, names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if re.fullmatch(_TOKEN, name) is None:
            raise ValueError(f"{field}: {name!r} is no field name")
    return names


def _preflight_lines(config: Config) -> Lines:
    lines = [(b"access-control-allow-methods", ", ".join(config.methods).encode())]
    named = [name for name in _tokens("headers", config.headers) if name != "*"]
    # With "*" what was asked for is repeated: browsers take "*" itself to leave out Authorization.
    if named and "*" not in config.headers:
        lines.append((b"access-control-allow-headers", ", ".join(named).encode()))
    lines.append((b"access-control-max-age", b"%d" % int(config.max_age)))
    return tuple(lines)


KIND = kind("cors", config=Config, policy=Cors)

_APP = ("Origin", "https://app.test")
_PREFLIGHT = ("Access-Control-Request-Method", "PUT")
_KEY = {"policy": "api-key", "with": {"header": "X-API-Key"}}

EXAMPLES = (
    Example(
        "One page may call, with a key; its preflight needs none, and errors can be read",
        {"origins": ["https://app.test"], "methods": ["GET", "PUT"], "headers": ["x-api-key"]},
        (
            Call(
                method="OPTIONS",
                headers=(_APP, _PREFLIGHT),
                status=204,
                sent=False,
                fields={
                    "access-control-allow-origin": "https://app.test",
                    "vary": "Origin",
                    "access-control-allow-methods": "GET, PUT",
                    "access-control-allow-headers": "x-api-key",
                    "access-control-max-age": "600",
                },
            ),
            Call(
                method="OPTIONS",
                headers=(("Origin", "https://evil.test"), _PREFLIGHT),
                status=204,
                sent=False,
                fields={"access-control-allow-origin": None, "access-control-allow-methods": None},
            ),
            Call(method="OPTIONS", status=401, sent=False),
            Call(
                method="PUT",
                headers=(_APP,),
                status=401,
                sent=False,
                fields={"access-control-allow-origin": "https://app.test"},
            ),
        ),
        then=(_KEY,),
    ),
    Example(
        "Every page of one domain, with cookies; the upstream's own opinion is replaced",
        {"origins": ["https://*.app.test"], "credentials": True, "expose": ["X-Total"]},
        (
            Call(
                headers=(("Origin", "https://shop.app.test"),),
                upstream=(200, (("Access-Control-Allow-Origin", "*"), ("Vary", "Accept")), b"ok"),
                status=200,
                fields={
                    "access-control-allow-origin": "https://shop.app.test",
                    "access-control-allow-credentials": "true",
                    "access-control-expose-headers": "X-Total",
                },
            ),
            Call(
                headers=(("Origin", "https://app.test.evil.test"),),
                status=200,
                fields={"access-control-allow-origin": None},
            ),
            Call(
                upstream=(200, (("Access-Control-Allow-Origin", "*"),), b"ok"),
                status=200,
                fields={"access-control-allow-origin": None, "vary": "Origin"},
            ),
        ),
    ),
    Example(
        "Open data",
        {"origins": ["*"], "headers": ["*"]},
        (
            Call(headers=(_APP,), status=200, fields={"access-control-allow-origin": "*", "vary": None}),
            Call(
                method="OPTIONS",
                headers=(_APP, _PREFLIGHT, ("Access-Control-Request-Headers", "authorization, x-one")),
                status=204,
                fields={"access-control-allow-headers": "authorization, x-one"},
            ),
        ),
    ),
)
