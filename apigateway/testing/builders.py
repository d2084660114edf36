"""Messages and exchanges for tests, with defaults for whatever a test does not speak of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from apigateway.flow.exchange import Connection, Exchange
from apigateway.wire.headers import Headers, checked
from apigateway.wire.http1_server import Http1Server
from apigateway.wire.limits import Limits
from apigateway.wire.message import Refusal, Request, Response

# Field lines as pairs, or as a mapping where none is repeated; text stands for its ISO 8859-1 octets.
Fields = Iterable[tuple[str | bytes, str | bytes]] | Mapping[str, str]

CLIENT = "203.0.113.9"
# A test may want what no listener would let in.
_LIMITS = Limits(max_target=1 << 20, max_head=1 << 22, max_field=1 << 22, max_fields=10_000)


def request(
    method: str = "GET",
    target: str | bytes = "/",
    headers: Fields = (),
    body: bytes = b"",
    *,
    host: str = "gw.test",
    scheme: str = "http",
    version: str = "1.1",
    chunked: bool = False,
) -> Request:
    """A request head as the gateway's own reader makes it: names in lower case, Host as `authority`, fields of the
    connection and of proxies taken out.

    body: decides the announced length only. chunked: announce none. ValueError for what the reader refuses.
    """
    lines = [(octets(name), octets(value)) for name, value in _pairs(headers)]
    for name, value in lines:
        _check(name, value)
    names = {name.lower() for name, _ in lines}
    if b"host" not in names:
        lines.insert(0, (b"Host", octets(host)))
    if chunked:
        lines.append((b"Transfer-Encoding", b"chunked"))
    elif b"content-length" not in names and (body or method in ("POST", "PUT", "PATCH")):
        lines.append((b"Content-Length", b"%d" % len(body)))
    head = b"%b %b HTTP/%b\r\n" % (octets(method), octets(target), octets(version))
    events = Http1Server(_LIMITS, scheme).feed(head + b"".join(b"%b: %b\r\n" % line for line in lines) + b"\r\n")
    first = events[0] if events else None
    if isinstance(first, Refusal):
        raise ValueError(f"no request: {first.detail} ({first.section})")
    if not isinstance(first, Request):
        raise ValueError(f"no request: {head!r}")
    return first


def response(
    status: int = 200, headers: Fields = (), body: bytes = b"", *, to: str = "GET", chunked: bool = False
) -> Response:
    """A response head as it comes from an upstream. to: the method it answers. chunked: announce no length."""
    bodiless = to == "HEAD" or status in (101, 204, 304)
    lines = [(octets(name).lower(), octets(value)) for name, value in _pairs(headers)]
    announced = [int(value) for name, value in lines if name == b"content-length"]
    length = announced[0] if announced else None if chunked or status in (101, 204) else len(body)
    kept = [line for line in lines if line[0] not in (b"content-length", b"transfer-encoding")]
    return Response(status, Headers(kept), length=length, bodiless=bodiless)


def exchange(
    of: Request | None = None,
    answer: Response | None = None,
    *,
    client: str = CLIENT,
    connection: Connection | None = None,
    id: str = "e1",
) -> Exchange:
    """An exchange for hooks that are called by hand; with `answer`, its response has come."""
    of = request() if of is None else of
    made = Exchange(id, of, connection or Connection(peer=client, scheme=of.scheme), client, 0.0)
    made.response = answer
    return made


def octets(text: str | bytes) -> bytes:
    """Text as the octets that stand for it in a head."""
    return text if isinstance(text, bytes) else text.encode("latin-1")


def _check(name: bytes, value: bytes) -> None:
    """A value that would end its line would make another field of its rest."""
    try:
        checked(name.lower(), value)
    except ValueError as error:
        raise ValueError(f"no request: {error}") from None


def _pairs(headers: Fields) -> Iterable[tuple[str | bytes, str | bytes]]:
    return headers.items() if isinstance(headers, Mapping) else headers
