"""The state of an environment in Redis: every operation is one command or one script, so that it is one atomic step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, inf, isinf
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure
from zope.interface import classImplements

from apigateway.adapters.redis.keys import ALGORITHMS, LEASES, QUOTA, VALUE, Keys, number
from apigateway.adapters.redis.replies import StoreError, code_of
from apigateway.adapters.redis.scripts import ADD, COUNT, LEASE, RELEASE, RENEW, SWAP, TAKE, Script
from apigateway.ports.interfaces import (
    Capacity,
    Decision,
    IQuotaStore,
    IStateStore,
    Limit,
    Quota,
    Standing,
    Usage,
)

# How many texts of rules and of edges are kept ready. A configuration has far fewer.
MOST_TEXTS: Final = 4096
SCANNED_AT_ONCE: Final = b"1000"


class Link(Protocol):
    """What commands are sent by; see RedisLink."""

    def call(self, *arguments: bytes) -> Deferred[Any]: ...

    def run(self, script: Script, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Deferred[Any]: ...


class RedisStore:
    """An IStateStore and IQuotaStore. Besides StoreUnavailable, calls may fail with StoreError: a defect.

    Time is the server's. simulated: the seconds since 1970 that scripts take instead; what ends by itself in the
    server (values, and every key some time after its use) keeps the server's all the same.
    One counter is a limit's key, algorithm and period together; a change of `limit` keeps what was counted. A cost
    above the limit can never be granted; its retry_after is the period.
    """

    shared = True

    def __init__(self, link: Link, environment: str, simulated: Callable[[], float] | None = None) -> None:
        self._link = link
        self._keys = Keys(environment)
        self._simulated = simulated
        # Of a limit without its key: the kind in the name of its counter, and its arguments. Of a quota the same way.
        self._rules: dict[tuple[int, float, str], tuple[str, tuple[bytes, bytes, bytes]]] = {}
        self._windows: dict[tuple[int, tuple[float, ...]], list[bytes]] = {}

    # ---- limits

    def take(self, limits: Sequence[Limit], cost: int = 1) -> Decision | Deferred[Decision]:
        """See IStateStore. Two rules of one counter count once. ValueError for a cost below 0."""
        if cost < 0:
            raise ValueError(f"a cost is not negative: {cost}")
        return self._count(limits, b"%d" % cost)

    def peek(self, limits: Sequence[Limit]) -> Decision | Deferred[Decision]:
        """See IStateStore; granted tells whether one unit would be."""
        return self._count(limits, b"")

    def _count(self, limits: Sequence[Limit], cost: bytes) -> Decision | Deferred[Decision]:
        if not limits:
            return Decision(True, ())
        names, arguments = [], [cost]
        for key, limit, period, algorithm in limits:
            rule = self._rules.get((limit, period, algorithm))
            if rule is None:
                rule = self._new_rule(limit, period, algorithm)
            names.append(self._keys.name(rule[0], key))
            arguments.extend(rule[1])
        if self._simulated is not None:
            arguments.append(self._time())
        return self._link.run(TAKE, names, arguments).addCallback(_decision)

    def _new_rule(self, limit: int, period: float, algorithm: str) -> tuple[str, tuple[bytes, bytes, bytes]]:
        letter, seconds = ALGORITHMS[algorithm], number(period)
        rule = letter + seconds, (letter.encode(), b"%d" % limit, seconds.encode())
        if len(self._rules) >= MOST_TEXTS:
            self._rules.clear()
        self._rules[limit, period, algorithm] = rule
        return rule

    # ---- values

    def get(self, key: str) -> Deferred[bytes | None]:
        return self._link.call(b"GET", self._keys.name(VALUE, key)).addErrback(_none_of_ours)

    def put(self, key: str, value: bytes, seconds: float) -> Deferred[None]:
        name = self._keys.name(VALUE, key)
        return self._link.call(b"SET", name, value, b"PX", _milliseconds(seconds)).addCallback(_nothing)

    def add(self, key: str, value: bytes, seconds: float) -> Deferred[bool]:
        name = self._keys.name(VALUE, key)
        return self._link.run(ADD, (name,), (value, _milliseconds(seconds))).addCallback(bool)

    def swap(self, key: str, expected: bytes | None, value: bytes | None, seconds: float = 0.0) -> Deferred[bool]:
        """See IStateStore. ValueError for a value without a time."""
        if value is not None and seconds <= 0.0:
            raise ValueError("a value ends after more than no time")
        arguments = [b"0", b""] if value is None else [_milliseconds(seconds), value]
        if expected is not None:
            arguments.append(expected)
        return self._link.run(SWAP, (self._keys.name(VALUE, key),), arguments).addCallback(bool)

    def remove(self, key: str) -> Deferred[None]:
        return self._link.call(b"DEL", self._keys.name(VALUE, key)).addCallback(_nothing)

    # ---- leases

    def lease(
        self, capacities: Sequence[Capacity], holder: str, seconds: float
    ) -> Decision | Deferred[Decision]:
        """See IStateStore. A place that the holder has already ends later from now on, even where the capacity was
        lowered below what is taken. Where nothing is held and nothing may be, retry_after is `seconds`."""
        if not capacities:
            return Decision(True, ())
        names = [self._keys.name(LEASES, key) for key, _ in capacities]
        arguments = [holder.encode(), number(seconds).encode(), *(b"%d" % limit for _, limit in capacities)]
        if self._simulated is not None:
            arguments.append(self._time())
        return self._link.run(LEASE, names, arguments).addCallback(_decision)

    def renew(self, keys: Sequence[str], holders: Sequence[str], seconds: float) -> None | Deferred[None]:
        if not keys:
            return None
        names = [self._keys.name(LEASES, key) for key in keys]
        arguments = [number(seconds).encode(), *(holder.encode() for holder in holders)]
        if self._simulated is not None:
            arguments.append(self._time())
        return self._link.run(RENEW, names, arguments).addCallback(_nothing)

    def release(self, keys: Sequence[str], holder: str) -> None | Deferred[None]:
        if not keys:
            return None
        names = [self._keys.name(LEASES, key) for key in keys]
        return self._link.run(RELEASE, names, (holder.encode(),)).addCallback(_nothing)

    # ---- quotas

    def consume(self, quotas: Sequence[Quota], cost: int = 1) -> Decision | Deferred[Decision]:
        """See IQuotaStore. ValueError for a cost below 0."""
        if cost < 0:
            raise ValueError(f"a cost is not negative: {cost}")
        if not quotas:
            return Decision(True, ())
        return self._on_quotas(quotas, b"%d" % cost).addCallback(_decision)

    def usage(self, quotas: Sequence[Quota]) -> list[Usage] | Deferred[list[Usage]]:
        if not quotas:
            return []

        def shown(reply: list[int]) -> list[Usage]:
            pairs = zip(reply[::2], reply[1::2], strict=True)
            return [_usage_in(quota, used, edge) for quota, (used, edge) in zip(quotas, pairs, strict=True)]

        return self._on_quotas(quotas, b"").addCallback(shown)

    def _on_quotas(self, quotas: Sequence[Quota], cost: bytes) -> Deferred[Any]:
        names, arguments = [], [cost]
        for key, limit, edges in quotas:
            text = self._windows.get((limit, edges))
            if text is None:
                text = self._new_windows(limit, edges)
            names.append(self._keys.name(QUOTA, key))
            arguments.extend(text)
        if self._simulated is not None:
            arguments.append(self._time())
        return self._link.run(COUNT, names, arguments)

    def _new_windows(self, limit: int, edges: tuple[float, ...]) -> list[bytes]:
        text = [b"%d" % limit, b"%d" % len(edges), *(number(edge).encode() for edge in edges)]
        if len(self._windows) >= MOST_TEXTS:
            self._windows.clear()
        self._windows[limit, edges] = text
        return text

    def used_by(self, prefix: str, most: int) -> Deferred[list[Usage]]:
        """See IQuotaStore. It goes through all keys of the server: for operators, not for requests."""
        return Deferred.fromCoroutine(self._used_by(prefix, most))

    async def _used_by(self, prefix: str, most: int) -> list[Usage]:
        now = await self._now()
        pattern = self._keys.pattern(QUOTA, prefix)
        found: list[Usage] = []
        seen: set[bytes] = set()
        cursor = b"0"
        while True:
            cursor, names = await self._link.call(
                b"SCAN", cursor, b"MATCH", pattern, b"COUNT", SCANNED_AT_ONCE
            )
            # The server may name one twice.
            fresh = [name for name in dict.fromkeys(names) if name not in seen]
            seen.update(fresh)
            named = [(name, self._keys.key(QUOTA, name)) for name in fresh]
            keys = [(name, key) for name, key in named if key is not None and key.startswith(prefix)]
            for key, counted in await self._read(keys):
                found.extend(usage for usage in _usages(key, counted) if usage.ends is None or usage.ends > now)
            if cursor == b"0" or len(found) >= most:
                return found[:most]

    async def _read(self, keys: Sequence[tuple[bytes, str]]) -> list[tuple[str, list[bytes]]]:
        """All windows of some counters; what was changed to something else meanwhile is left out."""
        asked = [self._link.call(b"HGETALL", name) for name, _ in keys]
        answers: Any = await DeferredList(asked, consumeErrors=True)
        read = []
        for (_, key), (succeeded, answer) in zip(keys, answers, strict=True):
            if succeeded:
                read.append((key, answer))
            elif not answer.check(StoreError):
                answer.raiseException()
        return read

    def reset(self, key: str) -> Deferred[bool]:
        return self._link.call(b"DEL", self._keys.name(QUOTA, key)).addCallback(bool)

    # ---- time

    def _time(self) -> bytes:
        assert self._simulated is not None
        return number(self._simulated()).encode()

    async def _now(self) -> float:
        if self._simulated is not None:
            return self._simulated()
        seconds, micro = await self._link.call(b"TIME")
        return int(seconds) + int(micro) / 1e6


def _decision(reply: list[int]) -> Decision:
    """Granted, and three figures for each rule; -1 microseconds are never."""
    if len(reply) == 4:
        granted, remaining, reset, retry = reply
        return Decision(granted == 1, (Standing(remaining, _seconds(reset), _seconds(retry)),))
    figures = iter(reply[1:])
    standings = [Standing(left, _seconds(reset), _seconds(retry))
                 for left, reset, retry in zip(figures, figures, figures, strict=True)]
    return Decision(reply[0] == 1, tuple(standings))


def _seconds(micro: int) -> float:
    return micro / 1e6 if micro >= 0 else inf


def _milliseconds(seconds: float) -> bytes:
    return b"%d" % max(1, ceil(seconds * 1000))


def _nothing(_: Any) -> None:
    return None


def _none_of_ours(failure: Failure) -> None:
    """A key of another type was set by somebody else, and holds no value."""
    failure.trap(StoreError)
    if code_of(failure.getErrorMessage()) != "WRONGTYPE":
        failure.raiseException()


def _usage_in(quota: Quota, used: int, edge: int) -> Usage:
    """edge: which of the quota's edges the window begins at, from 1 on."""
    if not edge:
        return Usage(quota.key, used, 0.0, None)
    return Usage(quota.key, used, quota.edges[edge - 1], quota.edges[edge])


def _usages(key: str, counted: list[bytes]) -> list[Usage]:
    """What a hash holds: the edges of each window, and the units used in it."""
    usages = []
    for field, used in zip(counted[::2], counted[1::2], strict=True):
        begins, _, ends = field.partition(b":")
        if begins and ends and used.isdigit():
            end = float(ends)
            usages.append(Usage(key, int(used), float(begins), None if isinf(end) else end))
    return usages


# Said from outside: a class that is compiled (setup.py) has no decorators.
classImplements(RedisStore, IStateStore, IQuotaStore)
