"""Answers without an upstream.

A fixed status, header fields and body; or, with `bodies`, an example by media type, chosen by what the
client accepts (the first one where it accepts none of them, or does not say). `delay` keeps the client
waiting, as a slow service would. A body without a `Content-Type` among `headers` is called JSON where it
is JSON, else plain text.

The step's `timeout` (5s, unless it is set) has to be longer than `delay`: it ends the wait, in a fault.
"""

from __future__ import annotations

import orjson
from pydantic import Field
from twisted.internet.defer import Deferred
from zope.interface import implementer

from apigateway.config.model import Duration, Settings, Whole
from apigateway.flow.exchange import Exchange
from apigateway.flow.field_text import field_name, literal_value
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome, Reply
from apigateway.flow.services import Services
from apigateway.ports.interfaces import ITimers
from apigateway.wire.accept import preferred


class Config(Settings):
    """What is answered."""

    status: Whole = Field(default=200, ge=200, le=599, description="Status of the answer.")
    headers: dict[str, str] = Field(default={}, description="Header fields of the answer, name to value.")
    body: str | None = Field(default=None, description="Its body, as written.")
    bodies: dict[str, str] = Field(default={}, description="Media type to body, where the client may choose.")
    delay: Duration | None = Field(
        default=None, description="How long to wait before the answer; less than the step's `timeout`."
    )


@implementer(IOnRequest)
class Mock:
    """Answers without an upstream."""

    def __init__(self, config: Config) -> None:
        if config.body is not None and config.bodies:
            raise ValueError("give body or bodies, not both")
        if config.status in (204, 304) and (config.body or config.bodies):
            raise ValueError(f"an answer with status {config.status} has no body")
        lines = tuple((field_name(name), literal_value(value)) for name, value in config.headers.items())
        self._typed = any(name == b"content-type" for name, _ in lines)
        self._status, self._lines, self._delay = config.status, lines, config.delay
        self._bodies = {media_type: text.encode() for media_type, text in config.bodies.items()}
        for media_type in self._bodies:
            literal_value(media_type)
        self._body = (config.body or "").encode()
        self._media_type = _media_type(self._body)
        self._timers: ITimers | None = None

    def provision(self, services: Services) -> None:
        """Keep the timers for `delay`."""
        self._timers = services.timers

    def close(self) -> None:
        """Nothing to let go of."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Answer, now or after the delay."""
        reply = self._reply(exchange)
        if self._delay is None or self._timers is None:
            return reply
        later: Deferred[Reply | None] = Deferred(lambda _: timer.cancel())
        timer = self._timers.call_later(self._delay, later.callback, reply)
        return later

    def _reply(self, exchange: Exchange) -> Reply:
        media_type, body = self._media_type, self._body
        lines = list(self._lines)
        if self._bodies:
            offers = tuple(self._bodies)
            chosen = preferred(exchange.request.headers.get_all(b"accept"), offers) or offers[0]
            media_type, body = chosen.encode(), self._bodies[chosen]
            # RFC 9110 12.5.5: a cache has to know that another client may get another body.
            lines.append((b"vary", b"Accept"))
        if media_type and not self._typed:
            lines.append((b"content-type", media_type))
        return Reply(self._status, lines, body)


def _media_type(body: bytes) -> bytes:
    if not body:
        return b""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return b"text/plain; charset=utf-8"
    return b"application/json"


KIND = kind("mock", config=Config, policy=Mock)

EXAMPLES = (
    Example(
        "A service that is not written yet",
        {"status": 201, "headers": {"Location": "/orders/7"}, "body": '{"id": 7}'},
        (
            Call(
                method="POST",
                status=201,
                sent=False,
                contains='{"id": 7}',
                fields={"content-type": "application/json", "location": "/orders/7"},
            ),
        ),
    ),
    Example(
        "An example by media type",
        {"bodies": {"application/json": '{"pong": true}', "application/xml": "<pong/>"}},
        (
            Call(status=200, contains='{"pong": true}'),
            Call(
                headers=(("Accept", "application/xml"),),
                contains="<pong/>",
                fields={"content-type": "application/xml", "vary": "Accept"},
            ),
            Call(headers=(("Accept", "application/json;q=0.5, application/*"),), contains="<pong/>"),
            Call(headers=(("Accept", "image/png"),), contains="pong"),
        ),
    ),
    Example(
        "A slow failure",
        {"status": 503, "body": "try later", "delay": "250ms"},
        (Call(status=503, contains="try later", sent=False),),
    ),
    Example(
        "Nothing at all", {"status": 204}, (Call(status=204, sent=False, fields={"content-type": None}),)
    ),
)
