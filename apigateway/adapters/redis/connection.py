"""One connection to a server: commands in the order they are sent, answers in the same, and no answer waited for too
long."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Final, cast

from hiredis import ProtocolError, Reader, ReplyError, pack_command
from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import classImplements

from apigateway.adapters.redis.replies import LEAVE, StoreError, code_of, exception_of
from apigateway.adapters.redis.scripts import Script
from apigateway.ports.interfaces import ITimers, StoreUnavailable

# Its stub takes tuples of one member only.
_pack: Final[Callable[[tuple[Any, ...]], bytes]] = cast(Any, pack_command)

# Commands in a row that fail until the connection is given up.
MOST_FAILURES: Final = 3
# What has come may not have been read yet when a timer fires: the loop gets a turn for that. uvloop calls what is due
# "now" before it reads, so it has to be later than now.
A_TURN: Final = 0.001
# Octets of one answer: the longest that is asked for, which `idempotency` keeps, has little more than 1 MiB.
MOST_UNREAD: Final = 16 << 20
# A timer that fires so late tells that the loop was blocked, and that what was written may be on its way only now.
BLOCKED: Final = 0.01


class Counts:
    """What became of commands: answered, refused with an error that is the command's ("error") or the server's
    ("unavailable"), late, lost with their connection; and refused at once, since there was no connection."""

    __slots__ = ("answered", "errors", "late", "lost", "unavailable", "without")

    def __init__(self) -> None:
        self.answered = self.errors = self.unavailable = self.late = self.lost = self.without = 0

    @property
    def failed(self) -> int:
        """Those for which the server is to blame, and that were tried."""
        return self.unavailable + self.late + self.lost


class _Asked:
    """A command whose answer has not come. deferred: None when nobody waits any more. again: for a server that does
    not know a script yet."""

    __slots__ = ("again", "arguments", "deferred", "keys", "sent_at")

    def __init__(self, deferred: Deferred[Any], sent_at: float) -> None:
        self.deferred: Deferred[Any] | None = deferred
        self.sent_at = sent_at
        self.again: Script | None = None
        self.keys: Sequence[bytes] = ()
        self.arguments: Sequence[bytes] = ()


class RedisConnection:
    """A Twisted protocol. Whatever ends it, `on_lost(connection, why)` is called once, before those who wait hear it.

    timeout: seconds that an answer is waited for. A command that is late fails, and its answer is
    dropped when it comes; after three failures in a row (several that are late together are one) the connection is
    given up.
    on_push: gets every answer, once it is set, for a connection that has subscribed.
    """

    def __init__(self, timers: ITimers, now: Callable[[], float], timeout: float, counts: Counts) -> None:
        self._timeout = timeout
        self.on_lost: Callable[[RedisConnection, str], None] | None = None
        self.on_push: Callable[[Any], None] | None = None
        self.over = False
        self.transport: Any = None
        self._timers, self._now = timers, now
        self.counts = counts
        self._reader = Reader()
        self._asked: deque[_Asked] = deque()
        self._failures = 0
        self._unread = 0
        self._why = ""
        # Of the one timer: what calls it off, when it should fire, and since when the turn is given, if one is.
        self._timer: Any = None
        self._due = 0.0
        self._turn_since = -inf

    def wait_for(self, seconds: float) -> None:
        """Wait for answers so long from now on."""
        self._timeout = seconds
        if self._timer is not None:
            self._timer.cancel()
            self._look_in(seconds, self._now())

    # ---- asking

    def call(self, *arguments: bytes) -> Deferred[Any]:
        """One command. Fails with StoreUnavailable, or StoreError."""
        if self.over:
            return fail(StoreUnavailable(self._why))
        deferred: Deferred[Any] = Deferred()
        self._ask(deferred, _pack(arguments))
        return deferred

    def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Deferred[Any]:
        """A script by its hash; with its text, once, where the server does not know it."""
        deferred: Deferred[Any] = Deferred()
        packed = _pack((b"EVALSHA", script.sha1, b"%d" % len(keys), *keys, *arguments))
        asked = self._ask(deferred, packed)
        asked.again, asked.keys, asked.arguments = script, keys, arguments
        return deferred

    def tell(self, *arguments: bytes) -> None:
        """A command that is answered by pushes only."""
        if not self.over:
            self.transport.write(_pack(arguments))

    def _ask(self, deferred: Deferred[Any], packed: bytes) -> _Asked:
        now = self._now()
        asked = _Asked(deferred, now)
        self._asked.append(asked)
        self.transport.write(packed)
        if self._timer is None:
            self._look_in(self._timeout, now)
        return asked

    # ---- told by the transport

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        """Whoever dialled says the first word."""

    def dataReceived(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            self._unread += len(data)
            answer = self._reader.gets()
            while answer is not False and not self.over:
                self._unread = 0
                if self.on_push is not None:
                    self.on_push(answer)
                elif self._asked:
                    self._answered(self._asked.popleft(), answer)
                else:
                    raise ProtocolError("an answer that nothing was asked for")
                answer = self._reader.gets()
            if self._unread > MOST_UNREAD:
                raise ProtocolError("an answer without an end")
        except ProtocolError as error:
            self.end(f"this is not Redis: {error}")

    def connectionLost(self, reason: Failure) -> None:
        self._ended(f"the connection was lost: {reason.getErrorMessage()}")

    def end(self, why: str) -> None:
        """Give it up, and say so to everybody who waits; nothing where it is over."""
        if not self.over:
            if self.transport is not None:
                self.transport.abortConnection()
            self._ended(why)

    def _ended(self, why: str) -> None:
        if self.over:
            return
        self.over, self._why = True, why
        if self._timer is not None:
            self._timer.cancel()
        asked, self._asked = self._asked, deque()
        if self.on_lost is not None:
            self.on_lost(self, why)
        for one in asked:
            if one.deferred is not None:
                self.counts.lost += 1
                one.deferred.errback(StoreUnavailable(why))

    # ---- answers

    def _answered(self, asked: _Asked, answer: Any) -> None:
        if isinstance(answer, ReplyError):
            self._refused(asked, str(answer))
            return
        deferred = asked.deferred
        if deferred is not None:
            self._failures = 0
            self.counts.answered += 1
            deferred.callback(answer)

    def _refused(self, asked: _Asked, text: str) -> None:
        deferred = asked.deferred
        if asked.again is not None and text.startswith("NOSCRIPT") and deferred is not None:
            self._with_text(asked, asked.again)
            return
        error = exception_of(text)
        if deferred is None:
            return  # it was late: that stands, whatever came of it
        if isinstance(error, StoreError):
            self._failures = 0
            self.counts.errors += 1
        else:
            self.counts.unavailable += 1
            self._failed(text, leave=code_of(text) in LEAVE)
        deferred.errback(error)

    def _with_text(self, asked: _Asked, script: Script) -> None:
        asked.again = None
        self._asked.append(asked)  # still waited for since it was sent first
        parts = (b"EVAL", script.text, b"%d" % len(asked.keys), *asked.keys, *asked.arguments)
        self.transport.write(_pack(parts))

    def _failed(self, why: str, *, leave: bool = False) -> None:
        self._failures += 1
        if leave or self._failures >= MOST_FAILURES:
            self.end(why)

    # ---- time

    def _look_in(self, seconds: float, now: float) -> None:
        self._due = now + seconds
        self._timer = self._timers.call_later(seconds, self._look)

    def _look(self) -> None:
        """One timer for all that is waited for: it looks for what is late, and sleeps until something may be."""
        now = self._now()
        turn_since, self._turn_since = self._turn_since, -inf
        self._timer = None
        waited = [one for one in self._asked if one.deferred is not None]
        if not waited:
            return
        left = min([one.sent_at for one in waited]) + self._timeout - now
        if left > 0.0:
            self._look_in(max(left, A_TURN), now)
            return
        # Only those that the turn was for.
        late = [one for one in waited if one.sent_at + self._timeout <= turn_since]
        if late:
            # First: who hears that it is late may ask anew, and those that will be late next come before that.
            self._look_in(A_TURN, now)
            self._are_late(late)
        else:
            self._turn_since = now
            self._look_in(A_TURN if now - self._due < BLOCKED else max(A_TURN, self._timeout / 3), now)

    def _are_late(self, late: list[_Asked]) -> None:
        """However many there are, it is one failure: they wait for the same."""
        why = f"no answer within {self._timeout * 1000:g} ms"
        deferreds = [one.deferred for one in late]
        for one in late:
            one.deferred = None
        self.counts.late += len(late)
        self._failed(why)
        for deferred in deferreds:
            if deferred is not None:
                deferred.errback(StoreUnavailable(why))


# Said from outside: a class that is compiled (setup.py) has no decorators.
classImplements(RedisConnection, IProtocol)
