"""The policy contract: small interfaces, each optional but the first, verified when a revision is built.

A decision hook (`on_request`, `on_response`, `on_fault`) returns None to go on, a Reply to answer now, or an
awaitable/Deferred of one of those; or raises a Fault. Any other exception is a Fault(INTERNAL) with an id in the log
and the reply, and the request does not go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from apigateway.flow.exchange import Exchange
    from apigateway.flow.faults import Fault
    from apigateway.flow.outcome import Outcome
    from apigateway.flow.services import Services


class IPolicy(Interface):
    """A policy placed in a flow. Its class is called with its settings, an instance of the kind's Config, and does
    nothing then but look at them (ValueError: refused, the text tells why)."""

    def provision(services: Services) -> Any:
        """Get ready to serve; may return a Deferred. Where it fails, the revision is refused and `close` not called."""

    def close() -> None:
        """The revision was retired and its last exchange has ended; called exactly once after provision."""


class IOnRequest(IPolicy):
    """Looks at the request on its way in."""

    def on_request(exchange: Exchange) -> Outcome:
        """Decide. Where the kind buffers, `exchange.request.body` is there and the head is not sent yet."""


class IOnRequestBody(IPolicy):
    """Sees the request body pass (kinds that STREAM)."""

    def on_request_chunk(exchange: Exchange, chunk: bytes, last: bool) -> bytes:
        """What goes on in place of this piece; `last` comes once, its chunk may be empty."""


class IOnResponse(IPolicy):
    """Looks at the response on its way out; only where its request hook was reached."""

    def on_response(exchange: Exchange) -> Outcome:
        """Decide. `exchange.response` is the head; its body is there where the kind buffers."""


class IOnResponseBody(IPolicy):
    """Sees the response body pass (kinds that STREAM)."""

    def on_response_chunk(exchange: Exchange, chunk: bytes, last: bool) -> bytes:
        """What goes on in place of this piece; `last` comes once, its chunk may be empty."""


class IOnFault(IPolicy):
    """Is told of a fault, wherever it came from, while an answer can still be shaped."""

    def on_fault(exchange: Exchange, fault: Fault) -> Outcome:
        """`exchange.response` is the draft of the answer: status and headers may be edited. In an error flow a Reply
        replaces the draft, body and all; the renderer writes the body where nobody did."""


class IOnLog(IPolicy):
    """Is told when all is over."""

    def on_log(exchange: Exchange) -> None:
        """Look, and be quick; nothing can be changed any more."""


class ICondition(Interface):
    """A compiled CEL expression."""

    source = Attribute("str: as written")
    needs_request_body = Attribute("bool: reads request.json or request.xml")
    needs_response = Attribute("bool: reads response")

    def holds(exchange: Exchange) -> bool:
        """True or false; anything else, and any error, is a Fault (never false: a guard must not fall open)."""


class ITextTemplate(Interface):
    """Text with {CEL} in it."""

    source = Attribute("str: as written")

    def render(exchange: Exchange) -> str:
        """The text; a Fault where an expression fails."""
