"""Names of targets, and of services, and where they lead now: resolved off the reactor, again by TTL; the last good
answer is kept a while."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Generic, Protocol, TypeVar

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
    ServiceRecord,
    ServiceResolution,
)

T = TypeVar("T")

# A TTL of 0 would ask on every turn of the loop; one of a week would outlive every migration.
SHORTEST_TTL = 1.0
LONGEST_TTL = 300.0
RETRY_AFTER = 2.0


class Follower(Protocol):
    """Who has connections to a name, or targets of a service."""

    def addresses_changed(self) -> None:
        """The name leads elsewhere now."""


class Known(Generic[T]):
    """What name servers say of a name. found: () while unknown or gone. error: why it leads nowhere, where that is
    known: nobody has to wait for the next answer to hear it again."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.found: tuple[T, ...] = ()
        self.error: Exception | None = None
        self.learnt_at = 0.0
        self._followers: list[Follower] = []
        self._waiting: list[Deferred[None]] = []

    @property
    def followed(self) -> bool:
        """Whether anybody wants to know."""
        return bool(self._followers)

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

    def learnt(self, found: tuple[T, ...], now: float) -> None:
        """An answer: followers are told where it is another one (connections to other addresses are let go), and
        whoever waits goes on."""
        changed = set(found) != set(self.found)
        self.found, self.error, self.learnt_at = found, None, now
        if changed:
            self._tell()
        self._wake(None)

    def lost(self, error: Exception) -> None:
        """It leads nowhere."""
        self.error = error
        had, self.found = self.found, ()
        if had:
            self._tell()
        self._wake(Failure(error))

    def _tell(self) -> None:
        for follower in list(self._followers):
            follower.addresses_changed()

    def _wake(self, failure: Failure | None) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None) if failure is None else one.errback(failure)


class Name(Known[str]):
    """One host name (or IP), and its addresses."""

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self._turn = 0

    @property
    def addresses(self) -> tuple[str, ...]:
        return self.found

    def next(self) -> str:
        """The addresses in turn; NameNotFound where there is none."""
        if not self.found:
            raise NameNotFound(str(self.error or self.host))
        self._turn += 1
        return self.found[self._turn % len(self.found)]

    def knows(self, address: str) -> bool:
        """Whether the name (still) leads there."""
        return address in self.found


class Service(Known[ServiceRecord]):
    """The name of a service, and its places."""


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
        self._services: dict[str, Service] = {}
        self._pending: dict[Known[Any], Any] = {}

    def name(self, host: str) -> Name:
        """The name, shared by all who ask; an IP leads to itself."""
        known = self._names.get(host)
        if known is not None:
            return known
        name = self._names[host] = Name(host)
        if as_ip(host):
            name.found = (host,)
        else:
            self._look_up(name)
        return name

    def service(self, host: str) -> Service:
        """The name of SRV records, shared by all who ask."""
        known = self._services.get(host)
        if known is not None:
            return known
        service = self._services[host] = Service(host)
        self._look_up(service)
        return service

    def keep(self, hosts: Collection[str], services: Collection[str] = ()) -> None:
        """Look up no other names any more."""
        for host in [host for host in self._names if host not in hosts]:
            self._stop(self._names.pop(host))
        for host in [host for host in self._services if host not in services]:
            self._stop(self._services.pop(host))

    def leave(self, host: str) -> None:
        """Look a name up no more, unless somebody has connections to it."""
        name = self._names.get(host)
        if name is not None and not name.followed:
            del self._names[host]
            self._stop(name)

    def close(self) -> None:
        """Stop looking up."""
        for known in list(self._pending):
            self._stop(known)

    def _stop(self, known: Known[Any]) -> None:
        pending = self._pending.pop(known, None)
        if pending is not None:
            pending.cancel()

    def _look_up(self, known: Known[Any]) -> None:
        resolver = self._resolver
        asked: Awaitable[Resolution | ServiceResolution]
        asked = resolver.services(known.host) if isinstance(known, Service) else resolver.resolve(known.host)
        deferred: Any = asked
        self._pending[known] = deferred
        deferred.addCallbacks(self._found, self._failed, callbackArgs=(known,), errbackArgs=(known,))

    def _found(self, resolution: Resolution | ServiceResolution, known: Known[Any]) -> None:
        found = resolution.records if isinstance(resolution, ServiceResolution) else resolution.addresses
        self._again(known, min(max(resolution.ttl, SHORTEST_TTL), LONGEST_TTL))
        known.learnt(found, self._now())

    def _failed(self, failure: Failure, known: Known[Any]) -> None:
        if known not in self._pending:
            return
        self._again(known, RETRY_AFTER)
        stale = self._now() - known.learnt_at
        if failure.check(NameNotFound):
            self._gone(known, NameNotFound(f"{known.host} does not exist"))
        elif not known.found or stale > self._max_stale:
            self._gone(known, ResolutionFailed(f"{known.host} could not be resolved: {failure.value}"))

    def _gone(self, known: Known[Any], error: Exception) -> None:
        if known.found or type(error) is not type(known.error):
            self._events.event("error", "a target's name leads nowhere", host=known.host, why=str(error))
        known.lost(error)

    def _again(self, known: Known[Any], seconds: float) -> None:
        """To be called before anybody is told, so that it holds whatever comes of that."""
        if known in self._pending:
            self._pending[known] = self._timers.call_later(seconds, self._look_up, known)
