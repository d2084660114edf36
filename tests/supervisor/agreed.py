"""Workers without processes, that agree over channels in memory whose messages arrive when a test says so."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from apigateway.dataplane.building import PreparedRevision
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.ports.memory import ListedEvents
from apigateway.supervisor import messages
from apigateway.supervisor.agreeing import Agreement, Running
from apigateway.supervisor.preparing import Preparing


class Timers:
    """Calls that are due when a test says how late it is."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[Call] = []

    def call_later(self, seconds: float, callable: object, *args: object) -> Call:
        call = Call(self, self.now + seconds, callable, args)
        self.calls.append(call)
        return call

    def pass_by(self, seconds: float) -> None:
        """So much later."""
        self.now += seconds
        for call in sorted(self.calls, key=lambda one: one.due):
            if call in self.calls and call.due <= self.now:
                self.calls.remove(call)
                call.callable(*call.args)  # type: ignore[operator]


class Call:
    """See Timers."""

    def __init__(self, timers: Timers, due: float, callable: object, args: tuple[object, ...]) -> None:
        self.timers, self.due, self.callable, self.args = timers, due, callable, args

    def cancel(self) -> None:
        """Harmless when it is over."""
        if self in self.timers.calls:
            self.timers.calls.remove(self)


class FakeWorker:
    """Both ends of one: the member that a supervisor has, and the worker's part, with a channel each way.

    stubborn: what it builds does not end where it is cancelled. open: revisions beside the running one that are neither
    committed nor discarded.
    """

    def __init__(self, slot: int, number: int, *, stubborn: bool = False) -> None:
        self.slot, self.number, self.stubborn = slot, number, stubborn
        self.ready, self.silent, self.told_to_leave = True, False, False
        self.inbox: deque[messages.Message] = deque()
        self.outbox: deque[messages.Message] = deque()
        self.building: list[Deferred[PreparedRevision]] = []
        self.open = 0
        self.failures: list[Failure] = []
        self.part = Preparing(self._build, self.outbox.append, lambda: "", self.failures.append)
        self.part.serves = number

    @property
    def accepting(self) -> bool:
        return self.ready and not self.silent

    def send(self, message: messages.Message) -> None:
        self.inbox.append(message)

    def leave(self) -> None:
        self.told_to_leave, self.ready = True, False

    # ---- the worker's part

    def _build(self, body: bytes) -> Deferred[PreparedRevision]:
        return Deferred.fromCoroutine(self._go_on_building() if self.stubborn else self._begin_building())

    async def _begin_building(self) -> PreparedRevision:
        building: Deferred[PreparedRevision] = Deferred()
        self.building.append(building)
        return await building

    async def _go_on_building(self) -> PreparedRevision:
        try:
            return await self._begin_building()
        except CancelledError:
            return await self._begin_building()

    def read(self) -> bool:
        """Do as the next message says; whether there was one."""
        if not self.inbox:
            return False
        match message := self.inbox.popleft():
            case messages.Prepare():
                self.part.prepare(message)
            case messages.Commit(preparation):
                self.part.commit(preparation)
            case messages.Discard(preparation):
                self.part.discard(preparation)
        return True

    def built(self, problem: str = "") -> None:
        """The oldest that is being built is done."""
        building = self.building.pop(0)
        if building.called:
            return  # cancelled
        if problem:
            building.errback(ConfigurationRefused([Problem("", problem)]))
        else:
            self.open += 1
            building.callback(PreparedRevision("", self._closed, self._closed))

    def _closed(self) -> None:
        self.open -= 1


class Stage:
    """An agreement of some workers."""

    def __init__(self, workers: int, **how: bool) -> None:
        self.timers, self.events = Timers(), ListedEvents()
        self.agreement = Agreement(Running(1, b"1"), lambda: self.workers, self.timers, self.events)
        self.how = how
        self.workers = [FakeWorker(slot, 1, **how) for slot in range(workers)]
        self.results: list[list[str]] = []

    def take(self, body: bytes = b"") -> list[list[str]]:
        """Begins one; what comes of it is added to the list."""
        result: list[list[str]] = []
        self.agreement.take(body).addCallback(result.append)
        return result

    def hear(self, worker: FakeWorker) -> bool:
        """The next that a worker said; whether there was something."""
        if not worker.outbox:
            return False
        match worker.outbox.popleft():
            case messages.Prepared(preparation):
                self.agreement.voted(worker, preparation, [])
            case messages.Refused(preparation, problems):
                self.agreement.voted(worker, preparation, problems)
            case messages.Committed(preparation, number):
                worker.number = number
                self.agreement.committed(worker, preparation)
        return True

    def alive(self, worker: FakeWorker) -> None:
        """It says so, and what it serves, after all that it said before."""
        while self.hear(worker):
            pass
        worker.silent, worker.number = False, worker.part.serves
        self.agreement.is_there(worker)

    def fall_silent(self, worker: FakeWorker) -> None:
        worker.silent = True
        self.agreement.away(worker)

    def die(self, worker: FakeWorker) -> None:
        """Another one, begun with what runs, takes its place."""
        place = self.workers.index(worker)
        self.workers[place] = FakeWorker(worker.slot, self.agreement.running.number, **self.how)
        self.agreement.gone(worker)

    def settle(self, problem: str = "") -> None:
        """Everything on its way arrives, and what is being built is built."""
        more = True
        while more:
            more = False
            for worker in self.workers:
                while worker.read() or self.hear(worker):
                    more = True
                while worker.building:
                    worker.built(problem)
                    more = True
