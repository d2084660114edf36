"""From nothing to a connection that is ready: the right server, logged in, and able to do what it is needed for."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from apigateway.adapters.redis.connection import Counts, RedisConnection
from apigateway.adapters.redis.replies import StoreError
from apigateway.adapters.redis.scripts import PROBE
from apigateway.adapters.redis.sentinel import Sentinels
from apigateway.config.addresses import TcpAddress, UnixAddress
from apigateway.config.model import State
from apigateway.ports.interfaces import IResolver, ITimers, NameNotFound, ResolutionFailed, StoreUnavailable

# For connecting (TCP, TLS), for logging in, and for each Sentinel. A server that needs longer could answer no command
# in time, and a lost packet must not keep the next attempt from coming.
STEP_LIMIT = 0.5
# Before that, for a name that was never resolved: the first name server may be down, and the next one is to be asked.
NAME_LIMIT = 2.0
# For names and Sentinels together.
SEARCH_LIMIT = 5.0
# Of one name, in one attempt: each may take all of STEP_LIMIT.
MOST_ADDRESSES = 3
# How long the key of a probe is there.
PROBE_MILLISECONDS = b"1000"


class Connect(Protocol):
    """Connects to a place, within so many seconds."""

    def __call__(
        self, address: tuple[str, int] | str, factory: Factory, context: ssl.SSLContext | None, server_name: str,
        within: float,
    ) -> Deferred[Any]: ...


@dataclass(frozen=True)
class Reach:
    """What connections are made with. context: of TLS, where it is spoken."""

    connect: Connect
    resolver: IResolver
    timers: ITimers
    now: Callable[[], float]
    context: ssl.SSLContext | None


class Dialling:
    """Makes connections to the server that a state's settings name.

    counts: of what is asked for by connections that are ready; not of what makes them so. name: what the server calls
    the connection (CLIENT LIST). probe: a key that a script writes, so that a server is known to do both: a replica,
    one that is loading and one that is full take no writes.
    """

    def __init__(self, settings: State, reach: Reach, counts: Counts, *, name: str, probe: bytes) -> None:
        self._settings, self._reach, self._counts = settings, reach, counts
        self._where = settings.where
        self._name, self._probe = name.encode(), probe
        self._sentinels: Sentinels | None = None
        if self._where.kind == "sentinel":
            places = [place for place in self._where.places if isinstance(place, TcpAddress)]
            self._sentinels = Sentinels(places, self._where.service, self._open_sentinel)
        # The last good addresses of a name, which serve while name servers do not.
        self._known: dict[str, tuple[str, ...]] = {}
        self._failures = 0

    def dial(self) -> Deferred[RedisConnection]:
        """A connection that is ready; fails with StoreUnavailable. Its caller sets `on_lost`."""
        return Deferred.fromCoroutine(self._dial())

    async def _dial(self) -> RedisConnection:
        try:
            place = await self._within(SEARCH_LIMIT, self._place(), "names and Sentinels")
            connection = await self._open(place)
            try:
                await self._greet(connection)
            except BaseException:
                connection.end("it is not ready")
                raise
        except StoreUnavailable:
            self._failures += 1
            if self._sentinels is not None:
                self._sentinels.doubt()
            raise
        connection.counts = self._counts
        return connection

    async def _place(self) -> TcpAddress | UnixAddress:
        return self._where.places[0] if self._sentinels is None else await self._sentinels.primary()

    async def _within(self, seconds: float, work: Any, what: str) -> Any:
        deferred = Deferred.fromCoroutine(work)
        overdue = False

        def give_up() -> None:
            nonlocal overdue
            overdue = True
            deferred.cancel()

        late = self._reach.timers.call_later(seconds, give_up)
        try:
            return await deferred
        except CancelledError:
            if not overdue:
                raise  # it is the caller who gave up
            raise StoreUnavailable(f"{what}: no answer within {seconds:g} s") from None
        finally:
            late.cancel()

    # ---- connecting

    async def _open(self, place: TcpAddress | UnixAddress) -> RedisConnection:
        if isinstance(place, UnixAddress):
            return await self._connect(place, place.path, "")
        found = await self._addresses(place.host)
        # What accepts and is of no use must not be the first one for ever.
        first = self._failures % len(found)
        problem = f"{place.host} has no address"
        for address in (*found[first:], *found[:first])[:MOST_ADDRESSES]:
            try:
                return await self._connect(place, (address, place.port), place.host)
            except StoreUnavailable as error:
                problem = str(error)  # the exception itself would hold this frame, and this frame it
        raise StoreUnavailable(problem)

    async def _connect(
        self, place: TcpAddress | UnixAddress, address: tuple[str, int] | str, name: str
    ) -> RedisConnection:
        reach = self._reach
        factory = _Making(lambda: RedisConnection(reach.timers, reach.now, STEP_LIMIT, Counts()))
        try:
            connection: RedisConnection = await reach.connect(address, factory, reach.context, name, STEP_LIMIT)
        except CancelledError:
            raise
        except Exception as error:
            raise StoreUnavailable(f"{place} cannot be reached: {error or type(error).__name__}") from error
        return connection

    async def _addresses(self, host: str) -> tuple[str, ...]:
        """At least one."""
        within = STEP_LIMIT if host in self._known else NAME_LIMIT
        try:
            found = (await self._within(within, _awaited(self._reach.resolver.resolve(host)), host)).addresses
            self._known[host] = found
        except (NameNotFound, ResolutionFailed, StoreUnavailable) as error:
            found = self._known.get(host, ())
            if not found:
                raise StoreUnavailable(f"{host} could not be resolved: {error}") from error
        addresses: tuple[str, ...] = found
        return addresses

    async def _open_sentinel(self, place: TcpAddress) -> RedisConnection:
        connection = await self._open(place)
        password = self._settings.sentinel_password
        if password is not None:
            try:
                await connection.call(b"AUTH", password.get_secret_value().encode())
            except BaseException:
                connection.end("it is not ready")
                raise
        return connection

    # ---- logging in

    async def _greet(self, connection: RedisConnection) -> None:
        """Log in, and have a script write: the last is waited for as long as any command will be."""
        asked = []
        password = self._settings.password
        if password is not None:
            user = (self._where.user.encode(),) if self._where.user else ()
            asked.append(connection.call(b"AUTH", *user, password.get_secret_value().encode()))
        if self._where.database:
            asked.append(connection.call(b"SELECT", b"%d" % self._where.database))
        # A user may not be allowed to, and what is not Redis may not know it.
        optional = [connection.call(b"CLIENT", b"SETNAME", self._name)]
        if self._sentinels is not None:
            optional.append(connection.call(b"ROLE"))
        results: Any = await DeferredList([*asked, *optional], consumeErrors=True)
        for number, (succeeded, result) in enumerate(results):
            if not succeeded and (number < len(asked) or not _may_fail(result.value)):
                raise _unavailable(result.value)
        if self._sentinels is not None:
            _check_role(*results[-1])
        connection.wait_for(self._settings.timeout)
        try:
            await connection.run(PROBE, (self._probe,), (PROBE_MILLISECONDS,))
        except StoreError as error:
            raise _unavailable(error) from error


def _may_fail(error: BaseException) -> bool:
    return isinstance(error, StoreError) or str(error).startswith("NOPERM")


def _check_role(succeeded: bool, result: Any) -> None:
    """Sentinels may be behind: only the server itself knows. A user who may not ask is left to what the probe finds."""
    if succeeded and result[0] != b"master":
        raise StoreUnavailable(f"the server that Sentinels name is no primary, but a {result[0].decode()}")


def _unavailable(error: BaseException) -> StoreUnavailable:
    """A new one: raised again, the exception would hold the frame that keeps it among the results."""
    return StoreUnavailable(str(error))


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


class _Making(Factory):
    """Makes one kind of protocol."""

    noisy = False

    def __init__(self, make: Callable[[], RedisConnection]) -> None:
        self._make = make

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._make()
