"""Finds the consumer by the API key that a request carries.

The key is looked for in a `header`, a `query` pair, a `cookie`, or any of them; where none is named, in
the header `X-API-Key`. Configurations hold the SHA-256 of keys only (`apigateway hash-key`); a consumer
may have several, each with an end of its own. With `hide` (the default) the upstream does not get to see
the key; every other byte of the request stays as it was. In the access log the value of a pair of the name
`query` is never shown, of a request that is refused neither.

No key, an unknown one and one past its end are answered 401 with `WWW-Authenticate`; a request that
carries more than one is answered 400, because two readers could take different ones. With `anonymous` a
request without a key goes on without an identity; a wrong key is refused all the same.

`forward` names the fields in which the upstream is told who calls. What clients send under those names,
also with `_` for `-` or behind the body, is dropped, identity or not.
"""

from __future__ import annotations

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Settings, Truth
from apigateway.flow.exchange import IDENTITY, Exchange, Identity
from apigateway.flow.faults import BAD_REQUEST, UNAUTHENTICATED, Fault
from apigateway.flow.field_text import field_name, literal_value
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome
from apigateway.flow.services import KeyHolder, Services
from apigateway.wire.cookies import cookie_values, remove_cookie
from apigateway.wire.headers import folded
from apigateway.wire.target import query_values, remove_query_pair

DEFAULT_HEADER = "X-API-Key"
Lines = tuple[tuple[bytes, bytes], ...]


class Forward(Settings):
    """Fields in which the upstream is told who calls."""

    consumer: str | None = Field(default=None, description="Field that gets the consumer's name.")
    roles: str | None = Field(default=None, description="Field that gets its roles, separated by commas.")
    scopes: str | None = Field(default=None, description="Field that gets its scopes, separated by spaces.")


class Config(Settings):
    """Where the key stands, and what becomes of it."""

    header: str | None = Field(
        default=None, description="Header field with the key; X-API-Key where no place is named at all."
    )
    query: str | None = Field(default=None, min_length=1, description="Name of a query pair with the key.")
    cookie: str | None = Field(default=None, min_length=1, description="Name of a cookie with the key.")
    hide: Truth = Field(default=True, description="Take the key out of what the upstream gets.")
    anonymous: Truth = Field(
        default=False, description="Let requests without any key go on, without an identity."
    )
    realm: str = Field(
        default="api", pattern=r"^[ !#-\[\]-~]+$", description="What WWW-Authenticate calls the place."
    )
    forward: Forward = Field(default=Forward(), description="Fields in which the upstream is told who calls.")


@implementer(IOnRequest)
class ApiKey:
    """Finds the consumer by the API key that a request carries."""

    def __init__(self, config: Config) -> None:
        nowhere = config.header is None and config.query is None and config.cookie is None
        header = DEFAULT_HEADER if nowhere else config.header
        self._header = None if header is None else field_name(header)
        self._query, self._cookie = config.query, config.cookie
        self._hide, self._anonymous = config.hide, config.anonymous
        self._forward = config.forward
        named = (config.forward.consumer, config.forward.roles, config.forward.scopes)
        self._told = frozenset(folded(field_name(name)) for name in named if name is not None)
        self._challenge = ((b"www-authenticate", b'ApiKey realm="%s"' % config.realm.encode("ascii")),)
        self._known: dict[str, tuple[Identity, Lines]] = {}
        self._services: Services | None = None

    def provision(self, services: Services) -> None:
        """Take the revision's consumers, and have the logs hide keys in queries, of refused requests, too."""
        self._services = services
        if self._query is not None:
            services.hide_in_logs(self._query)

    def close(self) -> None:
        """Let go of them."""
        self._known.clear()

    def on_request(self, exchange: Exchange) -> Outcome:
        """Find the key and its holder, or refuse."""
        if self._told:
            exchange.request.withhold(self._told)
        key = self._key(exchange)
        if key is None:
            if self._anonymous:
                return None
            raise Fault(UNAUTHENTICATED, public="An API key is required.", headers=self._challenge)
        identity, lines = self._holder(key)
        exchange.put(IDENTITY, identity)
        if self._hide:
            self._take_out(exchange)
        exchange.request.headers.lines += lines
        return None

    def _key(self, exchange: Exchange) -> str | None:
        headers = exchange.request.headers
        found: list[str] = []
        if self._header is not None:
            found = [_utf8(value) for name, value in headers.lines if name == self._header]
        if self._query is not None:
            found += query_values(exchange.request.query, self._query)
        if self._cookie is not None:
            found += [_utf8(value.encode("latin-1")) for value in cookie_values(headers, self._cookie)]
        if len(found) > 1:
            raise Fault(BAD_REQUEST, public="The request carries more than one API key.")
        return found[0] if found else None

    def _holder(self, key: str) -> tuple[Identity, Lines]:
        services = self._services
        holder = None if services is None else services.consumers.by_key(key)
        if holder is None or services is None:
            raise self._invalid("The API key is not valid.", "unknown API key")
        if holder.expires is not None and holder.expires <= services.clock.wall():
            raise self._invalid("The API key has expired.", f"expired key of consumer {holder.consumer.name}")
        known = self._known.get(holder.sha256)
        if known is None:
            known = self._known[holder.sha256] = (_identity(holder), self._lines(holder))
        return known

    def _invalid(self, public: str, private: str) -> Fault:
        return Fault(UNAUTHENTICATED, public=public, private=private, headers=self._challenge)

    def _take_out(self, exchange: Exchange) -> None:
        request = exchange.request
        if self._header is not None:
            request.headers.remove(self._header)
        if self._query is not None:
            target = remove_query_pair(request.target, self._query)
            if target != request.target:
                request.retarget(target)
                # Conditions read what the client asked for; they are not to show the key.
                request.received = remove_query_pair(request.received, self._query)
        if self._cookie is not None:
            remove_cookie(request.headers, self._cookie)

    def _lines(self, holder: KeyHolder) -> Lines:
        forward, consumer = self._forward, holder.consumer
        told = (
            (forward.consumer, consumer.name),
            (forward.roles, ",".join(consumer.roles)),
            (forward.scopes, " ".join(consumer.scopes)),
        )
        return tuple((field_name(name), literal_value(value)) for name, value in told if name is not None)


def _identity(holder: KeyHolder) -> Identity:
    consumer = holder.consumer
    return Identity(
        consumer=consumer.name,
        roles=frozenset(consumer.roles),
        scopes=frozenset(consumer.scopes),
        credential=holder.credential,
    )


def _utf8(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


KIND = kind("api-key", config=Config, policy=ApiKey, guards=True, provides=(IDENTITY,))

_ACME = {
    "name": "acme",
    "roles": ["partner"],
    "api_keys": [
        # SHA-256 of "k1"
        {"sha256": "6ab9f1eb8f7d3388f4f9d586f66e99fd54080df2c446f0e58668b09c08a16dd0"},
        # SHA-256 of "old", which ended long ago
        {
            "sha256": "cba06b5736faf67e54b07b561eae94395e774c517a7d910a54369e1263ccfbd4",
            "expires": "2001-01-01T00:00:00Z",
        },
    ],
}

EXAMPLES = (
    Example(
        "A key in a header; the upstream is told who calls, and not by which key",
        {"header": "X-API-Key", "forward": {"consumer": "X-Consumer", "roles": "X-Roles"}},
        (
            Call(
                headers=(("X-API-Key", "k1"), ("X-Consumer", "boss"), ("X_Roles", "admin")),
                status=200,
                sent_fields={"x-consumer": "acme", "x-roles": "partner", "x-api-key": None, "x_roles": None},
            ),
            Call(
                status=401,
                sent=False,
                contains="An API key is required.",
                fields={"www-authenticate": 'ApiKey realm="api"', "content-type": "application/problem+json"},
            ),
            Call(headers=(("X-API-Key", "wrong"),), status=401, sent=False, contains="not valid"),
            Call(headers=(("X-API-Key", "old"),), status=401, sent=False, contains="expired"),
        ),
        consumers=(_ACME,),
    ),
    Example(
        "A key in the query; the rest of the query stays byte for byte",
        {"query": "apikey"},
        (
            Call(
                target="/d?grid[0:1:0]&b=1+2&b=%2B&a=&flag&apikey=k1&z=1",
                status=200,
                sent_target="/d?grid[0:1:0]&b=1+2&b=%2B&a=&flag&z=1",
            ),
            Call(target="/d?apikey=k1", status=200, sent_target="/d"),
            Call(target="/d?apikey=k1&apikey=k2", status=400, sent=False),
        ),
        consumers=(_ACME,),
    ),
    Example(
        "A key in a cookie, or none at all",
        {"cookie": "key", "anonymous": True, "forward": {"consumer": "X-Consumer"}},
        (
            Call(
                headers=(("Cookie", "a=1; key=k1; b=2"),),
                status=200,
                sent_fields={"cookie": "a=1; b=2", "x-consumer": "acme"},
            ),
            Call(headers=(("X-Consumer", "boss"),), status=200, sent_fields={"x-consumer": None}),
            Call(headers=(("Cookie", "key=wrong"),), status=401, sent=False),
        ),
        consumers=(_ACME,),
    ),
)
