"""A running program, whether it carries traffic itself or supervises workers: its life, signals, and management."""

from __future__ import annotations

import signal
from abc import abstractmethod
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.error import CannotListenError
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from apigateway.adapters.event_log import EventLog
from apigateway.adapters.metrics import Metrics
from apigateway.checking import Checked, Parts, check_file
from apigateway.config import last_good
from apigateway.config.model import Configuration
from apigateway.dataplane.certificates import Stamp, stamp
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.manager.site import ManagementSite
from apigateway.manager.worker_api import resource
from apigateway.ports.interfaces import IWorker
from apigateway.replacement import PidFile, Replacement, key_of, place_of_address
from apigateway.transport.endpoints import NativeServerEndpoint
from apigateway.transport.inherited import Inherited
from apigateway.transport.reactor import call_in_loop, loop_of

log = Logger()

LAST_GOOD = "last-good.json"
# How often a watched file is looked at.
WATCH_INTERVAL = 1.0


@dataclass(frozen=True)
class Setting:
    """What a program is started with. path: of its file; checked: what came of that; inherited: from the program that
    it replaces; pid_file: twistd's, where there is one; seen: how the file was before it was read, for who watches it.
    """

    path: str
    checked: Checked
    parts: Parts
    inherited: Inherited
    pid_file: PidFile
    seen: Stamp = None

    @property
    def configuration(self) -> Configuration:
        """What it serves first."""
        assert self.checked.configuration is not None
        return self.checked.configuration


class ProgramService(MultiService):
    """The life of a program: it starts, reloads, is replaced, drains, ends.

    `failed` is the exit status to end with: 0, or 1 after a start that failed. `started` fires when it serves, or
    could not: what went wrong is logged by then.
    """

    def __init__(self, reactor: Any, setting: Setting, events: EventLog) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        configuration = self.settings = setting.configuration
        self._reactor, self._path, self._inherited = reactor, setting.path, setting.inherited
        self.events = events
        self._keep = last_good_path(setting.checked, setting.path) if configuration.data_dir else None
        self.failed = 0
        self._stopping = self._replaced = self._terminated = False
        self._management = self._management_endpoint()
        self._management_port: Any = None
        self._storing = DeferredLock()
        self._watch = LoopingCall(self._look_at_file)
        self._seen = setting.seen
        self._serving = self._reload_wanted = self._reloading = False
        self._replacement = Replacement(reactor, events, setting.pid_file, self._handed_over, self._took_over)
        self.started: Deferred[None] = Deferred()

    # ---- what kinds of programs do in their own way

    @abstractmethod
    def bind(self) -> None:
        """Bind every address of clients that was not inherited. Raises CannotListenError."""

    @abstractmethod
    async def serve(self) -> None:
        """Carry traffic, or have it carried. ConfigurationRefused where it cannot be."""

    @abstractmethod
    async def end(self, *, handed_over: bool) -> None:
        """Drain. handed_over: another program accepts on the addresses already."""

    @abstractmethod
    def abort(self) -> None:
        """End what is left at once."""

    @abstractmethod
    def reload(self) -> Awaitable[Any]:
        """Take the file as it is now. Never fails."""

    @abstractmethod
    def reopen_logs(self) -> None:
        """Open the log files anew, for whoever rotates them."""

    @abstractmethod
    async def close(self) -> None:
        """The last thing that is done: logs are written out."""

    @abstractmethod
    def shown(self) -> IWorker:
        """What the management API shows."""

    @abstractmethod
    def exposition(self) -> Awaitable[bytes]:
        """What is counted, as text."""

    @abstractmethod
    def descriptors(self) -> list[tuple[str, int]]:
        """Every listening socket of clients, by `key_of`."""

    @abstractmethod
    def leave_files(self) -> None:
        """The files of Unix sockets are another program's from now on."""

    # ---- service

    def privilegedStartService(self) -> None:
        try:
            self.bind()
            if self._management is not None:
                self._management.bind()
        except CannotListenError as error:
            self._inherited.failed(str(error))
            raise
        super().privilegedStartService()  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        call_in_loop(self._reactor, self._begin)

    def _begin(self) -> None:
        if self._stopping:
            return  # stopped in the turn in which it was started
        self.events.observe()
        self._on_signals()
        starting = Deferred.fromCoroutine(self._start())
        starting.addErrback(self._start_failed)
        starting.chainDeferred(self.started)

    async def _start(self) -> None:
        await self.serve()
        if self._stopping:
            return  # it was told to end meanwhile: the program before goes on
        if self._management is not None:
            assert self.settings.management is not None
            root = resource(self.shown(), self.settings.management.tokens, self.exposition, self.events)
            self._management_port = await self._management.listen(ManagementSite(root))
        if self.settings.watch:
            self._watch.start(WATCH_INTERVAL, now=False)
        self._inherited.close_rest()
        self._inherited.serves()
        self.events.event("info", "serving", revision=self.revision(), file=self._path)
        self._serving = True
        if self._reload_wanted:
            self._reload_soon()

    @abstractmethod
    def revision(self) -> str:
        """Digest of the revision that runs."""

    def _start_failed(self, failure: Failure) -> None:
        error = failure.value
        problems = error.problems if isinstance(error, ConfigurationRefused) else (Problem("", str(error)),)
        for problem in problems:
            log.critical("{problem}", problem=str(problem))
        self._inherited.failed("\n".join(map(str, problems)))
        self.failed = 1
        self._reactor.callLater(0, self._stop_reactor)

    def stopService(self) -> Deferred[Any]:
        """Drain, then let go of everything. Called by the reactor's shutdown, which waits for it."""
        self._stopping = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._replacement.cancel()
        if self._watch.running:
            self._watch.stop()
        if self._replaced:
            await self._stop_management()
        await self.end(handed_over=self._replaced)
        await self._stop_management()
        await self._storing.run(lambda: None)
        self.events.event("info", "stopped")
        await self.close()
        result = super().stopService()  # type: ignore[no-untyped-call]
        if result is not None:
            await result
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            loop_of(self._reactor).remove_signal_handler(number)

    async def _stop_management(self) -> None:
        port, self._management_port = self._management_port, None
        if port is not None:
            if self.settings.management is not None and self._theirs("management", self.settings.management.address):
                port.leave_file()
            await port.stopListening()

    # ---- signals

    def _on_signals(self) -> None:
        loop = loop_of(self._reactor)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        loop.add_signal_handler(signal.SIGUSR2, self._replace)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._terminate)

    def _hang_up(self) -> None:
        """SIGHUP: reload, and open the logs again."""
        self.reopen_logs()
        self._reload_soon()

    def _reload_soon(self) -> None:
        """Once more after what is under way, however often that is asked for; once it serves, where it does not yet:
        what is read then is newer than what it started with."""
        self._reload_wanted = True
        if self._serving and not self._reloading:
            Deferred.fromCoroutine(self._reload_while_wanted())

    async def _reload_while_wanted(self) -> None:
        self._reloading = True
        while self._reload_wanted:
            self._reload_wanted = False
            await self.reload()
        self._reloading = False

    def _terminate(self) -> None:
        """The first one drains, the second ends; also of a program that drains already, since it was replaced."""
        again, self._terminated = self._terminated, True
        if not self._stopping:
            self._stop_reactor()
        elif self._replaced and not again:
            self.events.event("info", "it drains already, and another signal ends it now")
        else:
            self.events.event("warn", "second signal: ending now")
            self.abort()

    def _stop_reactor(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._reactor.stop()

    def _look_at_file(self) -> None:
        seen, self._seen = self._seen, stamp(self._path)
        if seen != self._seen:
            self._reload_soon()

    # ---- replacement

    def _replace(self) -> None:
        """SIGUSR2: have the program begun anew, and end when that one serves."""
        if not self._stopping and self.started.called:
            self._replacement.begin()

    def _handed_over(self) -> list[tuple[str, int]]:
        management = []
        if self._management_port is not None and self.settings.management is not None:
            key = key_of("management", self.settings.management.address)
            management = [(key, descriptor) for descriptor in self._management_port.descriptors]
        return [*self.descriptors(), *management]

    def _theirs(self, name: str, address: str) -> bool:
        """Whether the program before goes on with an address, should this one end now."""
        return self._inherited.still_theirs(key_of(name, address))

    def _took_over(self) -> None:
        self._replaced = True
        self.leave_files()
        if self._management_port is not None:
            self._management_port.leave_file()
        self._stop_reactor()

    # ---- the file

    def taken(self, configuration: Configuration) -> None:
        """Keep what was taken, one after the other, off the reactor: fsync may take its time."""
        self.settings = configuration
        if self._keep is None:
            return
        stored = self._storing.run(deferToThread, _store, self._keep, configuration)
        stored.addErrback(
            lambda failure: self.events.event("error", "the last good revision was not stored", why=str(failure.value))
        )

    def _management_endpoint(self) -> NativeServerEndpoint | None:
        settings = self.settings.management
        if settings is None:
            return None
        inherited = self._inherited.take(key_of("management", settings.address))
        return NativeServerEndpoint(
            self._reactor, place_of_address(settings.address), sock=inherited[0] if inherited else None
        )


def checked_to_serve(path: str, *, use_last_good: bool = False) -> tuple[Checked, Parts]:
    """A file that is going to be served, and what is built around; ConfigurationRefused where it is broken.

    use_last_good: where it is, the last good one of its data_dir (or of ./data beside it) instead.
    """
    parts = Parts(metrics=Metrics())
    checked = check_file(path, serving=True, parts=parts)
    if not checked.ok and use_last_good:
        checked = check_file(path, serving=True, parts=parts, last_good_path=str(last_good_path(checked, path)))
    if not checked.ok:
        raise ConfigurationRefused(problem for problem in checked.problems)
    return checked, parts


def last_good_path(checked: Checked, path: str) -> Path:
    """Where the last good configuration of a file is kept."""
    configuration = checked.configuration
    folder = configuration.data_dir if configuration is not None and configuration.data_dir else None
    return (Path(folder) if folder else Path(path).resolve().parent / "data") / LAST_GOOD


def _store(path: Path, configuration: Configuration) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    last_good.store(path, configuration)
