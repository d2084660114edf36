"""Adds the header fields that browsers' protections hang on, to answers of the upstream and to the gateway's
own.

Every one can be set or switched off (`null`): `Strict-Transport-Security` (only on HTTPS, where alone it
counts), `X-Content-Type-Options: nosniff`, `X-Frame-Options`, `Referrer-Policy`,
`Content-Security-Policy`, `Permissions-Policy`, `Cross-Origin-Resource-Policy`. Fields that tell what
software answers, such as `Server`, are removed. What the upstream says under the same names gives way,
unless `keep_upstream` is on.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Duration, Settings, Truth
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import Fault
from apigateway.flow.field_text import field_name, literal_value
from apigateway.flow.interfaces import IOnFault, IOnResponse
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome
from apigateway.flow.services import Services

Referrer = Literal[
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
]
YEAR = 365 * 86400.0


class Hsts(Settings):
    """HTTP Strict Transport Security (RFC 6797)."""

    max_age: Duration = Field(default=YEAR, description="How long browsers stay on HTTPS.")
    include_subdomains: Truth = Field(default=True, description="For all names below this one, too.")
    preload: Truth = Field(default=False, description="Consent to be built into browsers; hard to take back.")

    @property
    def value(self) -> str:
        """The field's value."""
        text = f"max-age={int(self.max_age)}"
        text += "; includeSubDomains" if self.include_subdomains else ""
        return text + ("; preload" if self.preload else "")


class Config(Settings):
    """Which fields answers get."""

    hsts: Hsts | None = Field(default=Hsts(), description="Strict-Transport-Security, on HTTPS; null: none.")
    nosniff: Truth = Field(default=True, description="X-Content-Type-Options: nosniff.")
    frame_options: Literal["DENY", "SAMEORIGIN"] | None = Field(
        default="DENY", description="X-Frame-Options; null: none."
    )
    referrer_policy: Referrer | None = Field(
        default="no-referrer", description="Referrer-Policy; null: none."
    )
    content_security_policy: str | None = Field(
        default=None, description="Content-Security-Policy, as written."
    )
    permissions_policy: str | None = Field(default=None, description="Permissions-Policy, as written.")
    resource_policy: Literal["same-origin", "same-site", "cross-origin"] | None = Field(
        default=None, description="Cross-Origin-Resource-Policy."
    )
    remove: tuple[str, ...] = Field(default=("Server", "X-Powered-By"), description="Fields to drop.")
    keep_upstream: Truth = Field(default=False, description="Leave a field that the upstream sent as it is.")


@implementer(IOnResponse, IOnFault)
class SecurityHeaders:
    """Adds the header fields that browsers' protections hang on."""

    def __init__(self, config: Config) -> None:
        plain = _lines(config)
        hsts = (
            () if config.hsts is None else ((b"strict-transport-security", literal_value(config.hsts.value)),)
        )
        self._plain, self._secure = plain, (*hsts, *plain)
        self._keep = config.keep_upstream
        self._removed = frozenset(field_name(name) for name in config.remove)
        replaced = () if config.keep_upstream else (name for name, _ in self._secure)
        self._dropped = self._removed.union(replaced)

    def provision(self, services: Services) -> None:
        """Nothing to prepare."""

    def close(self) -> None:
        """Nothing to let go of."""

    def on_response(self, exchange: Exchange) -> Outcome:
        """Add the fields to an answer."""
        response = exchange.response
        if response is None:
            return None
        dropped = self._dropped
        lines = [line for line in response.headers.lines if line[0] not in dropped]
        added = self._secure if exchange.request.scheme == "https" else self._plain
        if self._keep:
            there = {name for name, _ in lines}
            lines.extend(line for line in added if line[0] not in there)
        else:
            lines += added
        response.headers.lines[:] = lines
        return None

    def on_fault(self, exchange: Exchange, fault: Fault) -> Outcome:
        """Add the fields to the gateway's own answer."""
        return self.on_response(exchange)


def _lines(config: Config) -> tuple[tuple[bytes, bytes], ...]:
    texts = (
        (b"x-content-type-options", "nosniff" if config.nosniff else None),
        (b"x-frame-options", config.frame_options),
        (b"referrer-policy", config.referrer_policy),
        (b"content-security-policy", config.content_security_policy),
        (b"permissions-policy", config.permissions_policy),
        (b"cross-origin-resource-policy", config.resource_policy),
    )
    return tuple((name, literal_value(text)) for name, text in texts if text is not None)


KIND = kind(
    "security-headers", config=Config, policy=SecurityHeaders, places=("request", "response", "error")
)

EXAMPLES = (
    Example(
        "The defaults: strict, and silent about the software behind",
        {},
        (
            Call(
                upstream=(200, (("Server", "old/1.0"), ("X-Powered-By", "x")), b"ok"),
                status=200,
                fields={
                    "x-content-type-options": "nosniff",
                    "x-frame-options": "DENY",
                    "referrer-policy": "no-referrer",
                    "x-powered-by": None,
                },
            ),
        ),
    ),
    Example(
        "Faults carry the fields too",
        {"content_security_policy": "default-src 'none'"},
        (
            Call(
                status=403,
                sent=False,
                fields={"content-security-policy": "default-src 'none'", "x-content-type-options": "nosniff"},
            ),
        ),
        then=({"policy": "ip-filter", "with": {"deny": ["203.0.113.9"]}},),
    ),
    Example(
        "Pages that bring a policy of their own keep it",
        {"content_security_policy": "default-src 'self'", "frame_options": None, "keep_upstream": True},
        (
            Call(
                upstream=(200, (("Content-Security-Policy", "img-src *"),), b"ok"),
                fields={"content-security-policy": "img-src *", "x-frame-options": None},
            ),
            Call(fields={"content-security-policy": "default-src 'self'"}),
        ),
        place="response",
    ),
)
