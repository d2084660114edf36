"""Tiers: other limits for some callers, told by who they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pydantic import Field, model_validator

from apigateway.config.model import Name, Settings
from apigateway.flow.exchange import Exchange
from apigateway.flow.identity import Identity

T = TypeVar("T")


class TierMatch(Settings):
    """Who is of a tier; of several keys all have to hold."""

    consumer: Name | None = Field(default=None, description="The name of a consumer.")
    role: str | None = Field(default=None, min_length=1, description="A role that the identity has.")
    claim: dict[str, str | int | bool] | None = Field(
        default=None,
        min_length=1,
        description="Claims and their values; of a claim that is a list one item has to be the value.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> TierMatch:
        if self.consumer is None and self.role is None and self.claim is None:
            raise ValueError("say who is of the tier: consumer, role or claim")
        return self

    def holds(self, identity: Identity) -> bool:
        """Whether this one is of the tier."""
        if self.consumer is not None and identity.consumer != self.consumer:
            return False
        if self.role is not None and self.role not in identity.roles:
            return False
        claims = identity.claims
        return all(_has(claims.get(name), value) for name, value in (self.claim or {}).items())


def _has(claim: Any, value: str | int | bool) -> bool:
    if isinstance(claim, list | tuple):
        return any(_has(item, value) for item in claim)
    # True is no 1 here, though it equals it.
    return type(claim) is type(value) and bool(claim == value)


def consumers_named(tiers: Iterable[TierMatch]) -> frozenset[str]:
    """The consumers that tiers are for: they have to exist (see flow.step_checks)."""
    return frozenset(tier.consumer for tier in tiers if tier.consumer is not None)


def tier_finder(tiers: Sequence[tuple[TierMatch, T]], otherwise: T) -> Callable[[Exchange], T]:
    """A function from an exchange to what is of the first tier that matches, or of nobody's."""

    def find(exchange: Exchange) -> T:
        identity = exchange.identity
        if identity is not None:
            for match, found in tiers:
                if match.holds(identity):
                    return found
        return otherwise

    return find
