"""Which cache is to be forgotten, and where, read from a query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apigateway.manager.problems import Refused

_WORDS = {"": False, "false": False, "true": True}


@dataclass(frozen=True, slots=True)
class PurgeCall:
    """name: "" for all caches. everywhere: in all workers of the environment."""

    name: str
    everywhere: bool


def read_purge(request: Any) -> PurgeCall:
    """Of ?name=&everywhere=. Refused: 422."""
    texts = {name.decode("utf-8", "replace"): values[-1] for name, values in request.args.items()}
    unknown = sorted(set(texts) - {"name", "everywhere"})
    if unknown:
        raise Refused(422, f"unknown: {', '.join(unknown)}; the query has name and everywhere")
    name, everywhere = (texts.get(key, b"").decode("utf-8", "replace") for key in ("name", "everywhere"))
    if everywhere not in _WORDS:
        raise Refused(422, "everywhere is true or false")
    return PurgeCall(name, _WORDS[everywhere])
