"""Refuses bodies that are too large, or too small.

Under `request:`, a body over `max` is answered 413: from `Content-Length` alone, before any of it is
read, where the client announced its length; else as soon as the octets that came pass the limit, and the
exchange with the upstream is given up. A body under `min` is answered 400; a request without a body has 0
octets.

Under `response:`, either is answered 502, or the answer is cut off where its head was sent already.
Answers that have no body (to HEAD, 204, 304) are not looked at.
"""

from __future__ import annotations

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Settings, Size
from apigateway.flow.exchange import Exchange, Slot
from apigateway.flow.faults import BAD_REQUEST, RESPONSE_REFUSED, TOO_LARGE, Fault
from apigateway.flow.interfaces import IOnRequest, IOnRequestBody, IOnResponse, IOnResponseBody
from apigateway.flow.kinds import WATCH, Call, Example, kind
from apigateway.flow.outcome import Outcome
from apigateway.flow.services import Services
from apigateway.text import format_size


class Config(Settings):
    """How large a body may be."""

    max: Size | None = Field(default=None, description="Octets at most.")
    min: Size = Field(default=0, description="Octets at least.")


@implementer(IOnRequest, IOnRequestBody, IOnResponse, IOnResponseBody)
class MessageSize:
    """Refuses bodies that are too large, or too small."""

    def __init__(self, config: Config) -> None:
        if config.max is None and not config.min:
            raise ValueError("give max, or min, or both")
        if config.max is not None and config.min > config.max:
            raise ValueError("min is more than max")
        self._max = (1 << 63) - 1 if config.max is None else config.max
        self._min = config.min
        self._seen: Slot[int] = Slot("message-size", "octets of the body so far")

    def provision(self, services: Services) -> None:
        """Two steps of this kind in one plan each count for themselves."""
        self._seen = Slot(f"message-size {services.place}", "octets of the body so far")

    def close(self) -> None:
        """Nothing to let go of."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Refuse by the announced length."""
        length = exchange.request.length
        if length is not None and not self._min <= length <= self._max:
            raise self._request_fault(length)
        return None

    def on_request_chunk(self, exchange: Exchange, chunk: bytes, last: bool) -> bytes:
        """Count what comes."""
        seen = self._count(exchange, chunk)
        if seen > self._max or (last and seen < self._min):
            raise self._request_fault(seen)
        return chunk

    def on_response(self, exchange: Exchange) -> Outcome:
        """Refuse by the announced length."""
        response = exchange.response
        if response is None or response.bodiless or response.length is None:
            return None
        if not self._min <= response.length <= self._max:
            raise self._response_fault(response.length)
        return None

    def on_response_chunk(self, exchange: Exchange, chunk: bytes, last: bool) -> bytes:
        """Count what comes."""
        seen = self._count(exchange, chunk)
        if seen > self._max or (last and seen < self._min and not _bodiless(exchange)):
            raise self._response_fault(seen)
        return chunk

    def _count(self, exchange: Exchange, chunk: bytes) -> int:
        seen = (exchange.take(self._seen) or 0) + len(chunk)
        exchange.put(self._seen, seen)
        return seen

    def _request_fault(self, octets: int) -> Fault:
        if octets > self._max:
            return Fault(TOO_LARGE, public=f"The body may have {format_size(self._max)} at most.")
        return Fault(BAD_REQUEST, public=f"The body has to have {format_size(self._min)} at least.")

    def _response_fault(self, octets: int) -> Fault:
        bound = f"over {self._max}" if octets > self._max else f"under {self._min}"
        return Fault(RESPONSE_REFUSED, private=f"response body of {octets} octets so far, {bound}")


def _bodiless(exchange: Exchange) -> bool:
    return exchange.response is not None and exchange.response.bodiless


KIND = kind(
    "message-size",
    config=Config,
    policy=MessageSize,
    guards=True,
    request_body=WATCH,
    response_body=WATCH,
    places=("request", "response"),
    one_way=True,
)

EXAMPLES = (
    Example(
        "Refuse an upload by its announced length, before it is read",
        {"max": "8B"},
        (
            Call(method="POST", body=b"12345678", status=200, sent_body=b"12345678"),
            Call(method="POST", body=b"123456789", status=413, sent=False, contains="8B"),
            Call(status=200),
        ),
    ),
    Example(
        "Ask for a body",
        {"min": "1B", "max": "64KiB"},
        (
            Call(method="POST", body=b"{}", status=200),
            Call(method="POST", status=400, sent=False),
        ),
    ),
    Example(
        "Withhold an answer that is larger than it may be",
        {"max": "8B"},
        (
            Call(upstream=(200, (), b"small"), status=200),
            Call(upstream=(200, (), b"far too large"), status=502),
        ),
        place="response",
    ),
)
