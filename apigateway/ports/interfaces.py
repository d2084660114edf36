"""The ports. Each names what it promises; a twin in memory and the real thing pass the same contract tests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from zope.interface import Attribute, Interface


class IClock(Interface):
    """Time, in seconds."""

    def monotonic() -> float:
        """Never goes back, and does not jump when the clock of the machine is set: for every timer."""

    def wall() -> float:
        """Seconds since 1970 UTC, for dates that people or tokens name."""


class IRandom(Interface):
    """Randomness."""

    def random() -> float:
        """Uniform in [0, 1); need not be unpredictable."""

    def token(octets: int) -> bytes:
        """Octets nobody can predict."""


class ICancellable(Interface):
    """What was started and can be called off."""

    def cancel() -> None:
        """Call it off; harmless when it is over already."""


class ITimers(Interface):
    """Calls later on the reactor's own thread."""

    def call_later(seconds: float, callable: Callable[..., Any], *args: Any) -> Any:
        """Call once after so many seconds; returns an ICancellable."""


# Three of them are made for each decision (Limit, Standing, Decision): a named tuple costs half of a frozen dataclass.
class Limit(NamedTuple):
    """One rule of a limit, ready to be counted.

    key: names the counter; equal keys share it. limit: how many units at most in `period` seconds (> 0).
    algorithm: "sliding-window", "fixed-window" or "token-bucket" (capacity `limit`, refilled over `period`).
    """

    key: str
    limit: int
    period: float
    algorithm: str = "sliding-window"


class Standing(NamedTuple):
    """How one rule stands after a decision: units left, seconds until `limit` is whole again, and, where the
    rule refused, seconds until as many units as were asked for will be free (0.0 where it did not)."""

    remaining: int
    reset_after: float
    retry_after: float = 0.0


class Decision(NamedTuple):
    """The answer to `take`: all rules granted, or none was taken from. `standings` in the rules' order."""

    granted: bool
    standings: tuple[Standing, ...]


class Quota(NamedTuple):
    """One rule of a quota: at most `limit` units between two edges of a calendar.

    key: names the counter. edges: wall seconds, rising, at which windows begin; the store counts in the window that its
    own clock is in, and the last edge only ends one. (): one window that is never renewed.
    """

    key: str
    limit: int
    edges: tuple[float, ...] = ()


class Usage(NamedTuple):
    """What a counter of a quota holds: units used in the window that begins at `begins` (wall seconds; 0.0 for one that
    is never renewed) and ends at `ends` (None: never)."""

    key: str
    used: int
    begins: float
    ends: float | None


class Capacity(NamedTuple):
    """One rule of a limit on what runs at once. key: names the leases that are counted together; at most `limit`."""

    key: str
    limit: int


class StoreUnavailable(Exception):
    """The state store did not answer in time or at all; what then happens is the policy's on_store_failure."""


class IStateStore(Interface):
    """State that outlives an exchange: counters, and small values with an end.

    Each call returns its result, or a Deferred of it where the store is remote (StoreUnavailable when it fails).
    Every key ends by itself.
    """

    shared = Attribute("bool: True when every worker of the environment sees the same state")

    def take(limits: Sequence[Limit], cost: int = 1) -> Decision | Awaitable[Decision]:
        """Take `cost` units from every rule, or from none when one of them refuses; one atomic step."""

    def peek(limits: Sequence[Limit]) -> Decision | Awaitable[Decision]:
        """How the rules stand; takes nothing."""

    def get(key: str) -> bytes | None | Awaitable[bytes | None]:
        """The value under a key, or None."""

    def put(key: str, value: bytes, seconds: float) -> None | Awaitable[None]:
        """Set a value that ends after so many seconds (> 0)."""

    def add(key: str, value: bytes, seconds: float) -> bool | Awaitable[bool]:
        """Set a value only where there is none; tells whether it was set. One atomic step."""

    def swap(
        key: str, expected: bytes | None, value: bytes | None, seconds: float = 0.0
    ) -> bool | Awaitable[bool]:
        """Where the key holds `expected` (None: nothing), set a value that ends after so many seconds, or forget the
        key (value None); tells whether it was so. One atomic step."""

    def remove(key: str) -> None | Awaitable[None]:
        """Forget a key."""

    def lease(
        capacities: Sequence[Capacity], holder: str, seconds: float
    ) -> Decision | Awaitable[Decision]:
        """Take a place in every capacity, or in none when one of them is full; one atomic step. It is given back by
        `release`, or by itself after so many seconds unless renewed. holder: unique; who asks again with it has the
        same place. In a standing: remaining places; reset_after is 0.0, and retry_after of a full one the seconds until
        the first place is given back by itself."""

    def renew(keys: Sequence[str], holders: Sequence[str], seconds: float) -> None | Awaitable[None]:
        """Pairs of key and holder: leases that still exist end after so many seconds from now."""

    def release(keys: Sequence[str], holder: str) -> None | Awaitable[None]:
        """Give a holder's places back; harmless where they are gone."""


class IQuotaStore(Interface):
    """Counters that people agreed on: they outlive restarts. As IStateStore, results or Deferreds of them."""

    def consume(quotas: Sequence[Quota], cost: int = 1) -> Decision | Awaitable[Decision]:
        """Use `cost` units of every quota, or of none when one of them refuses; one atomic step. In a standing,
        reset_after is the seconds to the window's end (inf: never renewed), and retry_after the same where it refused
        (inf where waiting does not help)."""

    def usage(quotas: Sequence[Quota]) -> Sequence[Usage] | Awaitable[Sequence[Usage]]:
        """What is used in the windows that now is in; uses nothing."""

    def used_by(prefix: str, most: int) -> Sequence[Usage] | Awaitable[Sequence[Usage]]:
        """The counters whose key begins so, at most so many, in no order."""

    def reset(key: str) -> bool | Awaitable[bool]:
        """Forget what was used; tells whether there was anything."""


class INotices(Interface):
    """Short news among all workers of an environment, now; who is not there does not hear them later."""

    def tell(topic: str, body: bytes) -> None:
        """Tell all workers, this one among them. Never fails; may be lost."""

    def hear(topic: str, callable: Callable[[bytes], None]) -> Callable[[], None]:
        """Have it called with each; returns what ends that. Called with b"" where news may have been missed."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """Addresses of a name (textual IPv4 and IPv6), and for how many seconds they may be believed."""

    addresses: tuple[str, ...]
    ttl: float


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """A place where a service is (SRV, RFC 2782): the lowest priority is asked first, by weight. host: a name without
    the dot at its end."""

    priority: int
    weight: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ServiceResolution:
    """The places of a service, at least one, and for how many seconds they may be believed."""

    records: tuple[ServiceRecord, ...]
    ttl: float


class NameNotFound(Exception):
    """The name does not exist (NXDOMAIN), or has no address."""


class ResolutionFailed(Exception):
    """Nothing could be learnt (SERVFAIL, timeout): what was known before is still the best there is."""


class IResolver(Interface):
    """Names to addresses, without ever blocking the reactor."""

    def resolve(name: str) -> Awaitable[Resolution]:
        """A Deferred of a Resolution; fails with NameNotFound or ResolutionFailed."""

    def services(name: str) -> Awaitable[ServiceResolution]:
        """A Deferred of where a service is, by its SRV records; fails like `resolve`."""


class IExchangeLog(Interface):
    """Told of every exchange, once, when it is over: metrics and the access log are such."""

    def finished(exchange: Any) -> None:
        """The exchange is over; must not raise, and must cost next to nothing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A figure read when somebody asks for it, not counted: what stands in a pool, who is healthy.

    name: one of
      "upstream_connections" (upstream, target, "idle" or "busy"),
      "target_healthy" (upstream, target; 1.0 or 0.0), "target_active" (upstream, target),
      "target_breaker" (upstream, target; 0.0 closed, 1.0 half-open, 2.0 open), "target_breaker_opened",
      "target_put_aside", "target_latency_seconds" (upstream, target), "upstream_panic" (upstream; 1.0 or 0.0),
      "retries_over_budget" (upstream),
      "canary_cooling" (upstream; 1.0 or 0.0), "mirror_copies" (upstream, what became of them),
      "connections" (listener), "log_lines_lost" (log),
      "certificate_not_after_seconds" (listener, name of a certificate; Unix time), "certificates_refused" (listener),
      "proxy_headers_refused" (listener), "workers" (state), "worker_restarts" (),
      "store_connected" (), "store_circuit_opened" (), "store_commands" (result),
      "cache_entries", "cache_hits", "cache_misses", "cache_evicted" (cache).
    labels: the values named in brackets, in that order. An unknown name is left out of the exposition.
    """

    name: str
    labels: tuple[str, ...]
    value: float


class IMetrics(IExchangeLog):
    """Counts what happens. Every name is one of the configuration, so that there are only so many of them.

    No method raises, and each costs next to nothing.
    """

    def attempt(upstream: str, target: str, result: str) -> None:
        """One try at a target is over; result a stable word, e.g. "ok", "connect-failed"."""

    def limit_decision(api: str, route: str, step: str, granted: bool) -> None:
        """A limit was asked."""

    def store_failure(step: str, mode: str) -> None:
        """A step had to do without the shared state: "open", "closed" or "local" (on_store_failure)."""

    def step_outcome(step: str, kind: str, outcome: str) -> None:
        """A step did not just go on: "reply", "fault", "error-continued", "shadow-reply", "shadow-fault"."""

    def reload(result: str) -> None:
        """A revision was "taken" or "refused"."""

    def digest(digest: str) -> None:
        """The revision that runs from now on."""

    def loop_lag(seconds: float) -> None:
        """How much later than it should have the reactor called."""


class IEventLog(Interface):
    """What operators want to read: faults with their private text, reloads, health changes."""

    def event(level: str, message: str, **fields: Any) -> None:
        """Write one line; level is "debug", "info", "warn" or "error"; fields hold no secret."""


Facts = dict[str, Any]


class Unavailable(Exception):
    """Nobody is there who could do it; one of several workers may be soon."""


class IWorker(Interface):
    """What a worker shows and lets its operators do; the management API is a thin skin over it.

    Results are values made of dict, list, str, int, float, bool, None, ready for JSON; those of status, configuration,
    upstreams, drain_target, quotas, caches and explain may be awaitables of them, where several workers are asked.
    LookupError where an upstream or target of that name does not exist; Unavailable where no worker answers.
    """

    def live() -> bool:
        """The worker runs."""

    def ready() -> tuple[bool, str]:
        """Whether traffic should be sent here, and why not."""

    def status() -> Facts | Awaitable[Facts]:
        """Version, environment, uptime seconds, revision digest and age, last reload and its problems, connections."""

    def configuration() -> Facts | Awaitable[Facts]:
        """The running configuration, secrets withheld."""

    def upstreams() -> list[Facts] | Awaitable[list[Facts]]:
        """Each upstream with its targets: health, why, active exchanges, pooled connections, draining."""

    def reload() -> Awaitable[dict[str, Any]]:
        """Build the revision anew and swap; see `outcome_of_reload`."""

    def drain_target(upstream: str, target: str, draining: bool) -> Facts | Awaitable[Facts]:
        """Stop (or go on) choosing a target; running exchanges end by themselves. Returns the target."""

    def quotas() -> list[Facts] | Awaitable[list[Facts]]:
        """The steps that keep quotas: step (its place), kind, api, route, and its rules."""

    def quota_usage(step: str, key: str, most: int) -> Awaitable[list[Facts]]:
        """A counter of the step at this place, or with "" those in use, at most so many: key, rule, limit, used,
        remaining, begins, ends. LookupError where there is no such step or key; Unavailable where the store is."""

    def reset_quota(step: str, key: str) -> Awaitable[bool]:
        """Forget what was used under a key; tells whether there was anything. Fails like `quota_usage`."""

    def caches() -> list[Facts] | Awaitable[list[Facts]]:
        """Each cache: name, entries, most, hits, misses, evicted."""

    def purge_caches(name: str, everywhere: bool) -> int | Awaitable[int]:
        """Forget what the cache of this name holds, "": all of them; how many entries that were. everywhere: in all
        workers of the environment. LookupError where there is none of the name."""

    def explain(method: str, url: str, headers: Sequence[tuple[str, str]]) -> Facts | Awaitable[Facts]:
        """Which route, which steps in which order, which target, and why not the others. ValueError for what is no
        request."""
