"""How all workers come to serve one configuration: each prepares it, and they swap where all could. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from twisted.internet.defer import Deferred

from apigateway.ports.interfaces import ICancellable, IEventLog, ITimers
from apigateway.supervisor import messages

# A large configuration is built in seconds; what policies fetch when they are provisioned may take longer.
PREPARE_WITHIN = 30.0
NOBODY = "/: no worker is there to take it"


@dataclass(frozen=True, slots=True)
class Running:
    """The configuration that all are to serve. number: one more with every one that was tried."""

    number: int
    body: bytes


class Member(Protocol):
    """A worker, as far as this goes. number: of the configuration that it says it serves."""

    number: int

    @property
    def slot(self) -> int:
        """For messages."""

    @property
    def accepting(self) -> bool:
        """It serves, and is heard."""

    def send(self, message: messages.Message) -> None:
        """Tell it something; it arrives after what was sent before, or never, where the worker is gone."""

    def leave(self) -> None:
        """Have it drain and end; another one is begun in its place."""


@dataclass(slots=True)
class _Preparation:
    """Asked of one member. voted: it could, and may be told to commit."""

    number: int
    late: ICancellable
    voted: bool = False


@dataclass(slots=True)
class _Take:
    """A configuration that is tried. late: the slots of who did not prepare it in time. swapping: who was told to
    serve it, and did not say yet that it does."""

    wanted: Running
    over: Deferred[list[str]]
    problems: list[str] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    swapping: set[Member] = field(default_factory=set)

    def refusals(self, anybody: bool) -> list[str]:
        """Why it is not taken; nothing where it is."""
        problems = list(dict.fromkeys(self.problems))
        if self.late:
            slots = ", ".join(map(str, sorted(self.late)))
            problems.append(f"/: not provisioned within {PREPARE_WITHIN:g} s (workers: {slots})")
        return problems or ([] if anybody else [NOBODY])


class Agreement:
    """What was asked of each member and is not answered yet:

      preparing   a Prepare; until it voted and, in a take, all others have
      committing  a Commit, until its Committed

    Both, where a Prepare follows a Commit at once. During a take nobody is caught up: that comes when it is decided,
    for whoever does not say by then that it serves what all do. It is over when all that were told to swap have done
    so. A member whose vote is late is told to let go of what it prepares, and lives: it carries traffic.

    running: what is served first. members: gives those that have a process.
    """

    def __init__(
        self, running: Running, members: Callable[[], Iterable[Member]], timers: ITimers, events: IEventLog
    ) -> None:
        self.running = running
        self._members, self._timers, self._events = members, timers, events
        self._tried, self._preparations = running.number, 0
        self._preparing: dict[Member, _Preparation] = {}
        self._committing: dict[Member, int] = {}
        self._take: _Take | None = None
        # Decided, and not over.
        self._taken: _Take | None = None

    def take(self, body: bytes) -> Deferred[list[str]]:
        """Have all that are there serve a configuration, or none: fires with what is wrong, nothing where it is served.
        One at a time."""
        assert self._take is None and self._taken is None
        self._tried += 1
        take = self._take = _Take(Running(self._tried, body), Deferred())
        for member in self._members():
            if member.accepting:
                self._prepare(member, take.wanted)
        self._decide()
        return take.over

    # ---- told of members

    def is_there(self, member: Member) -> None:
        """It says what it serves: where that is something else than the others do, it is brought to it."""
        asked = self._take is not None or member in self._preparing or member in self._committing
        if not asked and member.accepting and member.number != self.running.number:
            self._prepare(member, self.running)

    def voted(self, member: Member, number: int, problems: list[str]) -> None:
        """It could prepare, or not. Nothing where it was told meanwhile to let go of that."""
        preparation = self._preparing.get(member)
        if preparation is None or preparation.number != number:
            return
        preparation.late.cancel()
        if problems:
            del self._preparing[member]
            self._refused(member, problems)
        else:
            preparation.voted = True
            if self._take is None:
                self._commit(member)
        self._decide()

    def committed(self, member: Member, number: int) -> None:
        """It did what the Commit said, if it could; `number` of the member is what it serves now."""
        if self._committing.get(member) == number:
            del self._committing[member]
            self._swapped(member)
        self.is_there(member)

    def away(self, member: Member) -> None:
        """It is silent, or drains: nobody waits for it."""
        self._give_up(member)
        self._decide()
        self._swapped(member)

    def gone(self, member: Member) -> None:
        """Its process is over."""
        self._committing.pop(member, None)
        self.away(member)

    # ---- one member

    def _prepare(self, member: Member, wanted: Running) -> None:
        """In place of whatever it prepares now."""
        before = self._preparing.get(member)
        if before is not None:
            before.late.cancel()
        self._preparations += 1
        late = self._timers.call_later(PREPARE_WITHIN, self._late, member)
        self._preparing[member] = _Preparation(self._preparations, late)
        member.send(messages.Prepare(self._preparations, wanted.number, wanted.body))

    def _commit(self, member: Member) -> None:
        number = self._committing[member] = self._preparing.pop(member).number
        member.send(messages.Commit(number))

    def _give_up(self, member: Member) -> None:
        preparation = self._preparing.pop(member, None)
        if preparation is not None:
            preparation.late.cancel()
            member.send(messages.Discard(preparation.number))

    def _refused(self, member: Member, problems: list[str]) -> None:
        if self._take is not None:
            self._take.problems += problems
            return
        self._events.event(
            "error", "worker refuses what the others serve, and is begun anew", slot=member.slot, problems=problems
        )
        member.leave()

    def _late(self, member: Member) -> None:
        if self._take is not None:
            self._take.late.append(member.slot)
        else:
            self._events.event(
                "error", "worker goes on with an older revision: what the others serve is not provisioned in time",
                slot=member.slot, seconds=PREPARE_WITHIN,
            )
        self.away(member)

    # ---- all of them

    def _decide(self) -> None:
        take = self._take
        if take is None or not all(preparation.voted for preparation in self._preparing.values()):
            return
        self._take = None
        problems = take.refusals(bool(self._preparing))
        if not problems:
            self._taken, self.running = take, take.wanted
            take.swapping.update(self._preparing)
        for member in list(self._preparing):
            if problems:
                self._give_up(member)
            else:
                self._commit(member)
        for member in self._members():
            self.is_there(member)
        if problems:
            take.over.callback(problems)

    def _swapped(self, member: Member) -> None:
        """It serves what was taken, or nobody waits for it any more."""
        taken = self._taken
        if taken is not None:
            taken.swapping.discard(member)
            if not taken.swapping:
                self._taken = None
                taken.over.callback([])
