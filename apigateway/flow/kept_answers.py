"""Answers that are kept to be given again: as octets of a store, and who they belong to."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from apigateway.ports.interfaces import IClock
from apigateway.ports.memory_store import MemoryStore

CLAIM = b"C"
ANSWER = b"A"
_FEED = b"\n"


class KeptAnswer(NamedTuple):
    """A status, its field lines, its body. fingerprint: of the request that it is the answer to."""

    fingerprint: str
    status: int
    lines: tuple[tuple[bytes, bytes], ...]
    body: bytes


def claim_octets(fingerprint: str, token: str) -> bytes:
    """What says that a request is on its way; token: whose claim it is."""
    return b" ".join((CLAIM, fingerprint.encode(), token.encode()))


def answer_octets(answer: KeptAnswer) -> bytes:
    """A kept answer as octets."""
    lines = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.lines]
    head = json.dumps([answer.fingerprint, answer.status, lines], separators=(",", ":"))
    return b"%b %b%b%b" % (ANSWER, head.encode("ascii"), _FEED, answer.body)


def read_octets(octets: bytes) -> KeptAnswer | str:
    """The answer that octets hold; of a claim the fingerprint of its request. ValueError for what is neither."""
    kind, _, rest = octets.partition(b" ")
    if kind == CLAIM:
        return rest.partition(b" ")[0].decode("ascii")
    if kind != ANSWER:
        raise ValueError("what is kept is no answer")
    head, _, body = rest.partition(_FEED)
    fingerprint, status, lines = json.loads(head)
    return KeptAnswer(fingerprint, status, tuple(_pairs(lines)), body)


def _pairs(lines: Iterable[Iterable[str]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in lines:
        yield name.encode("latin-1"), value.encode("latin-1")


class OctetBudget:
    """Bounds what a store in memory holds of answers: it counts keys, and an answer may be large.

    All are kept for the same time, so the oldest ends first; that is what goes where there is no room.
    """

    def __init__(self, clock: IClock, store: MemoryStore, most: int) -> None:
        self._now, self._store, self.most = clock.monotonic, store, most
        self._kept: deque[tuple[str, int, float]] = deque()
        self.octets = 0

    def kept(self, key: str, octets: int, seconds: float) -> None:
        """An answer was put under a key."""
        now = self._now()
        self._kept.append((key, octets, now + seconds))
        self.octets += octets
        while self._kept and (self.octets > self.most or self._kept[0][2] <= now):
            oldest, size, ends = self._kept.popleft()
            self.octets -= size
            if ends > now:
                self._store.remove(oldest)
