"""The other end: a worker process, which does as its supervisor says."""

from __future__ import annotations

import signal
import socket
import ssl
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from apigateway.adapters.metrics import Metrics
from apigateway.adapters.snapshot import Teller
from apigateway.checking import Checked, Parts, check_configuration
from apigateway.config import last_good
from apigateway.dataplane.building import Candidate, PreparedRevision
from apigateway.dataplane.worker import Worker
from apigateway.errors import ConfigurationRefused, Problem
from apigateway.replacement import key_of, place_of_address
from apigateway.supervisor import messages
from apigateway.supervisor.channel import Channel, open_channel
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
    """Carries traffic from Begin to Drain, to a signal TERM, or to the end of the channel."""

    def __init__(self, reactor: Any) -> None:
        self._reactor, self._loop = reactor, loop_of(reactor)
        self._channel: Channel | None = None
        metrics = Metrics()
        self._parts, self._teller = Parts(metrics=metrics), Teller(metrics)
        self._traffic: Traffic | None = None
        self._begin_with: messages.Begin | None = None
        self._sockets: dict[str, list[socket.socket]] = {}
        self._accept: list[int] = []
        self._number = -1
        self._wanted: int | None = None
        self._prepared: tuple[int, PreparedRevision] | None = None
        self._serves = self._draining = False
        self._calls = [LoopingCall(self._tell_alive), LoopingCall(self._tell_figures)]
        self._lost: Deferred[None] = Deferred()

    def begin(self, end: socket.socket) -> None:
        """Do what comes over this end of a channel. Called once the reactor runs."""
        # What a terminal sends to all that run in it is for the supervisor to pass on.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR2):
            self._loop.add_signal_handler(number, _ignore)
        self._loop.add_signal_handler(signal.SIGTERM, self._terminate)
        opened = Deferred.fromCoroutine(open_channel(self._loop, end, self._received, self._channel_lost))
        opened.addCallback(self._opened)

    def _opened(self, channel: Channel) -> None:
        self._channel = channel

    def _send(self, message: messages.Message) -> None:
        if self._channel is not None:
            self._channel.send(message)

    # ---- told

    def _received(self, message: messages.Message) -> None:
        match message:
            case messages.Begin():
                self._begin_with, self._accept = message, message.accept
                Deferred.fromCoroutine(self._start(message))
            case messages.Prepare():
                Deferred.fromCoroutine(self._prepare(message))
            case messages.Commit(number):
                self._commit(number)
            case messages.Discard(number):
                self._discard(number)
            case messages.Accept(slots):
                self._accept = slots
                self._accept_on()
            case messages.Ask():
                Deferred.fromCoroutine(self._answer(message)).addCallback(self._send)
            case messages.Drain(handed_over):
                self._drain(handed_over=handed_over)
            case messages.Abort():
                self._abort()
            case messages.Reopen():
                if self._traffic is not None:
                    self._traffic.reopen_logs()

    def _channel_lost(self) -> None:
        self._channel = None
        self._lost.callback(None)
        if not self._draining:
            if self._traffic is not None:
                self._traffic.events.event("error", "the supervisor is gone, this worker ends")
            self._drain(handed_over=True)

    def _terminate(self) -> None:
        """TERM to this process alone: another one comes in its place. The second ends at once."""
        if self._draining:
            self._abort()
        else:
            self._send(messages.Leaving())
            self._drain(handed_over=True)

    # ---- life

    async def _start(self, begin: messages.Begin) -> None:
        try:
            self._sockets = {
                key: _adopted(descriptors) for key, descriptors in begin.sockets.items()
            }
            await self._serve(begin)
        except ConfigurationRefused as refused:
            self._fail([str(problem) for problem in refused.problems])
        except Exception as error:
            log.failure("a worker could not start")
            self._fail([f"{type(error).__name__}: {error}"])

    async def _serve(self, begin: messages.Begin) -> None:
        candidate = await self._candidate(begin.body)
        self._traffic = Traffic(
            self._reactor, candidate, self._parts, self._endpoint,
            lambda: fail(ConfigurationRefused([Problem("", "only a supervisor reads the file")])),
            lambda configuration: None, shares_logs=True,
        )
        self._traffic.events.observe()
        self._calls[0].start(ALIVE_EVERY)
        await self._traffic.start()
        for upstream, target in begin.drained:
            self._drain_target(upstream, target, True)
        self._number, self._serves = begin.number, True
        self._accept_on()
        self._send(messages.Ready(self._number, self._digest))
        self._calls[1].start(FIGURES_EVERY)

    def _fail(self, problems: list[str]) -> None:
        self._send(messages.Failed(problems))
        self._drain(handed_over=True)

    def _drain(self, *, handed_over: bool) -> None:
        if not self._draining:
            self._draining = True
            Deferred.fromCoroutine(self._end(handed_over)).addErrback(
                lambda failure: log.failure("a worker could not drain", failure)
            ).addBoth(lambda _: self._reactor.stop())

    async def _end(self, handed_over: bool) -> None:
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
        for bound in self._traffic.worker.bound if self._traffic is not None else ():
            port: Any = bound.port
            if port is not None:
                port.accept_on(self._accept)

    # ---- revisions

    def _check(self, body: bytes) -> Checked:
        """In a thread: a large configuration would stop the loop."""
        assert self._begin_with is not None
        base = Path(self._begin_with.path).resolve().parent
        return check_configuration(last_good.read(body), base, self._parts)

    def _candidate(self, body: bytes) -> Deferred[Candidate]:
        return deferToThread(lambda: candidate_of(self._check(body)))

    async def _prepare(self, message: messages.Prepare) -> None:
        self._forget_prepared()
        number = self._wanted = message.number
        problems: list[str] = []
        try:
            prepared = await self._worker.prepare(lambda: self._candidate(message.body))
        except ConfigurationRefused as refused:
            problems = [str(problem) for problem in refused.problems]
        except Exception as error:
            self._worker_event("error", "reload failed", traceback=Failure().getTraceback())
            problems = [f"/: {type(error).__name__}: {error}"]
        if problems:
            self._send(messages.Refused(number, problems))
        elif self._wanted != number:
            prepared.discard()
        else:
            self._prepared = (number, prepared)
            self._send(messages.Prepared(number))

    def _commit(self, number: int) -> None:
        if self._prepared is not None and self._prepared[0] == number:
            (_, prepared), self._prepared = self._prepared, None
            prepared.commit()
            self._number = number
            self._tell_alive()

    def _discard(self, number: int) -> None:
        if self._wanted == number:
            self._wanted = None
            self._forget_prepared()

    def _forget_prepared(self) -> None:
        if self._prepared is not None:
            (_, prepared), self._prepared = self._prepared, None
            prepared.discard()

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

    def _tell_alive(self) -> None:
        if self._channel is not None:
            self._channel.tell(messages.Alive(self._number, self._digest))

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
            return messages.Answer(ask.id, self._ask(ask.what, ask.arguments))
        except LookupError as missing:
            return messages.Answer(ask.id, missing=str(missing) or "there is none")
        except ValueError as error:
            return messages.Answer(ask.id, invalid=str(error) or "no")
        except Exception as error:
            self._worker_event("error", "a management call failed", traceback=Failure().getTraceback())
            return messages.Answer(ask.id, error=f"{type(error).__name__}: {error}")

    def _ask(self, what: str, arguments: list[Any]) -> Any:
        match what:
            case "status":
                return self._worker.status()
            case "configuration":
                return self._worker.configuration()
            case "upstreams":
                return self._worker.upstreams()
            case "drain_target":
                return self._worker.drain_target(*arguments)
            case "explain":
                return self._worker.explain(*arguments)
        raise ValueError(what)

    def _drain_target(self, upstream: str, target: str, draining: bool) -> None:
        try:
            self._worker.drain_target(upstream, target, draining)
        except LookupError:
            return  # the configuration has it no more


def _adopted(descriptors: list[int]) -> list[socket.socket]:
    """The sockets of all slots; the same one where slots share it."""
    known = {descriptor: adopted(descriptor) for descriptor in dict.fromkeys(descriptors)}
    return [known[descriptor] for descriptor in descriptors]


def _ignore() -> None:
    """Nothing."""
