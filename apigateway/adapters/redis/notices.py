"""News among workers, by the server's channels, over a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hiredis import ReplyError
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from apigateway.adapters.redis.connection import RedisConnection
from apigateway.adapters.redis.keeping import KeptConnection
from apigateway.adapters.redis.link import RedisLink
from apigateway.adapters.redis.outage import Outage
from apigateway.adapters.redis.replies import code_of
from apigateway.ports.interfaces import INotices, IRandom, ITimers, StoreUnavailable

# A connection that only listens does not notice that nobody is there any more; so it asks.
PING_EVERY = 2.0
_MARK = 8

log = Logger()

Hearer = Callable[[bytes], None]


@implementer(INotices)
class RedisNotices:
    """See INotices. There is no connection until somebody wants to hear.

    prefix: of the channels. What this worker tells it hears at once, and not again from the server: each notice begins
    with a mark of who told it.
    """

    def __init__(
        self, dial: Callable[[], Deferred[RedisConnection]], link: RedisLink, timers: ITimers,
        now: Callable[[], float], random: IRandom, outage: Outage, prefix: bytes,
    ) -> None:
        self._outage = outage
        self._link, self._timers, self._prefix = link, timers, prefix
        self._mark = random.token(_MARK)
        self._hearers: dict[bytes, list[Hearer]] = {}
        self._kept = KeptConnection(
            dial, timers, now, random, ready=self._ready, gone=self._gone, failed=self._in_vain
        )
        self._connection: RedisConnection | None = None
        self._started = False
        self._ping: Any = None
        # Channels on which something could not be told, and what calls off the next attempt.
        self._untold: set[bytes] = set()
        self._tell_later: Any = None
        self._heard = False

    def tell(self, topic: str, body: bytes) -> None:
        channel = self._channel(topic)
        self._pass_on(channel, body)
        self._publish(channel, body)

    def hear(self, topic: str, callable: Hearer) -> Callable[[], None]:
        channel = self._channel(topic)
        hearers = self._hearers.setdefault(channel, [])
        hearers.append(callable)
        if not self._started:
            self._started = True
            self._kept.start()
        elif self._connection is not None and len(hearers) == 1:
            self._connection.tell(b"SUBSCRIBE", channel)
        return lambda: self._hear_no_more(channel, callable)

    def close(self) -> None:
        """End."""
        self._kept.close()
        if self._tell_later is not None:
            self._tell_later.cancel()

    def _channel(self, topic: str) -> bytes:
        return self._prefix + topic.encode()

    def _hear_no_more(self, channel: bytes, callable: Hearer) -> None:
        hearers = self._hearers.get(channel, [])
        if callable in hearers:
            hearers.remove(callable)
            if not hearers:
                del self._hearers[channel]
                if self._connection is not None:
                    self._connection.tell(b"UNSUBSCRIBE", channel)

    def _pass_on(self, channel: bytes, body: bytes) -> None:
        for hearer in list(self._hearers.get(channel, ())):
            try:
                hearer(body)
            except Exception:  # of one of them; the others have nothing to do with it
                log.failure("what hears a notice failed")

    # ---- telling others

    def _publish(self, channel: bytes, body: bytes) -> None:
        try:
            told = self._link.call(b"PUBLISH", channel, self._mark + body)
        except StoreUnavailable:
            self._missed(channel)
        else:
            told.addErrback(self._not_told, channel)

    def _not_told(self, failure: Failure, channel: bytes) -> None:
        error = failure.value
        if isinstance(error, StoreUnavailable) and code_of(str(error)) != "NOPERM":  # that would be so again and again
            self._missed(channel)

    def _missed(self, channel: bytes) -> None:
        """The others may be connected all the while, and know of nothing: they are told later that they missed it."""
        self._untold.add(channel)
        if self._tell_later is None and not self._kept.closed:
            self._tell_later = self._timers.call_later(PING_EVERY, self._tell_untold)

    def _tell_untold(self) -> None:
        self._tell_later = None
        untold, self._untold = self._untold, set()
        for channel in untold:
            if self._link.connected:
                self._publish(channel, b"")
            else:
                self._missed(channel)

    # ---- the connection

    def _ready(self, connection: RedisConnection) -> None:
        self._connection = connection
        connection.on_push = self._pushed
        if self._hearers:
            connection.tell(b"SUBSCRIBE", *self._hearers)
        self._heard = True
        self._look()

    def _gone(self, why: str) -> None:
        self._connection = None
        if self._ping is not None:
            self._ping.cancel()
        self._in_vain(why)

    def _in_vain(self, why: str) -> None:
        if self._link.connected and not self._kept.closed:  # else it is the link that tells
            self._outage.began(why)

    def _look(self) -> None:
        connection = self._connection
        if connection is None:
            return
        if not self._heard:
            connection.end(f"no answer within {PING_EVERY:g} s")
            return
        self._heard = False
        connection.tell(b"PING")
        self._ping = self._timers.call_later(PING_EVERY, self._look)

    def _pushed(self, message: Any) -> None:
        self._heard = True
        if isinstance(message, ReplyError) and self._connection is not None:
            self._connection.end(str(message))  # not allowed to subscribe, it may be
        if not isinstance(message, list) or len(message) != 3:
            return
        kind, channel, body = message
        if kind == b"message" and not body.startswith(self._mark):
            self._pass_on(channel, body[_MARK:])
        elif kind == b"subscribe":
            self._outage.ended()
            self._pass_on(channel, b"")  # what was told before is missed
