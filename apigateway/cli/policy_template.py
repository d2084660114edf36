"""The file that `apigateway new-policy` writes."""

from __future__ import annotations

import re
from string import Template

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def policy_text(name: str) -> str:
    """A policy file of a kind of this name (see NAME); its examples hold."""
    return _TEMPLATE.substitute(name=name, title=name.title().replace("-", ""))


_TEMPLATE = Template('''"""Refuses requests that do not carry a header field, and tells the upstream who let them pass.

Everything about the policy is in this file: this text is its page in the reference, `Config` its settings,
`EXAMPLES` its tests. `apigateway test-policy` runs them.
"""

from __future__ import annotations

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import BAD_REQUEST, Fault
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome
from apigateway.flow.services import Services


class Config(Settings):
    """What has to be there."""

    header: str = Field(default="X-Ticket", pattern=r"^[A-Za-z0-9-]+$$", description="Field that has to be there.")


@implementer(IOnRequest)
class $title:
    """Refuses requests that do not carry a header field."""

    def __init__(self, config: Config) -> None:
        self._header = config.header.lower().encode("ascii")

    def provision(self, services: Services) -> None:
        """Get ready to serve: clock, state and the rest of the outside are in `services`."""

    def close(self) -> None:
        """Let go of what `provision` took."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """None: go on. A Reply: answer now. A Fault: refuse."""
        headers = exchange.request.headers
        if headers.get(self._header) is None:
            raise Fault(BAD_REQUEST, public=f"The header {self._header.decode()} is required.")
        headers.set(b"x-passed", b"$name")
        return None


KIND = kind("$name", config=Config, policy=$title, guards=True)

EXAMPLES = (
    Example(
        "A ticket is required",
        {"header": "X-Ticket"},
        (
            Call(headers=(("X-Ticket", "7"),), status=200, sent_fields={"x-passed": "$name"}),
            Call(status=400, sent=False, contains="x-ticket is required"),
        ),
    ),
)
''')
