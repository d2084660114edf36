"""The program with several workers: it reads the file, holds the addresses and answers operators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, DeferredLock
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from apigateway.adapters.event_log import EventLog
from apigateway.adapters.metrics import Metrics
from apigateway.checking import Parts, check_file
from apigateway.config import last_good
from apigateway.config.model import Configuration
from apigateway.config.revision import digest
from apigateway.dataplane.restart import not_taken
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.ports.interfaces import IWorker, Reading
from apigateway.ports.reloading import outcome_of_reload
from apigateway.program import ProgramService, Setting
from apigateway.supervisor import messages
from apigateway.supervisor.agreeing import Running
from apigateway.supervisor.crew import Crew
from apigateway.supervisor.shown import ShownCrew, targets_of
from apigateway.supervisor.sockets import SocketTable
from apigateway.traffic import candidate_of, open_log


class SupervisorService(ProgramService):
    """See ProgramService. workers: how many, at least two."""

    def __init__(self, reactor: Any, setting: Setting, workers: int) -> None:
        configuration = setting.configuration
        self._error_file = open_log(configuration.logs.error, reactor, shared=True)
        super().__init__(reactor, setting, EventLog(self._error_file, setting.parts.clock))
        self._clock = setting.parts.clock
        self._metrics = Metrics()
        self._sockets = SocketTable(configuration.listeners, workers, setting.inherited)
        running = Running(1, body_of(configuration))
        self.crew = Crew(reactor, self.events, setting.path, running, self._sockets, workers)
        self._lock = DeferredLock()
        self._last = outcome_of_reload(taken=False, digest="")
        self._shown = ShownCrew(
            self.crew, self._clock, reactor.seconds, lambda: self.settings, self.reload, lambda: self._last
        )

    # ---- see ProgramService

    def bind(self) -> None:
        self._sockets.bind()

    async def serve(self) -> None:
        """A reload that is asked for meanwhile waits until all workers are there to take it."""
        await self._lock.run(self.crew.begin)
        self._note_taken(self.settings)

    async def end(self, *, handed_over: bool) -> None:
        drain = self.settings.drain
        await self.crew.drain(drain.notice + drain.timeout, handed_over=handed_over)
        if not handed_over:
            self._sockets.remove_files()

    def abort(self) -> None:
        self.crew.abort()

    def reopen_logs(self) -> None:
        self.events.reopen()
        for worker in self.crew.workers:
            worker.send(messages.Reopen())

    async def close(self) -> None:
        await self.events.close()

    def shown(self) -> IWorker:
        return self._shown

    def revision(self) -> str:
        revision: str = self._last["digest"]
        return revision

    def descriptors(self) -> list[tuple[str, int]]:
        return self._sockets.handed_over()

    def leave_files(self) -> None:
        """They are removed by `end` only where nobody took over."""

    # ---- revisions

    def reload(self) -> Deferred[dict[str, Any]]:
        """Read and check the file in a thread, then have all workers take it, or none."""
        return self._lock.run(lambda: Deferred.fromCoroutine(self._reload()))

    async def _reload(self) -> dict[str, Any]:
        try:
            configuration, body = await deferToThread(self._read)
            problems = not_taken(self.settings, configuration)
            if problems:
                raise ConfigurationRefused(problems)
            refused = await self.crew.agreement.take(body)
        except ConfigurationRefused as error:
            refused = [str(problem) for problem in error.problems]
        except Exception as error:
            self.events.event("error", "reload failed", traceback=Failure().getTraceback())
            refused = [str(Problem("", f"{type(error).__name__}: {error}"))]
        if refused:
            self._note_refused(refused)
        else:
            self._note_taken(configuration)
            self.events.event("info", "revision taken by all workers", revision=self._last["digest"])
        return self._last

    def _read(self) -> tuple[Configuration, bytes]:
        """Of the file as it is now, checked; a draft of it is made here too, so that what is wrong is found once."""
        candidate = candidate_of(check_file(self._path, serving=True, parts=Parts()))
        return candidate.configuration, body_of(candidate.configuration)

    def _note_taken(self, configuration: Configuration) -> None:
        name = digest(configuration.revision)
        self._last = outcome_of_reload(taken=True, digest=name, wall=self._clock.wall())
        self._metrics.digest(name)
        self._metrics.reload("taken")
        self.crew.drained &= targets_of(configuration)
        self.taken(configuration)

    def _note_refused(self, problems: list[str]) -> None:
        self._last = outcome_of_reload(
            taken=False, digest=self.revision(), wall=self._clock.wall(), problems=problems
        )
        self._metrics.reload("refused")
        self.events.event("error", "configuration refused, the running revision stays", problems=problems)

    # ---- figures

    def exposition(self) -> Awaitable[bytes]:
        """What all workers counted; each is asked anew, and who does not answer counts as it last told."""
        return Deferred.fromCoroutine(self._exposition())

    async def _exposition(self) -> bytes:
        asked = [worker.ask("figures") for worker in self.crew.workers if worker.state != "starting"]
        await DeferredList(asked, consumeErrors=True)
        metrics = Metrics()
        metrics.reloads, metrics.revision = self._metrics.reloads, self._metrics.revision
        readings = [*self.crew.sum.add_to(metrics), *self._readings()]
        metrics.readings = lambda: readings
        return await metrics.exposition_later(self._reactor)

    def _readings(self) -> list[Reading]:
        states = Counter(
            "waiting" if slot.worker is None else "silent" if slot.worker.silent else slot.worker.state
            for slot in self.crew.slots
        )
        states["leaving"] += sum(slot.leaving is not None for slot in self.crew.slots)
        return [
            *(Reading("workers", (state,), float(states[state]))
              for state in ("ready", "starting", "leaving", "silent", "waiting")),
            Reading("worker_restarts", (), float(sum(slot.restarts for slot in self.crew.slots))),
            *([Reading("log_lines_lost", ("supervisor",), float(self._error_file.lost))] if self._error_file else []),
        ]


def body_of(configuration: Configuration, most: int = messages.MAX_BODY) -> bytes:
    """What workers are told of a configuration; ConfigurationRefused where that has more than `most` octets."""
    body = last_good.written(configuration)
    if len(body) > most:
        text = f"with several workers a configuration has at most {most} octets as JSON; this one has {len(body)}"
        raise ConfigurationRefused([Problem("", text)])
    return body
