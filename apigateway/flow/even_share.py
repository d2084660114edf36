"""A share of what comes, evenly spread."""

from __future__ import annotations

from typing import Final

_ALL: Final = 1_000_000


class EvenShare:
    """Counts, and throws no dice: of any number of calls in a row, so many are taken as the share says, give or take
    one. It outlives reloads, also those that change the share."""

    __slots__ = ("_saved",)

    def __init__(self) -> None:
        self._saved = _ALL // 2  # so that the first of a half is the first of all, and of a hundredth the fiftieth

    def take(self, millionths: int) -> bool:
        """Whether this one belongs to the share."""
        self._saved += millionths
        if self._saved < _ALL:
            return False
        self._saved -= _ALL
        return True


def millionths(share: float) -> int:
    """A share from 0 to 1 as `take` wants it."""
    return round(share * _ALL)
