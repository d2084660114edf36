"""One worker process as its supervisor sees it, from its begin to its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from apigateway.supervisor import messages
from apigateway.supervisor.channel import Channel, open_channel
from apigateway.supervisor.children import Children

# A large configuration is built in seconds; what policies fetch when they are provisioned may take longer.
PREPARE_WITHIN = 30.0
ANSWER_WITHIN = 2.0


class Gone(Exception):
    """The worker ended, or is silent, or did not answer in time."""


class Told(Protocol):
    """Who is told of a worker."""

    def heard(self, worker: RunningWorker, message: messages.Message) -> None:
        """A message that is no answer came."""

    def ended(self, worker: RunningWorker, code: int) -> None:
        """The process is over; code as of Popen: negative for a signal. The last that is told of it."""


class RunningWorker:
    """state: starting, ready, or leaving (it drains, or nothing is heard of it any more); `silent` beside that.

    id: of this process among all that were ever begun. told: number of the configuration that it was last told to
    serve; number, digest: of the one that it says it serves. heard: when it last said something, monotonic seconds.
    """

    def __init__(self, id: int, slot: int, reactor: Any, loop: Any, told: Told) -> None:
        self.id, self.slot = id, slot
        self.state = "starting"
        self.silent = False
        self.pid = 0
        self.told = self.number = -1
        self.digest = ""
        self.problems: list[str] = []
        self.accepts: list[int] = []
        self.began = self.heard = reactor.seconds()
        self._reactor, self._loop, self._told_to = reactor, loop, told
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        # Until the channel is open.
        self._unsent: list[messages.Message] | None = []
        self._asked: dict[int, Deferred[Any]] = {}
        self._preparing: tuple[int, Deferred[list[str]]] | None = None
        self._ids = 0

    def begin(self, children: Children, first: messages.Begin) -> None:
        """Begin the process. Raises OSError."""
        ours, theirs = socket.socketpair()
        descriptors = {descriptor for several in first.sockets.values() for descriptor in several}
        command = [sys.executable, "-P", "-m", "apigateway.worker_process", str(theirs.fileno())]
        try:
            self._process = children.begin(command, [theirs.fileno(), *descriptors], self._ended)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self.pid, self.told, self.accepts = self._process.pid, first.number, first.accept
        opening = Deferred.fromCoroutine(open_channel(self._loop, ours, self._received, self._lost))
        opening.addCallback(self._opened, first)

    def _opened(self, channel: Channel, first: messages.Begin) -> None:
        self._channel = channel
        unsent, self._unsent = self._unsent or [], None
        for message in (first, *unsent):
            channel.send(message)

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

    def prepare(self, number: int, body: bytes) -> Deferred[list[str]]:
        """Have a configuration built beside the running one: fires with what is wrong, nothing where it is prepared.
        Fails with Gone."""
        self._give_up_preparing("another one is prepared")
        answered: Deferred[list[str]] = Deferred()
        self._preparing = (number, answered)
        self.send(messages.Prepare(number, body))
        late = self._reactor.callLater(PREPARE_WITHIN, self._give_up_preparing, "it did not answer in time")
        return answered.addBoth(_stopped(late))

    def commit(self, number: int) -> None:
        """Have it serve what it prepared."""
        self.told = number
        self.send(messages.Commit(number))

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

    def fall_silent(self) -> None:
        """Nothing was heard for too long: who waits for it waits in vain."""
        self.silent = True
        self._give_up_preparing("it is silent")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None and self._process.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def _give_up_preparing(self, why: str) -> None:
        preparing, self._preparing = self._preparing, None
        if preparing is not None:
            preparing[1].errback(Gone(f"worker {self.slot}: {why}"))

    # ---- told by it

    def _received(self, message: messages.Message) -> None:
        self.heard = self._reactor.seconds()
        match message:
            case messages.Answer():
                self._answered(message)
            case messages.Prepared(number):
                self._voted(number, [])
            case messages.Refused(number, problems):
                self._voted(number, problems)
            case _:
                self._note(message)
                self._told_to.heard(self, message)

    def _note(self, message: messages.Message) -> None:
        match message:
            case messages.Ready(number, digest) | messages.Alive(number, digest):
                self.number, self.digest = number, digest
                if isinstance(message, messages.Ready):
                    self.state = "ready"
            case messages.Failed(problems):
                self.problems = problems
            case messages.Leaving():
                self.state = "leaving"

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

    def _voted(self, number: int, problems: list[str]) -> None:
        if self._preparing is not None and self._preparing[0] == number:
            (_, answered), self._preparing = self._preparing, None
            answered.callback(problems)

    def _lost(self) -> None:
        self._channel = None
        self.state = "leaving"
        self._give_up_preparing("it is gone")
        for id in list(self._asked):
            self._no_answer(id)
        self._told_to.heard(self, messages.Leaving())

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
