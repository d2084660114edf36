"""One worker process as its supervisor sees it, from its begin to its end."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from apigateway import __version__
from apigateway.supervisor import messages
from apigateway.supervisor.channel import Channel, open_channel
from apigateway.supervisor.children import Children
from apigateway.supervisor.interpreter import command

log = Logger()

ANSWER_WITHIN = 2.0


class Gone(Exception):
    """The worker ended, or is silent, or did not answer in time."""


class Told(Protocol):
    """Who is told of a worker."""

    def heard(self, worker: RunningWorker, message: messages.Message) -> None:
        """A message that is no answer came."""

    def left(self, worker: RunningWorker) -> None:
        """It was told to end, or nothing is heard of it any more. Its end follows."""

    def ended(self, worker: RunningWorker, code: int) -> None:
        """The process is over; code as of Popen: negative for a signal. The last that is told of it."""


class RunningWorker:
    """state: starting, ready, or leaving (it drains, or nothing is heard of it any more); `silent` beside that.

    id: of this process among all that were ever begun. number, digest: of the configuration that it says it serves.
    began: when that was, monotonic seconds. watched: how many of them somebody has listened to it; heard: how many of
    these, when it last said something. told_to_end: by us, or as it says by somebody else: then its end is no accident.
    problems: why it could not start.
    """

    def __init__(self, id: int, slot: int, reactor: Any, loop: Any, told: Told) -> None:
        self.id, self.slot = id, slot
        self.state = "starting"
        self.silent = self.told_to_end = False
        self.pid = 0
        self.number = -1
        self.digest = ""
        self.problems: list[str] = []
        self.accepts: list[int] = []
        self.began = reactor.seconds()
        self.watched = self.heard = 0.0
        self._reactor, self._loop, self._told_to = reactor, loop, told
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        # Until the channel is open.
        self._unsent: list[messages.Message] | None = []
        self._asked: dict[int, Deferred[Any]] = {}
        self._ids = 0

    def begin(self, children: Children, first: messages.Begin) -> None:
        """Begin the process. Raises OSError."""
        ours, theirs = socket.socketpair()
        descriptors = {descriptor for several in first.sockets.values() for descriptor in several}
        begun = command("apigateway.worker_process", str(theirs.fileno()))
        try:
            self._process = children.begin(begun, [theirs.fileno(), *descriptors], self._ended)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid, self.accepts = self._process.pid, first.accept
        opening = Deferred.fromCoroutine(open_channel(self._loop, ours, Channel(self._received, self._lost)))
        opening.addCallback(self._opened, first).addErrback(self._not_opened)

    def _opened(self, channel: Channel, first: messages.Begin) -> None:
        self._channel = channel
        unsent, self._unsent = self._unsent or [], None
        for message in (messages.Hello(__version__, messages.FORMAT), first, *unsent):
            channel.send(message)

    def _not_opened(self, failure: Failure) -> None:
        log.failure("a worker could not be told what to do", failure)
        self.kill()

    @property
    def accepting(self) -> bool:
        """Whether connections may be left to it."""
        return self.state == "ready" and not self.silent

    # ---- telling it

    def send(self, message: messages.Message) -> None:
        """Tell it something; nothing where nobody listens."""
        if self._channel is not None:
            self._channel.send(message)
        elif self._unsent is not None:
            self._unsent.append(message)

    def accept_on(self, slots: list[int]) -> None:
        """Have it accept on the sockets of these slots."""
        if slots != self.accepts:
            self.accepts = slots
            self.send(messages.Accept(slots))

    def leave(self, *, handed_over: bool = True) -> None:
        """Have it drain and end. handed_over: others accept for it already."""
        self.told_to_end = True
        self.send(messages.Drain(handed_over))
        self.state = "leaving"
        self._told_to.left(self)

    def ask(self, what: str, *arguments: Any) -> Deferred[Any]:
        """What it answers. LookupError where there is no such thing; Gone."""
        answered: Deferred[Any] = Deferred()
        if self.silent or self._channel is None:
            answered.errback(Gone(f"worker {self.slot} does not answer"))
            return answered
        self._ids += 1
        self._asked[self._ids] = answered
        late = self._reactor.callLater(ANSWER_WITHIN, self._no_answer, self._ids)
        self.send(messages.Ask(self._ids, what, list(arguments)))
        return answered.addBoth(_stopped(late))

    def _no_answer(self, id: int) -> None:
        self._asked.pop(id).errback(Gone(f"worker {self.slot} did not answer"))

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()  # nothing where it is over already

    # ---- told by it

    def _received(self, message: messages.Message) -> None:
        self.heard = self.watched
        match message:
            case messages.Answer():
                self._answered(message)
            case _:
                self._note(message)
                self._told_to.heard(self, message)

    def _note(self, message: messages.Message) -> None:
        match message:
            case messages.Alive(number, digest) | messages.Committed(_, number, digest):
                self.number, self.digest = number, digest
            case messages.Ready(number, digest):
                self.number, self.digest = number, digest
                if self.state == "starting":
                    self.state = "ready"
            case messages.Failed(problems):
                self.problems = problems
            case messages.Leaving():
                self.state, self.told_to_end = "leaving", True

    def _answered(self, answer: messages.Answer) -> None:
        asked = self._asked.pop(answer.id, None)
        if asked is None:
            return
        if answer.missing:
            asked.errback(LookupError(answer.missing))
        elif answer.invalid:
            asked.errback(ValueError(answer.invalid))
        elif answer.error:
            asked.errback(RuntimeError(answer.error))
        else:
            asked.callback(answer.value)

    def _lost(self) -> None:
        self._channel = None
        self.state = "leaving"
        for id in list(self._asked):
            self._no_answer(id)
        self._told_to.left(self)

    def _ended(self, code: int) -> None:
        """The process is over, and what it said last has perhaps not been read yet."""
        if self._channel is None:
            self._over(code)
        else:
            self._reactor.callLater(0.05, self._over, code)

    def _over(self, code: int) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._told_to.ended(self, code)


def _stopped(late: Any) -> Callable[[Any], Any]:
    """Passes a result on, once a timer is stopped."""

    def stop(result: Any) -> Any:
        if late.active():
            late.cancel()
        return result

    return stop
