"""Sends the client elsewhere.

`to` is a URL, or a path of this host, with `{expressions}` in it. With `keep_query` (the default) the
query of the request is put behind it, byte for byte, after what `to` has of its own. Characters that a
URL cannot hold are percent-encoded. `307` and `308` have the client repeat its method and body; after
`303` it asks with GET; `301` and `308` are remembered by browsers for long.

Only what is written out in `to`, up to the `//`, leads to another host (`https://new.example.test{...}`).
Where an expression would make a path of this host lead elsewhere (`//evil.test`, `https:...`), the request is
answered 400.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import quote

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Settings, Truth
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import BAD_REQUEST, Fault
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome, Reply
from apigateway.flow.services import Services
from apigateway.flow.step_text import checked_text, ready_text

# RFC 3986 2.2 and 2.1: what has a meaning in a URL, and what is encoded already, stays.
_SAFE = ":/?#[]@!$&'()*+,;=%"
# RFC 3986 4.2 and 4.3: what leads to another place than a path of this host.
_ELSEWHERE = re.compile(r"//|[A-Za-z][A-Za-z0-9+.\-]*:")
_WRITTEN_OUT = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:)?//")


class Config(Settings):
    """Where clients are sent."""

    to: str = Field(min_length=1, description="URL or path, with {expressions}.")
    status: Literal[301, 302, 303, 307, 308] = Field(default=302, description="Status of the answer.")
    keep_query: Truth = Field(default=True, description="Put the query of the request behind it.")


@implementer(IOnRequest)
class Redirect:
    """Sends the client elsewhere."""

    def __init__(self, config: Config) -> None:
        self._source = config.to
        self._to = checked_text(config.to)
        self._stays = self._to.constant is None and _WRITTEN_OUT.match(config.to) is None
        self._status = config.status
        self._keep_query = config.keep_query

    def provision(self, services: Services) -> None:
        """Give the text the time and the environment."""
        self._to = ready_text(self._source, services)

    def close(self) -> None:
        """Nothing to let go of."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Answer with the new place."""
        place = quote(self._to.render(exchange), safe=_SAFE)
        if self._stays and _ELSEWHERE.match(place) is not None:
            raise Fault(
                BAD_REQUEST,
                public="The request would be redirected to another host.",
                private=f"redirect to {place!r}, which {self._source!r} does not write out",
            )
        location = place.encode("ascii")
        query = exchange.request.query
        if self._keep_query and query:
            location = _with_query(location, query)
        return Reply(self._status, ((b"location", location),))


def _with_query(location: bytes, query: bytes) -> bytes:
    place, mark, fragment = location.partition(b"#")
    return place + (b"&" if b"?" in place else b"?") + query + mark + fragment


KIND = kind("redirect", config=Config, policy=Redirect)

EXAMPLES = (
    Example(
        "A service that moved for good",
        {"to": "https://new.example.test/orders", "status": 308},
        (
            Call(
                method="POST",
                target="/?a=1&b",
                status=308,
                sent=False,
                fields={"location": "https://new.example.test/orders?a=1&b"},
            ),
            Call(status=308, fields={"location": "https://new.example.test/orders"}),
        ),
    ),
    Example(
        "The same path on another host",
        {"to": "https://{request.host}.example.test{request.path}?from=gw", "keep_query": True},
        (
            Call(
                target="/a/b?x=1",
                headers=(("Host", "shop"),),
                status=302,
                fields={"location": "https://shop.example.test/a/b?from=gw&x=1"},
            ),
        ),
    ),
    Example(
        "The path alone; no request makes another host of it",
        {"to": "{request.path}", "status": 301},
        (
            Call(target="/a/b?x=1", status=301, fields={"location": "/a/b?x=1"}),
            Call(target="/%2Fevil.test", status=400, sent=False, fields={"location": None}),
        ),
    ),
    Example(
        "Forget the query",
        {"to": "/login", "status": 303, "keep_query": False},
        (Call(target="/?token=secret", status=303, fields={"location": "/login"}),),
    ),
)
