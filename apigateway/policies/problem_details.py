"""Shapes the answers that the gateway makes itself when something went wrong (RFC 9457).

It stands in an error flow. The form follows the client: a SOAP fault for who spoke SOAP, else JSON or XML
by `Accept`. `templates` give a kind of fault, by the last part of its type (`unauthenticated`,
`no-route`, `rate-limited`), another title, detail, type or status; `fields` add members to all of them;
`hide_detail` leaves out what is not told by the title already. Header fields of the answer, such as
`Retry-After` or `WWW-Authenticate`, stay.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Settings, Truth, Whole
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import Fault
from apigateway.flow.interfaces import IOnFault, ITextTemplate
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome, Reply
from apigateway.flow.rendering import problem, write_problem
from apigateway.flow.services import Services
from apigateway.flow.step_text import checked_text, ready_text

_RESERVED = frozenset(("type", "title", "status", "detail", "instance"))
_MEMBER = r"^[A-Za-z][A-Za-z0-9_-]*$"


class Template(Settings):
    """What is said of one kind of fault."""

    title: str | None = Field(default=None, description="Its title.")
    detail: str | None = Field(default=None, description="Its detail, with {expressions}.")
    type: str | None = Field(default=None, description="URI of its type, with a page about it.")
    status: Whole | None = Field(default=None, ge=400, le=599, description="Status to answer with.")


class Config(Settings):
    """What a problem says."""

    fields: dict[str, str] = Field(
        default={}, description="Further members, name to text with {expressions}."
    )
    hide_detail: Truth = Field(
        default=False, description="Leave out the detail, and what a policy adds to it."
    )
    templates: dict[str, Template] = Field(
        default={}, description="Last part of a problem's type, to what is said instead."
    )


@implementer(IOnFault)
class ProblemDetails:
    """Shapes the answers that the gateway makes itself when something went wrong."""

    def __init__(self, config: Config) -> None:
        for name in config.fields:
            if name in _RESERVED:
                raise ValueError(f"fields: {name!r} is a member that every problem has; see templates")
            if re.fullmatch(_MEMBER, name) is None:
                raise ValueError(f"fields: {name!r} is no name of a member: letters, digits, _ and - only")
        self._config = config
        self._hide_detail = config.hide_detail
        self._members = {
            slug: template.model_dump(include={"title", "type", "status"}, exclude_none=True)
            for slug, template in config.templates.items()
        }
        self._compile(lambda source: checked_text(source, response_side=True))

    def provision(self, services: Services) -> None:
        """Give the texts the time and the environment."""
        self._compile(lambda source: ready_text(source, services, response_side=True))

    def close(self) -> None:
        """Nothing to let go of."""

    def _compile(self, compile_text: Callable[[str], ITextTemplate]) -> None:
        self._fields = {name: compile_text(text) for name, text in self._config.fields.items()}
        self._details = {
            slug: compile_text(template.detail)
            for slug, template in self._config.templates.items()
            if template.detail is not None
        }

    def on_fault(self, exchange: Exchange, fault: Fault) -> Outcome:
        """Replace the draft of the answer; its header fields stay."""
        members = problem(fault, exchange)
        if self._hide_detail:
            members = {
                name: value for name, value in members.items() if name in _RESERVED and name != "detail"
            }
        slug = fault.kind.slug
        members.update(self._members.get(slug, {}))
        if slug in self._details:
            members["detail"] = self._details[slug].render(exchange)
        members.update((name, text.render(exchange)) for name, text in self._fields.items())
        content_type, body = write_problem(members, exchange)
        draft = exchange.response
        lines = [] if draft is None else [line for line in draft.headers.lines if line[0] != b"content-type"]
        return Reply(members["status"], (*lines, (b"content-type", content_type)), body)


KIND = kind("problem-details", config=Config, policy=ProblemDetails, places=("error",))

_DENY = {"policy": "ip-filter", "with": {"deny": ["203.0.113.9"]}}

EXAMPLES = (
    Example(
        "Members of one's own, and a page about each kind of problem",
        {
            "fields": {"support": "https://support.example.test/?path={request.path}"},
            "templates": {
                "forbidden": {"title": "Not from here", "type": "https://docs.example.test/forbidden"}
            },
        },
        (
            Call(
                status=403,
                sent=False,
                contains='"title":"Not from here"',
                fields={"content-type": "application/problem+json"},
            ),
        ),
        place="error",
        before=(_DENY,),
    ),
    Example(
        "XML for who asks for it, and no detail for anybody",
        {"hide_detail": True},
        (
            Call(
                headers=(("Accept", "application/xml"),),
                status=403,
                contains="<title>Forbidden</title>",
                fields={"content-type": "application/problem+xml"},
            ),
            Call(headers=(("Accept", "*/*"),), status=403, contains='"title":"Forbidden"'),
        ),
        place="error",
        before=(_DENY,),
    ),
    Example(
        "A SOAP fault for who spoke SOAP; another status for one kind of fault",
        {
            "templates": {
                "forbidden": {"status": 404, "title": "Not found", "detail": "There is no {request.path}."}
            }
        },
        (
            Call(
                method="POST",
                target="/s",
                body=b"<x/>",
                status=404,
                contains="<faultcode>soap:Client</faultcode>",
                headers=(("Content-Type", "text/xml"), ("SOAPAction", '"urn:go"')),
            ),
            Call(target="/s", status=404, contains="There is no /s."),
        ),
        place="error",
        before=(_DENY,),
    ),
)
