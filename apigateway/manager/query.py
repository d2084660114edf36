"""The words of a query."""

from __future__ import annotations

from typing import Any

from apigateway.manager.problems import Refused


def texts_of(request: Any, *names: str) -> list[str]:
    """What a query says for each of these names, two or more: the last time that it does, "" where it does not.
    Refused: 422 where it says something else."""
    texts = {name.decode("utf-8", "replace"): values[-1].decode("utf-8", "replace")
             for name, values in request.args.items()}
    unknown = sorted(set(texts).difference(names))
    if unknown:
        has = f"{', '.join(names[:-1])} and {names[-1]}"
        raise Refused(422, f"unknown: {', '.join(unknown)}; the query has {has}")
    return [texts.get(name, "") for name in names]
