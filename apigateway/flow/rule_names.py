"""Names for the rules and the tiers of a limit: they are what counters are told apart by."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar


class Named(Protocol):
    """A part of a configuration that may have a name."""

    @property
    def name(self) -> str | None: ...


N = TypeVar("N", bound=Named)
R = TypeVar("R")


def unique_names(given: Iterable[tuple[str | None, str]], what: str) -> list[str]:
    """A name for each: what was given, else what it is otherwise called, made different by a number where another one
    before is called so. ValueError where two were given the same."""
    names: list[str] = []
    for number, (name, otherwise) in enumerate(given, start=1):
        names.append(name or (f"{otherwise}-{number}" if otherwise in names else otherwise))
    if len(set(names)) < len(names):
        raise ValueError(f"{what}: two of them have one name")
    return names


def either_or(short: Sequence[object], rules: Sequence[object]) -> bool:
    """Whether rules were given; the short form, which is all of `short`, is the other way. ValueError where it is
    neither, or both."""
    if rules and any(part is not None for part in short):
        raise ValueError("give limit and per, or rules, not both")
    if not rules and any(part is None for part in short):
        raise ValueError("give limit and per, or rules")
    return bool(rules)


def named_tiers(tiers: Sequence[N], rules_of: Callable[[N], R]) -> list[tuple[str, N, R]]:
    """Each tier with its name, or else its number, and its rules. ValueErrors of those say which tier it is."""
    names = unique_names([(tier.name, str(number)) for number, tier in enumerate(tiers, start=1)], "tiers")
    named = []
    for number, (name, tier) in enumerate(zip(names, tiers, strict=True), start=1):
        try:
            named.append((name, tier, rules_of(tier)))
        except ValueError as error:
            raise ValueError(f"tiers: number {number}: {error}") from None
    return named
