"""The other end: a worker process, which does as its supervisor says."""

from __future__ import annotations

import gc
import signal
import socket
import ssl
from collections.abc import Awaitable
from inspect import isawaitable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from apigateway import __version__
from apigateway.adapters.metrics import Metrics
from apigateway.adapters.snapshot import Teller
from apigateway.checking import Checked, Parts, check_configuration
from apigateway.config import last_good
from apigateway.dataplane.building import Candidate, PreparedRevision
from apigateway.dataplane.readings import target_shown
from apigateway.dataplane.worker import Worker
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.ports.interfaces import Unavailable
from apigateway.replacement import key_of, place_of_address
from apigateway.supervisor import messages
from apigateway.supervisor.channel import Channel, open_channel
from apigateway.supervisor.preparing import Preparing
from apigateway.supervisor.repeating import repeating
from apigateway.traffic import Traffic, candidate_of
from apigateway.transport.endpoints import NativeServerEndpoint
from apigateway.transport.inherited import adopted
from apigateway.transport.reactor import loop_of
from apigateway.transport.several import SeveralSocketsEndpoint

log = Logger()

ALIVE_EVERY = 0.5
FIGURES_EVERY = 1.0
# What the supervisor has for reading the last words.
LAST_WORDS = 2.0


class WorkerProcess:
    """Carries traffic from Begin to Drain, to a signal TERM, or to the end of the channel. status: to exit with."""

    def __init__(self, reactor: Any) -> None:
        self._reactor, self._loop = reactor, loop_of(reactor)
        self._channel: Channel | None = None
        metrics = Metrics()
        self._parts, self._teller = Parts(metrics=metrics), Teller(metrics)
        self._traffic: Traffic | None = None
        self._hello = messages.Hello(__version__, messages.FORMAT)
        self._starting: Deferred[None] | None = None
        # Of the configuration's file: what it names is relative to that.
        self._base = Path()
        self._sockets: dict[str, list[socket.socket]] = {}
        self._accept: list[int] = []
        self._drained: set[tuple[str, str]] = set()
        self._preparing = Preparing(self._build, self._send, lambda: self._digest, self._not_prepared)
        self._serves = self._draining = self._terminated = False
        self._calls = [repeating(self._tick), repeating(self._tell_figures)]
        self.status = 0
        self._lost: Deferred[None] = Deferred()

    def begin(self, end: socket.socket) -> None:
        """Do what comes over this end of a channel. Called once the reactor runs."""
        # What a terminal sends to all that run in it is for the supervisor to pass on.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR2):
            self._loop.add_signal_handler(number, _ignore)
        self._loop.add_signal_handler(signal.SIGTERM, self._terminate)
        self._channel = Channel(self._received, self._channel_lost)
        Deferred.fromCoroutine(open_channel(self._loop, end, self._channel)).addErrback(self._not_opened)

    def _not_opened(self, failure: Failure) -> None:
        log.failure("a worker has no control channel", failure)
        self.status = 1
        self._reactor.stop()

    def _send(self, message: messages.Message) -> None:
        if self._channel is not None:
            self._channel.send(message)

    # ---- told

    def _received(self, message: messages.Message) -> None:
        match message:
            case messages.Hello():
                self._greeted(message)
            case messages.Begin():
                if not self._draining:
                    self._starting = Deferred.fromCoroutine(self._start(message))
            case messages.Prepare():
                self._preparing.prepare(message)
            case messages.Commit(preparation):
                self._preparing.commit(preparation)
                self._drain_targets()
            case messages.Discard(preparation):
                self._preparing.discard(preparation)
            case messages.Drained(pairs):
                self._drained = {(upstream, target) for upstream, target in pairs}
                self._drain_targets()
            case messages.Ask():
                answer = Deferred.fromCoroutine(self._answer(message))
                answer.addCallback(self._send).addErrback(self._too_large, message.id)
            case _:
                self._told(message)

    def _told(self, message: messages.Message) -> None:
        match message:
            case messages.Accept(slots):
                self._accept = slots
                self._accept_on()
            case messages.Drain(handed_over):
                self._drain(handed_over=handed_over)
            case messages.Abort():
                self._abort()
            case messages.Reopen():
                if self._traffic is not None:
                    self._traffic.reopen_logs()

    def _greeted(self, hello: messages.Hello) -> None:
        self._hello = hello
        if hello.format != messages.FORMAT:
            self._fail([
                f"a worker of version {__version__} does not understand its supervisor of version {hello.version}: "
                "replace the program (signal USR2 to the supervisor)"
            ])

    def _channel_lost(self) -> None:
        self._channel = None
        self._lost.callback(None)
        if not self._draining:
            if self._traffic is not None:
                self._traffic.events.event("error", "the supervisor is gone, this worker ends")
            self._drain(handed_over=True)

    def _terminate(self) -> None:
        """TERM to this process alone: another one comes in its place; or to all at once, where it drains already. The
        second ends at once."""
        if self._terminated:
            self._abort()
        elif not self._draining:
            self._send(messages.Leaving())
            self._drain(handed_over=True)
        self._terminated = True

    # ---- life

    async def _start(self, begin: messages.Begin) -> None:
        try:
            self._base, self._accept = Path(begin.path).resolve().parent, begin.accept
            self._drained = {(upstream, target) for upstream, target in begin.drained}
            self._sockets = {key: _adopted(descriptors) for key, descriptors in begin.sockets.items()}
            await self._serve(begin)
        except CancelledError:
            return  # it ends meanwhile
        except ConfigurationRefused as refused:
            self._fail([str(problem) for problem in refused.problems])
        except Exception as error:
            log.failure("a worker could not start")
            self._fail([f"{type(error).__name__}: {error}"])
        finally:
            gc.enable()  # see worker_process

    async def _serve(self, begin: messages.Begin) -> None:
        candidate = await self._candidate(begin.body)
        traffic = self._traffic = Traffic(
            self._reactor, candidate, self._parts, self._endpoint,
            lambda: fail(ConfigurationRefused([Problem("", "only a supervisor reads the file")])),
            lambda configuration: None, shares_logs=True,
        )
        del candidate  # which may go when another one is taken
        traffic.events.observe()
        if self._hello.version != __version__:
            self._worker_event(
                "warn", "a worker is of another version than its supervisor: replace the program (signal USR2)",
                worker=__version__, supervisor=self._hello.version,
            )
        self._calls[0].start(ALIVE_EVERY)
        await traffic.start()
        if self._draining:
            return
        self._preparing.serves, self._serves = begin.number, True
        self._drain_targets()
        self._accept_on()
        self._send(messages.Ready(begin.number, self._digest))
        self._calls[1].start(FIGURES_EVERY)

    def _fail(self, problems: list[str]) -> None:
        if not self._draining:
            self.status = 1
            self._send(messages.Failed(problems))
            self._drain(handed_over=True)

    def _drain(self, *, handed_over: bool) -> None:
        if not self._draining:
            self._draining = True
            Deferred.fromCoroutine(self._end(handed_over)).addErrback(
                lambda failure: log.failure("a worker could not drain", failure)
            ).addBoth(lambda _: self._reactor.stop())

    async def _end(self, handed_over: bool) -> None:
        if self._starting is not None:
            self._starting.cancel()
        self._preparing.let_go()
        traffic = self._traffic
        if traffic is not None and self._serves:
            await traffic.drain(handed_over=handed_over)
        if traffic is not None:
            traffic.worker.close()
            if self._serves:
                await self._tell_figures()
            for call in self._calls:
                if call.running:
                    call.stop()
            await traffic.close_logs()
        if self._channel is not None:
            self._channel.close()
            self._lost.addTimeout(LAST_WORDS, self._reactor)
            await self._lost.addErrback(lambda _: None)

    def _abort(self) -> None:
        if self._traffic is not None:
            self._traffic.worker.abort()

    # ---- sockets

    def _endpoint(self, settings: Any, context: ssl.SSLContext | None) -> Any:
        def of(one: socket.socket) -> NativeServerEndpoint:
            return NativeServerEndpoint(
                self._reactor, place_of_address(settings.address), ssl_context=context, sock=one, keeps_file=True,
                proxied=settings.proxy_protocol is not None,
            )

        return SeveralSocketsEndpoint(of, self._sockets[key_of(settings.name, settings.address)], self._accept)

    def _accept_on(self) -> None:
        """Tried again with every Alive: there may be no descriptor left just now."""
        for bound in self._traffic.worker.bound if self._traffic is not None else ():
            port: Any = bound.port
            if port is not None:
                port.accept_on(self._accept)

    # ---- revisions

    def _check(self, body: bytes) -> Checked:
        """In a thread: a large configuration would stop the loop."""
        return check_configuration(last_good.read(body), self._base, self._parts)

    def _candidate(self, body: bytes) -> Deferred[Candidate]:
        return deferToThread(lambda: candidate_of(self._check(body)))

    def _build(self, body: bytes) -> Deferred[PreparedRevision]:
        return Deferred.fromCoroutine(self._worker.prepare(lambda: self._candidate(body)))

    def _not_prepared(self, failure: Failure) -> None:
        self._worker_event("error", "reload failed", traceback=failure.getTraceback())

    # ---- telling

    @property
    def _worker(self) -> Worker:
        assert self._traffic is not None
        return self._traffic.worker

    @property
    def _digest(self) -> str:
        return self._worker.driver.revision.digest

    def _worker_event(self, level: str, message: str, **fields: Any) -> None:
        assert self._traffic is not None
        self._traffic.events.event(level, message, **fields)

    def _tick(self) -> None:
        if self._channel is not None:
            self._channel.tell(messages.Alive(self._preparing.serves, self._digest))
        if not self._draining:
            self._accept_on()

    async def _tell_figures(self) -> None:
        """In parts, between which others have their turn."""
        if self._channel is None or self._channel.full or self._traffic is None:
            return
        for part in self._teller.parts(self._traffic.readings()):
            self._send(messages.Figures(part))
            await deferLater(self._reactor, 0)

    async def _answer(self, ask: messages.Ask) -> messages.Answer:
        try:
            if ask.what == "figures":
                await self._tell_figures()
                return messages.Answer(ask.id)
            answer = self._ask(ask.what, ask.arguments)
            return messages.Answer(ask.id, await answer if isawaitable(answer) else answer)
        except LookupError as missing:
            return messages.Answer(ask.id, missing=str(missing) or "there is none")
        except ValueError as error:
            return messages.Answer(ask.id, invalid=str(error) or "no")
        except Exception as error:
            self._worker_event("error", "a management call failed", traceback=Failure().getTraceback())
            return messages.Answer(ask.id, error=f"{type(error).__name__}: {error}")

    def _too_large(self, failure: Failure, id: int) -> None:
        failure.trap(messages.BadFrame)
        self._send(messages.Answer(id, error=str(failure.value)))

    def _ask(self, what: str, arguments: list[Any]) -> Any:
        match what:
            case "status":
                return self._worker.status()
            case "configuration":
                return self._worker.configuration()
            case "upstreams":
                return self._worker.upstreams()
            case "target":
                return self._target(*arguments)
            case "explain":
                return self._worker.explain(*arguments)
            case "caches":
                return self._worker.caches()
            case "purge_caches":
                return self._worker.purge_caches(*arguments)
            case "quotas":
                return self._worker.quotas()
            case "quota_usage":
                return _or_unavailable(self._worker.quota_usage(*arguments))
            case "reset_quota":
                return _or_unavailable(self._worker.reset_quota(*arguments))
        raise ValueError(what)

    def _target(self, upstream: str, target: str) -> dict[str, Any]:
        found = self._worker.driver.revision.upstreams[upstream]
        for state in found.places:
            if state.name == target:
                return target_shown(found, state, self._parts.clock.monotonic())
        raise LookupError(target)

    def _drain_targets(self) -> None:
        """Those that operators said, and no others."""
        for upstream in self._worker.driver.revision.upstreams.values() if self._serves else ():
            for state in upstream.places:
                wanted = (upstream.name, state.name) in self._drained
                if state.draining != wanted:
                    self._worker.drain_target(upstream.name, state.name, wanted)


async def _or_unavailable(answer: Awaitable[Any]) -> dict[str, Any]:
    """As ShownCrew takes it: `value`, or why there is none now."""
    try:
        return {"value": await answer}
    except Unavailable as error:
        return {"unavailable": str(error)}


def _adopted(descriptors: list[int]) -> list[socket.socket]:
    """The sockets of all slots; the same one where slots share it."""
    known = {descriptor: adopted(descriptor) for descriptor in dict.fromkeys(descriptors)}
    return [known[descriptor] for descriptor in descriptors]


def _ignore() -> None:
    """Nothing."""
