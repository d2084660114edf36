"""The ways to balance: each chooses among targets that may be chosen, of which there is at least one."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b
from struct import unpack
from typing import Final, Protocol

from apigateway.flow.exchange import Exchange
from apigateway.flow.target_state import TargetState
from apigateway.ports.interfaces import IRandom

# Weights count in twentieths: a part of one (slow start) is a whole number, too, and of a size that costs nothing.
UNIT: Final = 20


class Choice:
    """A target with the weight that this revision gives it (> 0), in twentieths."""

    __slots__ = ("state", "weight")

    def __init__(self, state: TargetState, weight: int) -> None:
        self.state = state
        self.weight = weight * UNIT

    def rising(self, share: float) -> Choice:
        """The same, with a share of its weight."""
        part = Choice(self.state, 1)
        part.weight = max(1, int(self.weight * share))
        return part


class Method(Protocol):
    """A way to balance. usable: in the order of the configuration."""

    def __call__(self, usable: Sequence[Choice], exchange: Exchange) -> TargetState: ...


def round_robin(usable: Sequence[Choice], exchange: Exchange) -> TargetState:
    """By weight, evenly spread ("smooth", as nginx does it): everyone gains its weight, the richest is taken
    and pays what all of them gained. Exact over every full round while the same targets are usable."""
    total = 0
    best: TargetState | None = None
    most = 0
    for choice in usable:
        state = choice.state
        weight = choice.weight
        total += weight
        current = state.current = state.current + weight
        if best is None or current > most:
            best, most = state, current
    assert best is not None
    best.current = most - total
    return best


def in_turn(
    choices: Sequence[Choice], exchange: Exchange, now: float, tried: Collection[TargetState] = ()
) -> TargetState | None:
    """The next one by round robin of those that are usable and not tried yet; None where none is."""
    usable = [choice for choice in choices if choice.state.out_until <= now and choice.state not in tried]
    if not usable:
        return None
    state = usable[0].state if len(usable) == 1 else round_robin(usable, exchange)
    state.last_used = now
    return state


def level(choices: Sequence[Choice]) -> None:
    """Begin the turns of a round robin anew where they stem from much larger weights: with those of before, one target
    would get thousands of exchanges in a row."""
    total = sum([choice.weight for choice in choices])
    if any(abs(choice.state.current) > total for choice in choices):
        for choice in choices:
            choice.state.current = 0


def least_connections(usable: Sequence[Choice], exchange: Exchange) -> TargetState:
    """The lowest (active + 1) / weight; of several, by round robin.

    With nothing running anywhere that would always be the heaviest: then, too, it is round robin by weight,
    so that calls one after the other are spread.
    """
    ties: list[Choice] = []
    least = 0.0
    idle = True
    for choice in usable:
        active = choice.state.active
        idle = idle and active == 0
        load = (active + 1) / choice.weight
        if not ties or load < least:
            ties, least = [choice], load
        elif load == least:
            ties.append(choice)
    if idle:
        return round_robin(usable, exchange)
    return ties[0].state if len(ties) == 1 else round_robin(ties, exchange)


class TwoChoices:
    """Two different ones drawn by weight, the less loaded of them taken, the first drawn where they are
    even."""

    def __init__(self, random: IRandom) -> None:
        self._random: Callable[[], float] = random.random

    def __call__(self, usable: Sequence[Choice], exchange: Exchange) -> TargetState:
        first = self._draw(usable)
        if len(usable) == 1:
            return first.state
        second = self._draw([choice for choice in usable if choice is not first])
        less = second.state.active * first.weight < first.state.active * second.weight
        return second.state if less else first.state

    def _draw(self, choices: Sequence[Choice]) -> Choice:
        rest = self._random() * sum(choice.weight for choice in choices)
        for choice in choices:
            rest -= choice.weight
            if rest < 0:
                return choice
        return choices[-1]


# Points of the heaviest target. A share is off by about 1/sqrt(points), 4 %: well within the fifth by which
# more keys than a target's fair share may move when it leaves.
_POINTS = 512
_POINTS_A_DIGEST = 16


class HashRing:
    """The same key goes to the same target (a ring, 32-bit points). When a target leaves, only its keys move;
    they spread over the others. A target's points are made of its name alone, so the ring is the same in
    every worker."""

    def __init__(self, choices: Sequence[Choice], key: Callable[[Exchange], bytes]) -> None:
        self._key = key
        self._count = len(choices)
        heaviest = max((choice.weight for choice in choices), default=1)
        # As one number each, point and owner, since places of a service change while traffic runs: to sort tuples takes
        # more than twice as long (50 targets: 16 ms, not 10). Points that are the same go by name.
        by_name = sorted(choices, key=_name)
        count = max(1, len(by_name))
        placed = sorted([
            point * count + number
            for number, choice in enumerate(by_name)
            for point in _points(choice.state.name, max(1, _POINTS * choice.weight // heaviest))
        ])
        self._points = [place // count for place in placed]
        self._owners = [by_name[place % count] for place in placed]

    def __call__(self, usable: Sequence[Choice], exchange: Exchange) -> TargetState:
        owners = self._owners
        digest = blake2b(self._key(exchange), digest_size=4).digest()
        start = bisect(self._points, int.from_bytes(digest, "little"))
        if start == len(owners):
            start = 0
        if len(usable) == self._count:
            return owners[start].state
        around = range(start - len(owners), start)
        return next(owners[place].state for place in around if owners[place] in usable)


def _name(choice: Choice) -> str:
    return choice.state.name


def _points(name: str, count: int) -> list[int]:
    points: list[int] = []
    for number in range((count + _POINTS_A_DIGEST - 1) // _POINTS_A_DIGEST):
        points += unpack("<16I", blake2b(f"{number}/{name}".encode()).digest())
    return points[:count]
