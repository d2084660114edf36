"""Whose counter a request is counted in: what `by` means in every kind that counts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from apigateway.config.fields import PATTERNS
from apigateway.config.model import Settings, Whole
from apigateway.flow.exchange import Exchange
from apigateway.flow.field_text import field_name
from apigateway.flow.interfaces import ITextTemplate
from apigateway.flow.services import Services
from apigateway.flow.step_text import checked_text, ready_text
from apigateway.wire.fields import PLAIN, REQUEST_FIELDS
from apigateway.wire.ipset import network_of

BY = r"^(api|consumer|subject|ip|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+|\{.+\})$"
PATTERNS[BY] = "expected api, consumer, subject, ip, header:NAME or {expression}"

#: Who shares a counter; of a list each combination has its own.
OneBy = Annotated[str, Field(pattern=BY)]
By = OneBy | Annotated[tuple[OneBy, ...], Field(min_length=1, max_length=4)]

# A key goes to the store with every request; what a client makes longer than this is hashed.
LONGEST_VALUE = 64

Whose = Callable[[Exchange], str]


class CallerSettings(Settings):
    """How callers without a name are told apart; a part of the settings of every kind that has `by`."""

    ipv6_prefix: Whole = Field(
        default=64, ge=1, le=128, description="Bits of an IPv6 address that tell one caller from another."
    )


def check_by(by: By) -> None:
    """As a policy's constructor checks it; ValueError with the reason where it is not to be taken."""
    _whose(by, 64, checked_text)


def whose(by: By, ipv6_prefix: int, services: Services) -> Whose:
    """A function from an exchange to the name of a counter, as `provision` makes it.

    consumer, subject: the first of subject, consumer and address, from there on, that is known. header, expression:
    their value; requests without one share a counter. A name never holds more than LONGEST_VALUE characters of what a
    client sent for each part; what is longer stands there as its hash.
    """
    return _whose(by, ipv6_prefix, lambda text: ready_text(text, services))


def by_name(by: By) -> str:
    """What a rule that counts so is called, unless it is named."""
    if not isinstance(by, str):
        return "-".join(by_name(one) for one in by)
    return "expression" if by.startswith("{") else by.partition(":")[0]


def _whose(by: By, ipv6_prefix: int, compile_text: Callable[[str], ITextTemplate]) -> Whose:
    if not isinstance(by, str):
        return _combined([_whose(one, ipv6_prefix, compile_text) for one in by])
    if by.startswith("header:"):
        header = _field(by.removeprefix("header:"))
        return lambda exchange: short(exchange.request.headers.text(header))
    if by.startswith("{"):
        template = compile_text(by)
        return lambda exchange: short(template.render(exchange))
    if by == "api":
        return lambda exchange: exchange.api
    return _caller(by, ipv6_prefix)


def _field(text: str) -> bytes:
    name = field_name(text)
    # What the wire keeps to itself is never among the fields: all callers would share one counter.
    if REQUEST_FIELDS.kind(name) != PLAIN:
        raise ValueError(f"the field {text!r} does not reach a policy; an address is told by ip")
    return name


def _combined(parts: list[Whose]) -> Whose:
    if len(parts) == 1:
        return parts[0]

    def combined(exchange: Exchange) -> str:
        values = [part(exchange) for part in parts]
        # With their lengths, so that no value can be written that makes two combinations the same.
        return ",".join([f"{len(value)}:{value}" for value in values])

    return combined


def _caller(by: str, ipv6_prefix: int) -> Whose:
    """By subject, consumer or address: the first of them, from `by` on, that is known."""

    def address(exchange: Exchange) -> str:
        client = exchange.client
        return network_of(client, ipv6_prefix) if ":" in client else client

    def consumer(exchange: Exchange) -> str:
        identity = exchange.identity
        named = identity is not None and identity.consumer
        return f"c:{named}" if named else f"ip:{address(exchange)}"

    def subject(exchange: Exchange) -> str:
        identity = exchange.identity
        named = identity is not None and identity.subject
        return f"s:{short(named)}" if named else consumer(exchange)

    return {"ip": address, "consumer": consumer, "subject": subject}[by]


def short(value: str) -> str:
    """The value, or its hash where it is long; no value is another's hash, since that is longer than a value may be."""
    if len(value) <= LONGEST_VALUE:
        return value
    # Claims may hold lone surrogates.
    return "#" + hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()
