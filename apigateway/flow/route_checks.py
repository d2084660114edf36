"""What a route asks of a request beyond host, path and method; each check says what it looks at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote_to_bytes

from apigateway.flow.exchange import Exchange
from apigateway.flow.interfaces import ICondition
from apigateway.wire.message import Request

PRESENT = "*"

# One media range parameter (RFC 9110 5.6.6), or the comma that ends the range; quoted strings are taken
# whole.
_PARAMETER = re.compile(r';\s*([^\s=;,"]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)|"(?:[^"\\]|\\.)*"')


class Check(Protocol):
    """One question about a request. about: what it looks at, for people ("header x-beta")."""

    @property
    def about(self) -> str: ...

    def holds(self, exchange: Exchange) -> bool:
        """The answer; only a `when` can raise (Fault)."""
        ...


@dataclass(frozen=True, slots=True)
class HeaderCheck:
    """A field has this value, or is there at all; of a repeated one the first line counts, as in
    conditions."""

    name: bytes
    value: bytes | None

    @property
    def about(self) -> str:
        return f"header {self.name.decode('latin-1')}"

    def holds(self, exchange: Exchange) -> bool:
        found = exchange.request.headers.get(self.name)
        return found is not None and (self.value is None or found == self.value)


@dataclass(frozen=True, slots=True)
class QueryCheck:
    """A pair of the query has this value, or is there at all; of a repeated one the first counts."""

    name: str
    value: str | None

    @property
    def about(self) -> str:
        return f"query {self.name}"

    def holds(self, exchange: Exchange) -> bool:
        found = query_value(exchange.request.query, self.name)
        return found is not None and (self.value is None or found == self.value)


@dataclass(frozen=True, slots=True)
class WhenCheck:
    """A condition of the route; it sees the request and the client, since no route is known yet."""

    condition: ICondition
    source: str

    @property
    def about(self) -> str:
        return f"when {self.source}"

    def holds(self, exchange: Exchange) -> bool:
        return self.condition.holds(exchange)


@dataclass(frozen=True, slots=True)
class VersionCheck:
    """The request asks for this version of an Api, or for none where `default`."""

    source: str
    name: str
    version: str
    default: bool

    @property
    def about(self) -> str:
        return f"version {self.version}"

    def holds(self, exchange: Exchange) -> bool:
        asked = self._asked(exchange.request)
        return asked == self.version or (self.default and not asked)

    def _asked(self, request: Request) -> str:
        if self.source == "header":
            return request.headers.text(self.name.lower().encode("latin-1", "replace"))
        if self.source == "query":
            return query_value(request.query, self.name) or ""
        return media_type_parameter(request, self.name)


def query_value(query: bytes | None, name: str) -> str | None:
    """The value of the first pair of this name, decoded as forms do ("+" is a space); "" where there is no
    "="."""
    for pair in (query or b"").split(b"&"):
        key, _, value = pair.partition(b"=")
        if key and _decoded(key) == name:
            return _decoded(value)
    return None


def _decoded(octets: bytes) -> str:
    return unquote_to_bytes(octets.replace(b"+", b" ")).decode("utf-8", "surrogateescape")


def media_type_parameter(request: Request, name: str) -> str:
    """The first parameter of this name in Accept, whatever range it belongs to; "" where there is none."""
    accept = ", ".join(value.decode("latin-1") for value in request.headers.get_all(b"accept"))
    for key, value in _parameters(accept):
        if key.lower() == name.lower():
            return value
    return ""


def _parameters(field: str) -> Iterator[tuple[str, str]]:
    for found in _PARAMETER.finditer(field):
        if found[1] is not None:
            value = found[2]
            yield found[1], re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
