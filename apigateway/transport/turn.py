"""Writes of one turn of the loop, sent together at its end.

A write wakes its reader. Where each read is answered by a write, one after the other, the reader on the other side
falls asleep and is woken again for every one of them, and waking costs the writer more than writing (on a virtual
machine, most of all). Sent together, all but the first find it awake. One connection alone waits no longer than the
turn lasts.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol
from weakref import WeakKeyDictionary


class Waiting(Protocol):
    """Who has something to send at the end of the turn."""

    def send_out(self) -> None:
        """Send it."""


class Turn:
    """The connections of a loop that have something to send at the end of this turn."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Waiting] = []

    def add(self, one: Waiting) -> None:
        """Have it send at the end of the turn; it adds itself once."""
        waiting = self._waiting
        if not waiting:
            self._loop.call_soon(self._end)
        waiting.append(one)

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.send_out()


_TURNS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Turn]] = WeakKeyDictionary()


def turn_of(loop: asyncio.AbstractEventLoop) -> Turn:
    """The one of a loop."""
    turn = _TURNS.get(loop)
    if turn is None:
        turn = _TURNS[loop] = Turn(loop)
    return turn
