"""What an expression may name, and how each is read from an exchange.

Field values and cookies are ISO 8859-1, so that any octet survives (Headers.text); path and query are UTF-8 once
decoded, and ISO 8859-1 where they are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_to_bytes

from apigateway.body import BodyError
from apigateway.flow.exchange import Exchange, Identity, PeerCertificate
from apigateway.flow.expression_values import Allowance, Wanted, tree_value, xml_value
from apigateway.flow.faults import BAD_REQUEST, INTERNAL, Fault
from apigateway.flow.hostnames import normal_host
from apigateway.ports.interfaces import IClock
from apigateway.wire.cookies import cookie_values
from apigateway.wire.fields import FORWARDED, HOST, PLAIN, REQUEST_FIELDS, RESPONSE_FIELDS
from apigateway.wire.headers import Headers

Getter = Callable[[Exchange], Any]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value; many: it is a list."""

    get: Getter
    many: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Many values by name, read one by one where names are literal.

    rows: every (name, value) of an exchange in order, a name perhaps repeated. values: all values of one name.
    key: the form in which a name is compared (ValueError: it is not to be had). every: a name stands for the list of
    its values, instead of for the first one, or "" where there is none.
    """

    rows: Callable[[Exchange], Iterable[tuple[str, str]]]
    values: Callable[[Exchange, str], list[str]]
    key: Callable[[str], str] = str
    every: bool = False

    def find(self, name: str) -> Getter:
        """The getter of one name, given in the form of `key`."""
        values = self.values
        if self.every:
            return lambda exchange: values(exchange, name)

        def get(exchange: Exchange) -> str:
            found = values(exchange, name)
            return found[0] if found else ""

        return get

    def has(self, name: str) -> Getter:
        """The getter that tells whether there is such a name."""
        return lambda exchange: bool(self.values(exchange, name))

    def whole(self, exchange: Exchange) -> dict[str, Any]:
        """All of it, as a map."""
        table: dict[str, list[str]] = {}
        for name, value in self.rows(exchange):
            table.setdefault(name, []).append(value)
        Allowance().spend(sum(map(len, table.values())))
        return dict(table) if self.every else {name: values[0] for name, values in table.items()}


@dataclass(frozen=True, slots=True)
class Tree:
    """Values inside values. get: those of an exchange that are wanted. body: made from the request's body, so read
    only if the evaluation gets there."""

    get: Callable[[Exchange, Wanted, Allowance], Any]
    body: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Names under a name; no value by itself."""

    members: Mapping[str, Node]


Node = Leaf | Table | Tree | Group


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an expression is compiled for. clock: None where `time` cannot be named."""

    response_side: bool = False
    clock: IClock | None = None
    environment: str = "default"


NOTHING_AROUND = Surroundings()


def variables(around: Surroundings) -> dict[str, Node]:
    """Every name an expression may begin with."""
    found: dict[str, Node] = {**_REQUEST_SIDE, "env": Leaf(lambda exchange: around.environment)}
    if around.response_side:
        found["response"] = _RESPONSE
    if around.clock is not None:
        wall = around.clock.wall
        found["time"] = Group({"now": Leaf(lambda exchange: datetime.fromtimestamp(wall(), UTC))})
    return found


def _unescaped(octets: bytes) -> str:
    if b"%" in octets:
        octets = unquote_to_bytes(octets)
    return _text(octets)


def _text(octets: bytes) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _latin(octets: bytes) -> str:
    return octets.decode("latin-1")


# -- fields


def _request_field_name(name: str) -> str:
    # What the wire keeps to itself would read "" for ever, and a guard on it would never hold.
    octets, kind = REQUEST_FIELDS.look_up(name.encode())
    if kind == FORWARDED:
        raise ValueError(f"the field {name!r} is not to be trusted; name client.ip, request.host or request.scheme")
    if kind not in (PLAIN, HOST):
        raise ValueError(f"the field {name!r} is for one connection only and cannot be named")
    return octets.decode()


def _response_field_name(name: str) -> str:
    octets, kind = RESPONSE_FIELDS.look_up(name.encode())
    if kind not in (PLAIN, HOST):
        raise ValueError(f"the field {name!r} is for one connection only and cannot be named")
    return octets.decode()


def _request_rows(exchange: Exchange) -> Iterator[tuple[str, str]]:
    # Host is not among the lines, the wire made it the authority; whoever writes a condition looks for it here.
    yield "host", _latin(exchange.request.authority)
    yield from _rows(exchange.request.headers)


def _response_rows(exchange: Exchange) -> Iterator[tuple[str, str]]:
    return _rows(_response(exchange).headers)


def _rows(headers: Headers) -> Iterator[tuple[str, str]]:
    for name, value in headers.lines:
        yield _latin(name), _latin(value)


def _request_values(exchange: Exchange, name: str) -> list[str]:
    if name == "host":
        return [_latin(exchange.request.authority)]
    return _values_of(exchange.request.headers, name)


def _response_values(exchange: Exchange, name: str) -> list[str]:
    return _values_of(_response(exchange).headers, name)


def _values_of(headers: Headers, name: str) -> list[str]:
    octets = name.encode()
    return [value.decode("latin-1") for key, value in headers.lines if key == octets]


def _response(exchange: Exchange) -> Any:
    if exchange.response is None:
        raise Fault(INTERNAL, private="an expression names the response before there is one")
    return exchange.response


# -- query and cookies


def _query_rows(exchange: Exchange) -> Iterator[tuple[str, str]]:
    for part in (exchange.request.query or b"").split(b"&"):
        name, _, value = part.partition(b"=")
        if name:
            yield _unquoted(name), _unquoted(value)


def _unquoted(octets: bytes) -> str:
    return _unescaped(octets.replace(b"+", b" "))


def _cookie_rows(exchange: Exchange) -> Iterator[tuple[str, str]]:
    # RFC 6265 4.2.1. HTTP/2 may split the field (RFC 9113 8.2.3), so all of them are read.
    for line in exchange.request.headers.get_all(b"cookie"):
        for part in line.split(b";"):
            name, equals, value = part.partition(b"=")
            if equals:
                yield _latin(name.strip(b" \t")), _latin(value.strip(b" \t"))


def _query_values(exchange: Exchange, name: str) -> list[str]:
    octets = name.encode()
    found: list[str] = []
    for part in (exchange.request.query or b"").split(b"&"):
        key, _, value = part.partition(b"=")
        if (key and key == octets) or ((b"%" in key or b"+" in key) and _unquoted(key) == name):
            found.append(_unquoted(value))
    return found


def _cookie_values(exchange: Exchange, name: str) -> list[str]:
    return cookie_values(exchange.request.headers, name)


# -- the rest


def _host(exchange: Exchange) -> str:
    return normal_host(_latin(exchange.request.authority))


def _path(exchange: Exchange) -> str:
    # Decoding keeps no trace of an encoded slash: a rule against /admin/ holds for /admin%2F too.
    # What the client asked for, whatever stripping and rewriting made of it since.
    path = exchange.request.received.partition(b"?")[0]
    if b";" in path or b"%3" in path:
        # Match takes /admin;x for /admin (path_tree.walk): what guards the one has to hold for the other.
        segments = [unquote_to_bytes(raw).partition(b";")[0] for raw in path.split(b"/")]
        return _text(b"/".join(segments))
    return _unescaped(path)


def _json(exchange: Exchange, wanted: Wanted, allowance: Allowance) -> Any:
    return tree_value(_body_view(exchange, "json", "JSON"), wanted, allowance)


def _xml(exchange: Exchange, wanted: Wanted, allowance: Allowance) -> Any:
    return xml_value(_body_view(exchange, "xml", "XML"), wanted, allowance)


def _body_view(exchange: Exchange, view: str, called: str) -> Any:
    body = exchange.request.body
    if body is None:
        raise Fault(INTERNAL, private=f"an expression names request.{view} and the body was not buffered")
    try:
        return getattr(body, view)
    except BodyError as error:
        raise Fault(
            BAD_REQUEST, public=f"The request body could not be read as {called}", private=str(error)
        ) from None


def _identity(exchange: Exchange) -> Identity:
    return exchange.identity or _NOBODY


def _claims(exchange: Exchange, wanted: Wanted, allowance: Allowance) -> Any:
    return tree_value(_identity(exchange).claims, wanted, allowance)


def _params(exchange: Exchange, wanted: Wanted, allowance: Allowance) -> Any:
    return tree_value(exchange.params, wanted, allowance)


def _certificate(exchange: Exchange) -> PeerCertificate:
    return exchange.connection.certificate or _NO_CERTIFICATE


def _values(values: Iterable[str]) -> list[str]:
    listed = list(values)
    Allowance().spend(len(listed))
    return listed


_NOBODY = Identity()
_NO_CERTIFICATE = PeerCertificate(b"")

_REQUEST_SIDE: dict[str, Node] = {
    "request": Group(
        {
            "method": Leaf(lambda exchange: _latin(exchange.request.method)),
            "scheme": Leaf(lambda exchange: exchange.request.scheme),
            "host": Leaf(_host),
            "path": Leaf(_path),
            "target": Leaf(lambda exchange: _latin(exchange.request.received)),
            "version": Leaf(lambda exchange: exchange.request.version),
            "query": Table(_query_rows, _query_values),
            "headers": Table(_request_rows, _request_values, _request_field_name),
            "headers_all": Table(_request_rows, _request_values, _request_field_name, every=True),
            "cookies": Table(_cookie_rows, _cookie_values),
            "json": Tree(_json, body=True),
            "xml": Tree(_xml, body=True),
        }
    ),
    "client": Group(
        {
            "ip": Leaf(lambda exchange: exchange.client),
            "cert": Group(
                {
                    "subject": Leaf(lambda exchange: _certificate(exchange).subject),
                    "fingerprint": Leaf(lambda exchange: _certificate(exchange).fingerprint),
                }
            ),
        }
    ),
    "identity": Group(
        {
            "known": Leaf(lambda exchange: exchange.identity is not None),
            "consumer": Leaf(lambda exchange: _identity(exchange).consumer),
            "subject": Leaf(lambda exchange: _identity(exchange).subject),
            "roles": Leaf(lambda exchange: _values(_identity(exchange).roles), many=True),
            "scopes": Leaf(lambda exchange: _values(_identity(exchange).scopes), many=True),
            "claims": Tree(_claims),
        }
    ),
    "route": Group(
        {
            "api": Leaf(lambda exchange: exchange.api),
            "name": Leaf(lambda exchange: exchange.route),
            "version": Leaf(lambda exchange: exchange.version),
            "params": Tree(_params),
        }
    ),
}
_RESPONSE = Group(
    {
        "status": Leaf(lambda exchange: _response(exchange).status),
        "headers": Table(_response_rows, _response_values, _response_field_name),
    }
)
ROOTS = frozenset({*_REQUEST_SIDE, "env", "response", "time"})
