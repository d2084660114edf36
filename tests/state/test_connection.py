"""One connection under every order of answers, delays and ends, by a clock that is moved by hand."""

from __future__ import annotations

from random import Random
from typing import Any

import hiredis
import pytest
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from apigateway.adapters.redis.connection import Counts, RedisConnection
from apigateway.adapters.redis.replies import StoreError
from apigateway.adapters.redis.scripts import Script
from apigateway.ports.interfaces import StoreUnavailable
from apigateway.ports.memory import ManualClock, ManualTimers

SCRIPT = Script("echo", b"return ARGV[1]")
TIMEOUT = 0.03
# What a decision may take; the loop of these tests may be blocked for a while besides.
WAITED = 0.05


class Asked:
    """A command that was asked for: its own text, and what was heard of it, each time."""

    def __init__(self, text: bytes, at: float) -> None:
        self.text, self.at = text, at
        self.heard: list[Any] = []
        self.cancelled = False
        self.seconds = 0.0


class Wire:
    """A transport, and the server behind it: it answers with what it was asked for, or an error, in order."""

    def __init__(self, random: Random, clock: ManualClock) -> None:
        self._random, self.clock = random, clock
        self._reader = hiredis.Reader()
        self.answers = bytearray()
        self.ran: list[bytes] = []
        self.aborted = False
        self.frozen = False
        self._unserved: list[list[bytes]] = []

    def write(self, data: bytes) -> None:
        if self.aborted:
            return
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            self._unserved.append(command)
        self.serve()

    def serve(self) -> None:
        """What it was asked for, unless it is frozen."""
        while self._unserved and not self.frozen:
            self._serve(self._unserved.pop(0))

    def _serve(self, command: list[bytes]) -> None:
        text, dice = command[-1], self._random.random()
        if command[0] == b"EVALSHA" and dice < 0.2:
            self.answers += b"-NOSCRIPT No matching script.\r\n"
            return
        self.ran.append(text)
        if dice > 0.97:
            self.answers += b"-OOM " + text + b"\r\n"
        elif dice > 0.9:
            self.answers += b"-ERR " + text + b"\r\n"
        else:
            self.answers += b"$%d\r\n%b\r\n" % (len(text), text)

    def abortConnection(self) -> None:
        self.aborted = True


class Course:
    """One of many courses of events."""

    def __init__(self, seed: int) -> None:
        self.random, self.clock = Random(seed), ManualClock()
        self.counts = Counts()
        self.timers = ManualTimers(self.clock)
        self.connection = RedisConnection(self.timers, self.clock.monotonic, TIMEOUT, self.counts)
        self.wire = Wire(self.random, self.clock)
        self.connection.makeConnection(self.wire)
        self.lost: list[str] = []
        self.connection.on_lost = lambda _, why: self.lost.append(why)
        self.asked: list[Asked] = []
        self.going_on = True

    def ask(self) -> None:
        text = b"%d" % len(self.asked) + b"x" * self.random.choice((0, 0, 30))
        one = Asked(text, self.clock.monotonic())
        self.asked.append(one)
        if self.connection.over:
            deferred = self.connection.call(b"ECHO", text)
        elif self.random.random() < 0.5:
            deferred = self.connection.run(SCRIPT, (b"k",), (text,))
        else:
            deferred = self.connection.call(b"ECHO", text)
        deferred.addBoth(self.heard, one)
        if self.random.random() < 0.05:
            one.cancelled = True
            deferred.cancel()

    def heard(self, result: Any, one: Asked) -> None:
        one.heard.append(result.value if isinstance(result, Failure) else result)
        one.seconds = self.clock.monotonic() - one.at
        if self.going_on and self.random.random() < 0.1:
            self.ask()  # who hears may ask at once

    def answer(self) -> None:
        """Some octets of what the server said arrive."""
        number = self.random.choice((1, 5, 40, 1 << 20))
        piece, self.wire.answers[:number] = bytes(self.wire.answers[:number]), b""
        if piece and not self.wire.aborted:
            self.connection.dataReceived(piece)

    def step(self) -> None:
        dice = self.random.random()
        if dice < 0.4:
            for _ in range(self.random.choice((1, 1, 3, 20))):
                self.ask()
        elif dice < 0.7:
            self.answer()
        elif dice < 0.97:
            self.clock.advance(self.random.choice((0.0002, 0.001, 0.005, 0.02)))
        elif dice < 0.98:
            self.wire.frozen = not self.wire.frozen
            self.wire.serve()
        elif dice < 0.984:
            self.connection.connectionLost(Failure(ConnectionDone()))
        else:
            self.answer()


@pytest.mark.parametrize("begin", range(0, 600, 100))
def test_each_hears_of_its_own_once_and_in_time(begin: int) -> None:
    for seed in range(begin, begin + 100):
        course = Course(seed)
        for _ in range(150):
            course.step()
        course.going_on = False
        course.clock.advance(WAITED)
        counts = course.counts
        for one in course.asked:
            assert len(one.heard) == 1, (seed, one.text)
            said = one.heard[0]
            if isinstance(said, StoreError):
                assert str(said) in (f"ERR {one.text.decode()}", "NOSCRIPT No matching script."), seed
            elif isinstance(said, StoreUnavailable):
                assert str(said) in (f"OOM {one.text.decode()}", "no answer within 30 ms", *course.lost), seed
            elif not one.cancelled:
                assert said == one.text, seed
            assert one.seconds <= WAITED, (seed, one.seconds, said)
        assert len(course.wire.ran) == len(set(course.wire.ran)), seed  # none twice
        assert not course.timers.waiting(), seed
        assert len(course.lost) == course.connection.over, seed
        tried = counts.answered + counts.errors + counts.failed
        assert tried <= len(course.asked), seed


@pytest.mark.parametrize("answered", [False, True])
def test_a_last_turn_is_only_for_those_that_were_late_when_it_began(answered: bool) -> None:
    course = Course(0)
    course.wire.write = lambda data: None  # type: ignore[method-assign]
    first: list[Any] = []
    second: list[Any] = []
    course.connection.call(b"ECHO", b"first").addBoth(first.append)
    course.clock.advance(TIMEOUT)
    if answered:
        course.connection.dataReceived(b"+first\r\n")
    course.connection.call(b"ECHO", b"second").addBoth(second.append)
    course.clock.hold(0.2)
    assert not second
    if answered:
        assert first == [b"first"]
    else:
        assert first[0].check(StoreUnavailable)
        course.connection.dataReceived(b"+first\r\n")
    course.connection.dataReceived(b"+second\r\n")
    assert second == [b"second"]
