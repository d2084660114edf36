"""Sets, appends and removes header fields.

Placed under `request:` it edits what the upstream gets; under `response:` or in an error flow, what the
client gets. `remove` comes first, then `set` (one field of that name is left), then `append` (further
lines of that name, such as `Set-Cookie`, each on a line of its own).

Many servers take `X_Client` for `X-Client`. So under `request:` what a client sent under a name that is
removed or set is dropped in either spelling, and it cannot come behind the body, as a trailer field, either.

Values are text with `{expressions}` in it: `{client.ip}`, `{request.headers["x-tenant"]}`,
`{identity.consumer}`; on the response side `{response.status}`, too. What is absent renders as nothing. A
value that would hold a control character, such as a line break, is never written: the request is answered
400.

Fields that frame or route a message (`Host`, `Content-Length`, `Transfer-Encoding`, `Connection` and the
like) are written by the gateway alone, and refused here.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.exchange import Exchange
from apigateway.flow.field_text import field_name, literal_value, rendered_value
from apigateway.flow.interfaces import IOnRequest, IOnResponse, ITextTemplate
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome
from apigateway.flow.services import Services
from apigateway.flow.step_text import checked_text, ready_text
from apigateway.flow.template import TextTemplate
from apigateway.wire.headers import folded

Value = bytes | ITextTemplate


class Config(Settings):
    """Which fields become what."""

    set: dict[str, str] = Field(
        default={}, description="Name to value; leaves exactly one field of that name."
    )
    append: dict[str, str | tuple[str, ...]] = Field(
        default={}, description="Name to value or values, each a further line."
    )
    remove: tuple[str, ...] = Field(default=(), description="Names of fields to drop.")


@implementer(IOnRequest, IOnResponse)
class SetHeaders:
    """Sets, appends and removes header fields of the message it is placed under."""

    def __init__(self, config: Config) -> None:
        if not (config.set or config.append or config.remove):
            raise ValueError("there is nothing to do: give set, append or remove")
        appended = [
            (name, text)
            for name, texts in config.append.items()
            for text in ((texts,) if isinstance(texts, str) else texts)
        ]
        self._texts = [(field_name(name), text) for name, text in (*config.set.items(), *appended)]
        self._dropped = frozenset(field_name(name) for name in (*config.remove, *config.set))
        self._withheld = frozenset(map(folded, self._dropped))
        self._lines: tuple[tuple[bytes, Value], ...] = ()
        self._constant: tuple[tuple[bytes, bytes], ...] | None = None
        self._take((name, checked_text(text, response_side=True)) for name, text in self._texts)

    def provision(self, services: Services) -> None:
        """Give the values the time and the environment."""
        self._take((name, ready_text(text, services, response_side=True)) for name, text in self._texts)

    def close(self) -> None:
        """Nothing to let go of."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Edit what the upstream gets."""
        lines = self._rendered(exchange)
        if self._withheld:
            exchange.request.withhold(self._withheld)
        exchange.request.headers.lines += lines
        return None

    def on_response(self, exchange: Exchange) -> Outcome:
        """Edit what the client gets."""
        if exchange.response is not None:
            kept, dropped = exchange.response.headers.lines, self._dropped
            lines = self._rendered(exchange)
            # All of it was checked: one pass over the list instead of one for each name.
            if dropped:
                kept[:] = [line for line in kept if line[0] not in dropped]
            kept += lines
        return None

    def _take(self, templates: Iterable[tuple[bytes, TextTemplate]]) -> None:
        self._lines = tuple((name, _value(template)) for name, template in templates)
        constant = tuple((name, value) for name, value in self._lines if isinstance(value, bytes))
        self._constant = constant if len(constant) == len(self._lines) else None

    def _rendered(self, exchange: Exchange) -> tuple[tuple[bytes, bytes], ...]:
        if self._constant is not None:
            return self._constant
        return tuple(
            (name, value if isinstance(value, bytes) else rendered_value(value.render(exchange)))
            for name, value in self._lines
        )


def _value(template: TextTemplate) -> Value:
    return template if template.constant is None else literal_value(template.constant)


KIND = kind(
    "set-headers", config=Config, policy=SetHeaders, places=("request", "response", "error"), one_way=True
)

EXAMPLES = (
    Example(
        "Tell the upstream who is calling, and drop what it need not see",
        {"set": {"X-Client": "{client.ip}", "X-Tier": "gold"}, "remove": ["Cookie"]},
        (
            Call(
                headers=(("Cookie", "a=1"), ("X-Tier", "lead"), ("X_Client", "10.0.0.1"), ("X-Keep", "1")),
                status=200,
                sent_fields={
                    "x-client": "203.0.113.9",
                    "x_client": None,
                    "x-tier": "gold",
                    "cookie": None,
                    "x-keep": "1",
                },
            ),
        ),
    ),
    Example(
        "An absent header renders as nothing; a value made of several parts",
        {"set": {"X-Trace": 'gw-{request.headers["x-request-id"]}'}},
        (
            Call(headers=(("X-Request-Id", "42"),), sent_fields={"x-trace": "gw-42"}),
            Call(sent_fields={"x-trace": "gw-"}),
        ),
    ),
    Example(
        "Add a cookie to the answer beside those of the upstream",
        {"append": {"Set-Cookie": "gw=1"}, "set": {"X-Served-By": "gateway"}, "remove": ["X-Internal"]},
        (
            Call(
                upstream=(200, (("Set-Cookie", "sid=1"), ("X-Internal", "db7")), b"ok"),
                status=200,
                fields={"x-served-by": "gateway", "x-internal": None, "set-cookie": "sid=1\ngw=1"},
            ),
        ),
        place="response",
    ),
    Example(
        "A client cannot write a second field by way of a value",
        {"set": {"X-Name": '{request.query["name"]}'}},
        (
            Call(target="/?name=Ada", status=200, sent_fields={"x-name": "Ada"}),
            Call(target="/?name=a%0d%0aX-Admin:%201", status=400, sent=False),
        ),
    ),
)
