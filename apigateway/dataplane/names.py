"""Names of targets and where they lead now: resolved off the reactor, again by TTL; the last good answer is kept a
while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from apigateway.config.addresses import as_ip
from apigateway.ports.interfaces import (
    IEventLog,
    IResolver,
    ITimers,
    NameNotFound,
    Resolution,
    ResolutionFailed,
)

# A TTL of 0 would ask on every turn of the loop; one of a week would outlive every migration.
SHORTEST_TTL = 1.0
LONGEST_TTL = 300.0
RETRY_AFTER = 2.0


class Follower(Protocol):
    """Who has connections to a name."""

    def addresses_changed(self) -> None:
        """The name leads elsewhere now."""


class Name:
    """One host name (or IP). addresses: where it leads, () while unknown or gone. error: why it leads nowhere, where
    that is known: nobody has to wait for the next answer to hear it again."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.addresses: tuple[str, ...] = ()
        self.error: Exception | None = None
        self.learnt_at = 0.0
        self._turn = 0
        self._followers: list[Follower] = []
        self._waiting: list[Deferred[None]] = []

    def next(self) -> str:
        """The addresses in turn; NameNotFound where there is none."""
        if not self.addresses:
            raise NameNotFound(str(self.error or self.host))
        self._turn += 1
        return self.addresses[self._turn % len(self.addresses)]

    def knows(self, address: str) -> bool:
        """Whether the name (still) leads there."""
        return address in self.addresses

    def wait(self) -> Deferred[None]:
        """Fires when the next answer is there; fails with what was wrong. At once where that is known."""
        if self.error is not None:
            return fail(type(self.error)(*self.error.args))  # a new one: each raise would lengthen its traceback
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def follow(self, follower: Follower) -> None:
        self._followers.append(follower)

    def forget(self, follower: Follower) -> None:
        if follower in self._followers:
            self._followers.remove(follower)

    def learnt(self, addresses: tuple[str, ...], now: float) -> None:
        """An answer: whoever waits goes on, and connections to other addresses are let go."""
        changed = set(addresses) != set(self.addresses)
        self.addresses, self.error, self.learnt_at = addresses, None, now
        self._wake(None)
        if changed:
            self._tell()

    def lost(self, error: Exception) -> None:
        """It leads nowhere."""
        self.error = error
        had, self.addresses = self.addresses, ()
        self._wake(Failure(error))
        if had:
            self._tell()

    def _tell(self) -> None:
        for follower in list(self._followers):
            follower.addresses_changed()

    def _wake(self, failure: Failure | None) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None) if failure is None else one.errback(failure)


class Names:
    """The names of a worker's targets. `name(host)` starts to look one up; `close` stops all of it."""

    def __init__(
        self, resolver: IResolver, timers: ITimers, now: Callable[[], float], events: IEventLog, max_stale: float
    ) -> None:
        self._resolver = resolver
        self._timers = timers
        self._now = now
        self._events = events
        self._max_stale = max_stale
        self._names: dict[str, Name] = {}
        self._pending: dict[str, Any] = {}

    def name(self, host: str) -> Name:
        """The name, shared by all who ask; an IP leads to itself."""
        known = self._names.get(host)
        if known is not None:
            return known
        name = self._names[host] = Name(host)
        if as_ip(host):
            name.addresses = (host,)
        else:
            self._look_up(name)
        return name

    def keep(self, hosts: set[str]) -> None:
        """Look up no other names any more."""
        for host in [host for host in self._names if host not in hosts]:
            self._stop(host)
            del self._names[host]

    def close(self) -> None:
        """Stop looking up."""
        for host in list(self._pending):
            self._stop(host)

    def _stop(self, host: str) -> None:
        pending = self._pending.pop(host, None)
        if pending is not None:
            pending.cancel()

    def _look_up(self, name: Name) -> None:
        deferred: Any = self._resolver.resolve(name.host)
        self._pending[name.host] = deferred
        deferred.addCallbacks(self._found, self._failed, callbackArgs=(name,), errbackArgs=(name,))

    def _found(self, resolution: Resolution, name: Name) -> None:
        name.learnt(resolution.addresses, self._now())
        self._again(name, min(max(resolution.ttl, SHORTEST_TTL), LONGEST_TTL))

    def _failed(self, failure: Failure, name: Name) -> None:
        if self._names.get(name.host) is not name or self._pending.get(name.host) is None:
            return
        stale = self._now() - name.learnt_at
        if failure.check(NameNotFound):
            self._gone(name, NameNotFound(f"{name.host} does not exist"))
        elif not name.addresses or stale > self._max_stale:
            self._gone(name, ResolutionFailed(f"{name.host} could not be resolved: {failure.value}"))
        self._again(name, RETRY_AFTER)

    def _gone(self, name: Name, error: Exception) -> None:
        if name.addresses or type(error) is not type(name.error):
            self._events.event("error", "a target's name leads nowhere", host=name.host, why=str(error))
        name.lost(error)

    def _again(self, name: Name, seconds: float) -> None:
        if self._names.get(name.host) is name:
            self._pending[name.host] = self._timers.call_later(seconds, self._look_up, name)
