"""Who accepts on whose sockets: none of them may be left with connections that nobody takes. No I/O."""

from __future__ import annotations

from collections.abc import Collection


def shares(slots: int, accepting: Collection[int]) -> dict[int, list[int]]:
    """For every worker that accepts, the slots on whose sockets it does: its own first, then those of who cannot.

    slots: how many there are, 0 to slots - 1; there may be more of them than workers. Those without a worker are dealt
    out in turns. Nothing where nobody accepts.
    """
    able = sorted(accepting)
    dealt: dict[int, list[int]] = {slot: [slot] for slot in able}
    orphans = [slot for slot in range(slots) if slot not in dealt]
    for turn, orphan in enumerate(orphans if able else ()):
        dealt[able[turn % len(able)]].append(orphan)
    return dealt
