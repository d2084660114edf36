"""Whether processes stayed as they were over a long run: their memory and their descriptors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

# Parts of the run: what is before the first is warming; the first window is compared with the last.
WARM, WINDOW = 0.1, 0.1
MOST_GROWTH = 0.05
# Of all processes together, as connections move between workers: they come and go while somebody looks.
MOST_DESCRIPTORS = 10


@dataclass(frozen=True, slots=True)
class Look:
    """A process at a time. at: seconds from the beginning; resident: octets."""

    at: float
    resident: int
    descriptors: int


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Of one process: medians of the two windows. growth: of its memory, as a part of what it was."""

    resident: tuple[float, float]
    descriptors: tuple[float, float]
    growth: float


def judge(looks: Sequence[Look], seconds: float) -> Steadiness | None:
    """Of one process over a run of so long; None: it was not there from the beginning to the end."""
    first = [look for look in looks if WARM * seconds <= look.at < (WARM + WINDOW) * seconds]
    last = [look for look in looks if look.at >= (1 - WINDOW) * seconds]
    if not first or not last:
        return None
    resident = median(look.resident for look in first), median(look.resident for look in last)
    descriptors = median(look.descriptors for look in first), median(look.descriptors for look in last)
    return Steadiness(resident, descriptors, resident[1] / resident[0] - 1)


def judge_all(seen: Mapping[int, Sequence[Look]], seconds: float) -> tuple[dict[int, Steadiness], list[str]]:
    """(every process that was there all the time, what is not as it should be).

    A process that was seen once only was no worker.
    """
    steady: dict[int, Steadiness] = {}
    wrong = []
    for pid, looks in seen.items():
        found = judge(looks, seconds)
        if found is not None:
            steady[pid] = found
            if found.growth >= MOST_GROWTH:
                wrong.append(f"process {pid}: memory grew by {found.growth:.1%}")
        elif len(looks) > 1:
            wrong.append(f"process {pid} was not there from the beginning to the end")
    before, after = (sum(one.descriptors[at] for one in steady.values()) for at in (0, 1))
    if abs(after - before) > MOST_DESCRIPTORS:
        wrong.append(f"descriptors went from {before:g} to {after:g}")
    return steady, wrong
