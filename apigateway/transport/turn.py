"""Writes of one turn of the loop, sent together at its end.

A write wakes its reader. Where each read is answered by a write, one after the other, the reader on the other side
falls asleep and is woken again for every one of them, and waking costs the writer more than writing (on a virtual
machine, most of all). Sent together, all but the first find it awake. One connection alone waits no longer than the
turn lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final
from weakref import WeakKeyDictionary

from twisted.logger import Logger

log = Logger()

TOGETHER: Final = 16 * 1024
"""Octets of one turn that are sent without waiting for its end."""


class Turn:
    """The connections of a loop that have something to send at the end of this turn."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: list[Outgoing] = []

    def add(self, one: Outgoing) -> None:
        """Have it send at the end of the turn; it adds itself once."""
        waiting = self._waiting
        if not waiting:
            self._loop.call_soon(self._end)
        waiting.append(one)

    def _end(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            try:
                one.send()
            except Exception:  # of one of them; the others have nothing to do with it
                log.failure("a connection failed to send")


class Outgoing:
    """What a connection has written in this turn. send_on: the write of the loop's transport."""

    __slots__ = ("_pieces", "_send_on", "_size", "_turn")

    def __init__(self, turn: Turn, send_on: Callable[[bytes], None]) -> None:
        self._turn = turn
        self._send_on = send_on
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send at the end of this turn of the loop, or now where much has gathered."""
        pieces = self._pieces
        pieces.append(data)
        self._size += len(data)
        if self._size > TOGETHER:
            self.send()
        elif len(pieces) == 1:
            self._turn.add(self)

    def write_all(self, pieces: Iterable[bytes]) -> None:
        """The same for several."""
        for piece in pieces:
            self.write(piece)

    def send(self) -> None:
        """Give the loop's transport what was written."""
        pieces = self._pieces
        if pieces:
            self._pieces = []
            self._size = 0
            self._send_on(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def forget(self) -> None:
        """Drop what was not sent."""
        self._pieces = []
        self._size = 0


_TURNS: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Turn]] = WeakKeyDictionary()


def turn_of(loop: asyncio.AbstractEventLoop) -> Turn:
    """The one of a loop."""
    turn = _TURNS.get(loop)
    if turn is None:
        turn = _TURNS[loop] = Turn(loop)
    return turn
