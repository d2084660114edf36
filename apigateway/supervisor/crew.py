"""All workers of a machine: begun, begun again, covered for one another, and brought to one revision."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList

from apigateway.adapters.snapshot import Sum
from apigateway.adapters.system import ReactorTimers
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.ports.interfaces import IEventLog, Unavailable
from apigateway.supervisor import messages
from apigateway.supervisor.agreeing import Agreement, Running
from apigateway.supervisor.backoff import Backoff
from apigateway.supervisor.children import Children
from apigateway.supervisor.covering import shares
from apigateway.supervisor.repeating import repeating
from apigateway.supervisor.running import Gone, RunningWorker
from apigateway.supervisor.sockets import SocketTable
from apigateway.transport.reactor import loop_of

LOOK_EVERY = 0.5
# A worker says four times in this that it is there.
SILENT_AFTER = 2.0
# A process that was stopped by an operator may be let go on; one whose loop is stuck does not come back.
KILL_AFTER = 60.0
# Who dies so often before it was ready for the first time will not be ready, whatever the reason.
DEATHS_AT_START = 3
# What is given to workers that end beyond their own limit.
END_MARGIN = 5.0


class Slot:
    """A place for one worker. leaving: one that was told to end, and drains while another has its place already."""

    def __init__(self) -> None:
        self.worker: RunningWorker | None = None
        self.leaving: RunningWorker | None = None
        self.backoff = Backoff()
        self.restarts = 0
        self.was_ready = False
        self.timer: Any = None
        self.begins_at = 0.0


class Crew:
    """The workers. path: of the file; running: what they serve. Begin it with `begin`, end it with `drain`."""

    def __init__(
        self, reactor: Any, events: IEventLog, path: str, running: Running, sockets: SocketTable, workers: int
    ) -> None:
        self._reactor, self._events, self._path, self._sockets = reactor, events, path, sockets
        self._loop = loop_of(reactor)
        self._children = Children(self._loop)
        self.agreement = Agreement(running, lambda: self.workers, ReactorTimers(reactor), events)
        self.slots = [Slot() for _ in range(workers)]
        self.sum = Sum()
        self._drained: set[tuple[str, str]] = set()
        self._ids = 0
        self.stopping = self._gave_up = False
        self._first: Deferred[None] = Deferred()
        self._empty: Deferred[None] | None = None
        self._look = repeating(self._look_at_all)

    # ---- life

    def begin(self) -> Deferred[None]:
        """Begin all. Fires when each has been ready once; ConfigurationRefused where one could not provision, or dies
        again and again."""
        for number in range(len(self.slots)):
            self._begin(number)
        self._look.start(LOOK_EVERY, now=False)
        return self._first

    def _begin(self, number: int) -> None:
        slot = self.slots[number]
        slot.timer = None
        self._ids += 1
        worker = slot.worker = RunningWorker(self._ids, number, self._reactor, self._loop, self)
        running = self.agreement.running
        first = messages.Begin(
            number, running.number, self._path, self._sockets.descriptors(), [number], self._pairs(), running.body
        )
        try:
            worker.begin(self._children, first)
        except OSError as error:
            self._events.event("error", "a worker could not be begun", slot=number, why=str(error))
            self.ended(worker, -1)

    async def drain(self, within: float, *, handed_over: bool) -> None:
        """Have all end; who has not after `within` seconds is killed."""
        self.stopping = True
        if self._look.running:
            self._look.stop()
        for slot in self.slots:
            if slot.timer is not None:
                slot.timer.cancel()
                slot.timer = None
        for worker in self.workers:
            worker.leave(handed_over=handed_over)
        # Their own descriptors are enough for them. Nobody is to come to a socket that only we hold.
        self._sockets.close()
        if self.workers:
            self._empty = Deferred()
            late = self._reactor.callLater(within + END_MARGIN, self.kill)
            await self._empty
            if late.active():
                late.cancel()

    def abort(self) -> None:
        """End what is left at once."""
        for worker in self.workers:
            worker.send(messages.Abort())
        self._reactor.callLater(END_MARGIN, self.kill)

    def kill(self) -> None:
        """Who does not end by himself."""
        for worker in self.workers:
            worker.kill()

    @property
    def workers(self) -> list[RunningWorker]:
        """Those that have a process."""
        return [one for slot in self.slots for one in (slot.worker, slot.leaving) if one is not None]

    @property
    def accepting(self) -> list[RunningWorker]:
        """Those to whom connections may be left."""
        return [worker for worker in self.workers if worker.accepting]

    # ---- told of workers

    def heard(self, worker: RunningWorker, message: messages.Message) -> None:
        """See Told."""
        if worker.silent:
            self._answers_again(worker)
        match message:
            case messages.Ready():
                self._is_ready(worker)
            case messages.Alive():
                self.agreement.is_there(worker)
            case messages.Prepared(preparation):
                self.agreement.voted(worker, preparation, [])
            case messages.Refused(preparation, problems):
                self.agreement.voted(worker, preparation, problems)
            case messages.Committed(preparation):
                self.agreement.committed(worker, preparation)
            case messages.Failed(problems):
                self._failed(worker, problems)
            case messages.Figures(body):
                self.sum.tell(worker.id, body)
            case messages.Leaving():
                self.left(worker)

    def left(self, worker: RunningWorker) -> None:
        """See Told."""
        self._is_away(worker)
        self._succeed(worker)

    def _succeed(self, worker: RunningWorker) -> None:
        """Begin another one in the place of who was told to end: he drains as long as he may. Not a third one."""
        slot = self.slots[worker.slot]
        wanted = worker.told_to_end and not self.stopping and not self._gave_up
        if wanted and slot.worker is worker and slot.leaving is None:
            slot.worker, slot.leaving = None, worker
            slot.restarts += 1
            self._begin(worker.slot)

    def _is_away(self, worker: RunningWorker) -> None:
        """It is silent, or leaves: others accept for it, and nobody waits for it."""
        self._share_out()
        self.agreement.away(worker)

    def _answers_again(self, worker: RunningWorker) -> None:
        worker.silent = False
        self._events.event("info", "worker answers again", slot=worker.slot, pid=worker.pid)
        worker.send(messages.Drained(self._pairs()))
        self._share_out()

    def _is_ready(self, worker: RunningWorker) -> None:
        slot = self.slots[worker.slot]
        slot.was_ready = True
        slot.backoff.serves(self._reactor.seconds())
        self._events.event("info", "worker is ready", slot=worker.slot, pid=worker.pid)
        worker.send(messages.Drained(self._pairs()))
        self._share_out()
        self.agreement.is_there(worker)
        if not self._first.called and all(slot.was_ready for slot in self.slots):
            self._first.callback(None)

    def _failed(self, worker: RunningWorker, problems: list[str]) -> None:
        if not self._first.called:
            self._give_up(problems)
        else:
            self._events.event(
                "error", "worker could not start", slot=worker.slot, pid=worker.pid, problems=problems
            )

    def _give_up(self, problems: Iterable[str]) -> None:
        """The first start is over, and nobody is begun any more."""
        self._gave_up = True
        self._first.errback(ConfigurationRefused(Problem("", text) for text in dict.fromkeys(problems)))

    def ended(self, worker: RunningWorker, code: int) -> None:
        """See Told: begin another one in its place."""
        slot = self.slots[worker.slot]
        self.sum.gone(worker.id)
        self.agreement.gone(worker)
        if slot.leaving is worker:
            self._has_left(worker, slot, code)
            return
        slot.worker = None
        if self.stopping or self._gave_up:
            self._see_whether_empty()
            return
        accident = code != 0 or not worker.told_to_end
        pause = slot.backoff.pause(self._reactor.seconds()) if accident else 0.0
        if not self._first.called and not slot.was_ready and slot.backoff.deaths >= DEATHS_AT_START:
            times = f"{slot.backoff.deaths} times before it was ready"
            self._give_up([f"worker {worker.slot} ended {times}, at last with status {code}"])
            return
        self._begin_again(worker, slot, pause, "error" if accident else "warn", code)

    def _has_left(self, worker: RunningWorker, slot: Slot, code: int) -> None:
        slot.leaving = None
        self._tell_ended(worker, "warn", code, 0.0)
        self._see_whether_empty()
        if slot.worker is not None:
            self._succeed(slot.worker)

    def _tell_ended(self, worker: RunningWorker, level: str, code: int, pause: float) -> None:
        self._events.event(level, "worker ended", slot=worker.slot, pid=worker.pid, status=code, again_in=pause)

    def _begin_again(self, worker: RunningWorker, slot: Slot, pause: float, level: str, code: int) -> None:
        self._tell_ended(worker, level, code, pause)
        slot.restarts += 1
        slot.begins_at = self._reactor.seconds() + pause
        slot.timer = self._reactor.callLater(pause, self._begin, worker.slot)
        self._share_out()

    def _see_whether_empty(self) -> None:
        if self._empty is not None and not self.workers:
            empty, self._empty = self._empty, None
            empty.callback(None)

    def _share_out(self) -> None:
        """Who can accepts for who cannot."""
        if not self.stopping:
            dealt = shares(self._sockets.slots, [worker.slot for worker in self.accepting])
            for worker in self.accepting:
                worker.accept_on(dealt[worker.slot])

    # ---- silence

    def _look_at_all(self) -> None:
        """Looks are counted, and not what the clock says: while this process is stopped, and its workers with it (a
        container that is paused), nobody can be heard."""
        for worker in self.workers:
            worker.watched += LOOK_EVERY
            self._look_at(worker, worker.watched - worker.heard)

    def _look_at(self, worker: RunningWorker, quiet: float) -> None:
        if quiet > KILL_AFTER:
            self._kill(worker, "silent worker is killed", quiet)
        elif worker.state == "starting" and worker.watched > KILL_AFTER:
            self._kill(worker, "worker is killed, since it does not come to serve", worker.watched)
        elif quiet > SILENT_AFTER and worker.state == "ready" and not worker.silent:
            worker.silent = True
            self._events.event("error", "worker is silent, others accept for it", slot=worker.slot, pid=worker.pid)
            self._is_away(worker)

    def _kill(self, worker: RunningWorker, why: str, seconds: float) -> None:
        self._events.event("error", why, slot=worker.slot, pid=worker.pid, seconds=round(seconds, 1))
        worker.kill()

    # ---- drained targets

    @property
    def drained(self) -> frozenset[tuple[str, str]]:
        """Pairs of upstream and target that operators have drained."""
        return frozenset(self._drained)

    @drained.setter
    def drained(self, pairs: Iterable[tuple[str, str]]) -> None:
        """All are told: who starts, or is silent, finds it when it reads, and is told once more then."""
        self._drained = set(pairs)
        for worker in self.workers:
            worker.send(messages.Drained(self._pairs()))

    def _pairs(self) -> list[list[str]]:
        return [list(pair) for pair in sorted(self._drained)]

    # ---- questions

    async def ask_all(self, what: str, *arguments: Any) -> list[tuple[RunningWorker, Any]]:
        """What each answers; who does not is left out. LookupError where all that answer say so; Unavailable where
        nobody answers."""
        asked = [worker for worker in self.workers if worker.state != "starting"]
        answers = await DeferredList([one.ask(what, *arguments) for one in asked], consumeErrors=True)
        given = [(one, answer) for one, (fine, answer) in zip(asked, answers, strict=True) if fine]
        missing = [answer for fine, answer in answers if not fine and answer.check(LookupError)]
        if missing and not given:
            raise LookupError(str(missing[0].value))
        if not given:
            raise Unavailable("no worker answers")
        return given

    async def ask_any(self, what: str, *arguments: Any) -> Any:
        """What the first one answers that does. Unavailable where nobody does."""
        for worker in self.accepting:
            try:
                return await worker.ask(what, *arguments)
            except Gone:
                continue
        raise Unavailable("no worker answers")
