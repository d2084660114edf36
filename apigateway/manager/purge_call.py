"""Which cache is to be forgotten, and where, read from a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apigateway.manager.problems import Refused
from apigateway.manager.query import texts_of

_WORDS = {"": False, "false": False, "true": True}


@dataclass(frozen=True, slots=True)
class PurgeCall:
    """name: "" for all caches. everywhere: in all workers of the environment."""

    name: str
    everywhere: bool


def read_purge(request: Any) -> PurgeCall:
    """Of ?name=&everywhere=. Refused: 422."""
    name, everywhere = texts_of(request, "name", "everywhere")
    if everywhere not in _WORDS:
        raise Refused(422, "everywhere is true or false")
    return PurgeCall(name, _WORDS[everywhere])
