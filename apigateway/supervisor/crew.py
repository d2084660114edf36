"""All workers of a machine: begun, begun again, covered for one another, and brought to one revision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from apigateway.adapters.snapshot import Sum
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.ports.interfaces import IEventLog
from apigateway.supervisor import messages
from apigateway.supervisor.backoff import Backoff
from apigateway.supervisor.children import Children
from apigateway.supervisor.covering import shares
from apigateway.supervisor.running import Gone, RunningWorker
from apigateway.supervisor.sockets import SocketTable
from apigateway.transport.reactor import loop_of

LOOK_EVERY = 0.5
# A worker says four times in this that it is there.
SILENT_AFTER = 2.0
# A process that was stopped by an operator may be let go on; one whose loop is stuck does not come back.
KILL_AFTER = 60.0
# What is given to workers that end beyond their own limit.
END_MARGIN = 5.0


@dataclass(frozen=True)
class Running:
    """The configuration that all are to serve. number: one more with every one that was tried."""

    number: int
    body: bytes


class Slot:
    """A place for one worker."""

    def __init__(self) -> None:
        self.worker: RunningWorker | None = None
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
        self.running = running
        self._tried = running.number
        self.slots = [Slot() for _ in range(workers)]
        self.sum = Sum()
        self.drained: set[tuple[str, str]] = set()
        self._ids = 0
        self.stopping = False
        self._first: Deferred[None] = Deferred()
        self._empty: Deferred[None] | None = None
        self._look = LoopingCall(self._look_at_all)
        self._looked = 0.0

    # ---- life

    def begin(self) -> Deferred[None]:
        """Begin all. Fires when each has been ready once; ConfigurationRefused where one could not provision."""
        self._looked = self._reactor.seconds()
        for number in range(len(self.slots)):
            self._begin(number)
        self._look.start(LOOK_EVERY, now=False)
        return self._first

    def _begin(self, number: int) -> None:
        slot = self.slots[number]
        slot.timer = None
        slot.backoff.began(self._reactor.seconds())
        self._ids += 1
        worker = slot.worker = RunningWorker(self._ids, number, self._reactor, self._loop, self)
        first = messages.Begin(
            number, self.running.number, self._path, self._sockets.descriptors(), [number],
            [list(pair) for pair in sorted(self.drained)], self.running.body,
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
            worker.send(messages.Drain(handed_over))
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
        return [slot.worker for slot in self.slots if slot.worker is not None]

    @property
    def accepting(self) -> list[RunningWorker]:
        """Those to whom connections may be left."""
        return [worker for worker in self.workers if worker.accepting]

    # ---- told of workers

    def heard(self, worker: RunningWorker, message: messages.Message) -> None:
        """See Told."""
        if worker.silent:
            worker.silent = False
            self._events.event("info", "worker answers again", slot=worker.slot, pid=worker.pid)
            self._share_out()
        match message:
            case messages.Ready():
                self._is_ready(worker)
            case messages.Failed(problems):
                self._failed(worker, problems)
            case messages.Figures(body):
                self.sum.tell(worker.id, body)
            case messages.Leaving():
                self._share_out()

    def _is_ready(self, worker: RunningWorker) -> None:
        self.slots[worker.slot].was_ready = True
        self._events.event("info", "worker is ready", slot=worker.slot, pid=worker.pid)
        self._share_out()
        self._catch_up(worker)
        if not self._first.called and all(slot.was_ready for slot in self.slots):
            self._first.callback(None)

    def _failed(self, worker: RunningWorker, problems: list[str]) -> None:
        if not self._first.called:
            self._first.errback(ConfigurationRefused(Problem("", text) for text in dict.fromkeys(problems)))
        else:
            self._events.event(
                "error", "worker could not start", slot=worker.slot, pid=worker.pid, problems=problems
            )

    def ended(self, worker: RunningWorker, code: int) -> None:
        """See Told: begin another one in its place."""
        slot = self.slots[worker.slot]
        if slot.worker is not worker:
            return
        slot.worker = None
        self.sum.gone(worker.id)
        if self.stopping or (self._first.called and not slot.was_ready and worker.problems):
            self._see_whether_empty()
            return
        pause = slot.backoff.pause(self._reactor.seconds())
        slot.restarts += 1
        slot.begins_at = self._reactor.seconds() + pause
        slot.timer = self._reactor.callLater(pause, self._begin, worker.slot)
        self._events.event(
            "warn" if code == 0 else "error", "worker ended", slot=worker.slot, pid=worker.pid, status=code,
            again_in=pause,
        )
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
        now = self._reactor.seconds()
        late, self._looked = now - self._looked - LOOK_EVERY, now
        if late > LOOK_EVERY:
            return  # it is we who were stopped, and what they said meanwhile is not read yet
        for worker in self.workers:
            self._look_at(worker, now - worker.heard)

    def _look_at(self, worker: RunningWorker, quiet: float) -> None:
        if quiet > KILL_AFTER:
            self._events.event("error", "silent worker is killed", slot=worker.slot, pid=worker.pid, seconds=quiet)
            worker.kill()
        elif quiet > SILENT_AFTER and worker.state == "ready" and not worker.silent:
            worker.fall_silent()
            self._events.event("error", "worker is silent, others accept for it", slot=worker.slot, pid=worker.pid)
            self._share_out()
        else:
            self._catch_up(worker)

    # ---- revisions

    async def take(self, body: bytes) -> list[str]:
        """Have all serve a configuration, or none: what is wrong with it, nothing where it is served.

        Who is not there, or too late, is not waited for: it is brought to what was decided when it is back.
        """
        self._tried += 1
        number, asked = self._tried, self.accepting
        votes = await DeferredList([one.prepare(number, body) for one in asked], consumeErrors=True)
        self._end_who_hangs(asked, votes)
        prepared = [one for one, (voted, vote) in zip(asked, votes, strict=True) if voted and not vote]
        problems = list(dict.fromkeys(text for voted, vote in votes if voted for text in vote))
        if not prepared and not problems:
            problems = ["/: no worker is there to take it"]
        if problems:
            for one in asked:
                one.send(messages.Discard(number))
            return problems
        self.running = Running(number, body)
        for one in prepared:
            one.commit(number)
        return []

    def _end_who_hangs(self, asked: list[RunningWorker], votes: list[Any]) -> None:
        """Who is there and gave no vote is stuck in what it prepares, and would keep all that come after waiting."""
        for one, (voted, _) in zip(asked, votes, strict=True):
            if not voted and one.accepting:
                self._events.event("error", "worker does not answer, and is begun anew", slot=one.slot, pid=one.pid)
                one.kill()

    def _catch_up(self, worker: RunningWorker) -> None:
        """Bring one to what the others serve."""
        if worker.accepting and worker.told != self.running.number:
            running, worker.told = self.running, self.running.number
            prepared = worker.prepare(running.number, running.body)
            prepared.addCallbacks(self._caught_up, self._stays_behind, (worker, running.number), {}, (worker,), {})

    def _caught_up(self, problems: list[str], worker: RunningWorker, number: int) -> None:
        if number != self.running.number:
            worker.send(messages.Discard(number))
            worker.told = -1
        elif problems:
            self._events.event(
                "error", "worker refuses what the others serve, and is begun anew", slot=worker.slot, pid=worker.pid,
                problems=problems,
            )
            worker.kill()
        else:
            worker.commit(number)

    def _stays_behind(self, failure: Failure, worker: RunningWorker) -> None:
        failure.trap(Gone)
        worker.told = -1

    # ---- questions

    async def ask_all(self, what: str, *arguments: Any) -> list[tuple[RunningWorker, Any]]:
        """What each answers; who does not is left out. LookupError where all that answer say so."""
        asked = [worker for worker in self.workers if worker.state != "starting"]
        answers = await DeferredList([one.ask(what, *arguments) for one in asked], consumeErrors=True)
        given = [(one, answer) for one, (fine, answer) in zip(asked, answers, strict=True) if fine]
        missing = [answer for fine, answer in answers if not fine and answer.check(LookupError)]
        if missing and not given:
            raise LookupError(str(missing[0].value))
        return given

    async def ask_any(self, what: str, *arguments: Any) -> Any:
        """What the first one answers that does. Gone where nobody does."""
        for worker in self.accepting:
            try:
                return await worker.ask(what, *arguments)
            except Gone:
                continue
        raise Gone("no worker answers")
