"""Shuts out clients whose requests fail again and again, for a time.

Answers with one of `statuses` count against who got them. Who reaches `count` of them within `window`, or whose share
of them reaches `percent` of at least `minimum` requests, is banned for `ban`: every request is refused, 403 or 429 by
`answer`, with `Retry-After`. What this step refuses does not count, so a ban ends; nor does what no route takes (404,
405), since it comes to no step. Those that count are forgotten with their window, not with the ban: where `ban` is
shorter than `window`, the next one may be enough.

`by` says who is meant: an address (of IPv6 a network of `ipv6_prefix`), a consumer, or a subject, with the address
where there is none. Against guessed keys and passwords it is `ip`, and the step stands before the one that checks
them; by `consumer` or `subject` it stands behind that one.

`scope: shared` counts and bans over all workers of the environment; `worker` in each of them. A worker remembers who
is banned, so that a banned client costs the shared state nothing, and for `look_again` who is not; bans are told to
all workers, and where such news is lost, `look_again` is how late one may come. Answers are counted when they are
over, so requests that run side by side are not.

When the shared state does not answer, `on_store_failure` decides: `local` goes by what this worker knows, `open` lets
pass, `closed` answers 503.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, Literal

from pydantic import Field
from twisted.python.failure import Failure
from zope.interface import implementer

from apigateway.config.model import Duration, Percent, Status, Whole
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import BANNED, BANNED_AS_LIMITED, Fault
from apigateway.flow.interfaces import IOnFault, IOnLog, IOnRequest, IOnResponse
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.limit_fields import whole_seconds
from apigateway.flow.outcome import Outcome, Verdict
from apigateway.flow.services import Services
from apigateway.flow.steps import as_deferred
from apigateway.flow.whose import CallerSettings, whose
from apigateway.flow.without_store import StoreFailureSettings, TellsStoreFailure, WithoutStore
from apigateway.ports.interfaces import Decision, IStateStore, Limit, StoreUnavailable
from apigateway.ports.local_cache import LocalCache
from apigateway.ports.memory_store import MemoryStore

# How many are counted at most: a share needs no limit, and a counter has one.
MOST = 1_000_000_000
# Clients that a worker remembers, banned or not.
REMEMBERED = 20_000
NOT_BANNED = 0.0
NEWS = "client-ban"


class Config(CallerSettings, StoreFailureSettings):
    """Who is shut out, when, and for how long."""

    by: Literal["ip", "consumer", "subject"] = Field(default="ip", description="Who is counted and banned.")
    statuses: tuple[Status, ...] = Field(
        default=(401, 403), min_length=1, description="Answers that count, the gateway's own among them."
    )
    window: Duration = Field(default=60.0, le=86400.0, description="Answers of this time are counted.")
    count: Whole | None = Field(default=None, ge=1, le=1_000_000, description="So many of them are too many.")
    percent: Percent | None = Field(
        default=None, gt=0, description="Or this share of all requests of the client is."
    )
    minimum: Whole = Field(
        default=20, ge=1, le=1_000_000, description="With percent: of fewer requests no share is taken."
    )
    ban: Duration = Field(default=600.0, ge=1.0, le=31 * 86400.0, description="How long it lasts.")
    answer: Literal[403, 429] = Field(default=403, description="Status that the banned get.")
    scope: Literal["shared", "worker"] = Field(
        default="shared", description="Count and ban over all workers, or in each."
    )
    look_again: Duration = Field(
        default=1.0, le=60.0, description="How late a ban by another worker, of which the news was lost, is known here."
    )


@implementer(IOnRequest, IOnResponse, IOnFault, IOnLog)
class ClientBan(TellsStoreFailure):
    """Shuts out clients whose requests fail again and again, for a time."""

    def __init__(self, config: Config) -> None:
        if (config.count is None) == (config.percent is None):
            raise ValueError("give count, or percent")
        self._config = config
        self._statuses = frozenset(config.statuses)
        self._fault = BANNED if config.answer == 403 else BANNED_AS_LIMITED
        # See flow.step_checks.
        self.shares_state = config.scope == "shared"

    def provision(self, services: Services) -> None:
        """Find the state, and name counters and bans by this step's place, so that they outlive a reload."""
        config, clock = self._config, services.clock
        self._local: MemoryStore = services.shared("client-ban", lambda: MemoryStore(clock))
        alone = config.scope == "worker" and services.store.shared
        self._store: IStateStore = self._local if alone else services.store
        # Until when (monotonic), NOT_BANNED for who is not: of a store that is elsewhere.
        self._known: LocalCache = services.caches.cache("client-bans", REMEMBERED, clock.monotonic)
        self._tell = services.notices.tell
        self._unhear = services.notices.hear(NEWS, self._heard)
        self._now, self._wall, self._events = clock.monotonic, clock.wall, services.events
        self._without = WithoutStore(config, services)
        self._metrics = services.metrics
        self._step = services.place.rpartition("/")[2]
        self._prefix = f"{services.environment}/{services.place}/{config.by}/"
        self._whose = whose(config.by, config.ipv6_prefix, services)
        # Whom an exchange was looked up as: a step behind this one may tell who it is. Not in a slot of the exchange: a
        # step in the shadow leaves none there.
        self._keys: dict[Exchange, str] = {}

    def close(self) -> None:
        """Counters and bans stay: the next revision goes on with them."""
        self._unhear()

    def _heard(self, body: bytes) -> None:
        """A worker banned somebody: who is remembered as not banned is looked up again."""
        if not body:
            self._known.purge()  # some news may have been missed
            return
        key = body.decode("utf-8", "replace")
        if self._known.get(key) == NOT_BANNED:
            self._known.drop(key)

    def on_request(self, exchange: Exchange) -> Outcome:
        """Refuse who is banned."""
        key = self._keys[exchange] = self._prefix + self._whose(exchange)
        known = self._known.get(key)
        if known is not None:
            if known != NOT_BANNED:
                raise self._refusal(known - self._now())
            return None
        try:
            found = self._store.get(key + "/banned")
        except StoreUnavailable as error:
            self._without_store(exchange, key, error)
            return None
        if found is None or isinstance(found, bytes):
            self._decide(key, found)
            return None
        return self._awaited(exchange, key, found)

    def on_log(self, exchange: Exchange) -> None:
        """Count the answer, and ban where it was one too many."""
        key = self._keys.pop(exchange, None) or self._prefix + self._whose(exchange)
        if exchange.fault is not None and exchange.fault.kind is self._fault:
            return
        bad = exchange.status in self._statuses
        if bad or self._config.percent is not None:
            self._count(key, bad)

    # ---- the decision

    async def _awaited(self, exchange: Exchange, key: str, answer: Awaitable[bytes | None]) -> Verdict:
        try:
            found = await answer
        except StoreUnavailable as error:
            self._without_store(exchange, key, error)
        else:
            self._decide(key, found)
        return None

    def _decide(self, key: str, found: bytes | None) -> None:
        """found: what the store has under the key of a ban: when it ends, in wall seconds."""
        if found is not None:
            left = self._left(found)
            self._remember(key, left)
            raise self._refusal(left)
        if self._store.shared:
            self._known.put(key, NOT_BANNED, self._now() + self._config.look_again)

    def _without_store(self, exchange: Exchange, key: str, error: StoreUnavailable) -> None:
        if self._without.goes_on(exchange, error):
            found = self._local.get(key + "/banned")
            if found is not None:
                raise self._refusal(self._left(found))

    def _left(self, found: bytes) -> float:
        """Seconds until a ban ends. While the store holds it, it lasts, whatever the clock of this machine says."""
        try:
            left = float(found) - self._wall()
        except ValueError:  # somebody else's value
            left = self._config.ban
        return min(max(left, self._config.look_again), self._config.ban)

    def _remember(self, key: str, seconds: float) -> None:
        until = self._now() + seconds
        self._known.put(key, until, until)

    def _refusal(self, seconds: float) -> Fault:
        return Fault(
            self._fault, public="Too many of your requests failed; try again later.",
            headers=((b"retry-after", b"%d" % max(1, whole_seconds(seconds))),),
        )

    # ---- counting

    def _count(self, key: str, bad: bool) -> None:
        limits = self._limits(key, bad)
        try:
            answer = self._store.take(limits)
            if isinstance(answer, Decision):
                self._counted(self._store, key, bad, answer.standings)
            else:
                counting = as_deferred(self._counted_later(key, bad, answer))
                counting.addErrback(self._not_counted, key, bad, limits)
        except Exception:
            self._not_counted(Failure(), key, bad, limits)

    def _limits(self, key: str, bad: bool) -> list[Limit]:
        config = self._config
        if config.count is not None:
            return [Limit(key + "/bad", config.count, config.window)]
        limits = [Limit(key + "/all", MOST, config.window)]
        return [*limits, Limit(key + "/bad", MOST, config.window)] if bad else limits

    async def _counted_later(self, key: str, bad: bool, answer: Awaitable[Decision]) -> None:
        decision = await answer
        banned = self._counted(self._store, key, bad, decision.standings)
        if banned is not None:
            await banned

    def _counted(self, store: IStateStore, key: str, bad: bool, standings: Sequence[Any]) -> Awaitable[None] | None:
        """Ban, where that was one too many."""
        config = self._config
        if not bad:
            return None
        if config.percent is None:
            too_many = standings[0].remaining == 0
        else:
            every, failed = (MOST - standing.remaining for standing in standings)
            # 7 of 100 are 7 %, though 0.07 * 100 is a little more than 7.
            too_many = every >= config.minimum and failed + 1e-6 >= config.percent * every
        # Those that ran beside the last one must not make the ban longer.
        if not too_many or self._known.get(key) not in (None, NOT_BANNED):
            return None
        client = key.removeprefix(self._prefix)
        self._events.event("warn", "a client is banned", step=self._step, client=client, seconds=config.ban)
        self._remember(key, config.ban)
        put = store.put(key + "/banned", b"%.3f" % (self._wall() + config.ban), config.ban)
        if store is not self._local:
            # Behind what was put, on the same connection: who hears it finds the ban.
            self._tell(NEWS, key.encode("utf-8", "surrogatepass"))
        return put

    def _not_counted(self, failure: Failure, key: str, bad: bool, limits: Sequence[Limit]) -> None:
        mode = self._config.on_store_failure
        if not failure.check(StoreUnavailable):
            self._events.event("error", "an answer was not counted", traceback=failure.getTraceback())
            return
        self._metrics.store_failure(self._step, mode)
        if mode == "local":
            decision = self._local.take(limits)
            self._counted(self._local, key, bad, decision.standings)


KIND = kind("client-ban", config=Config, policy=ClientBan, guards=True)

# Of the key "of-acme".
_OF_ACME = "0412cd0552e4187cae04723b2bc01eed7edba6afa51907359bbb7019b509ca4c"
_GUESS = ("X-Key", "guess")

EXAMPLES = (
    Example(
        "Who shows three wrong keys in a minute is shut out for an hour",
        {"count": 3, "window": "1m", "ban": "1h"},
        (
            Call(headers=(_GUESS,), status=401),
            Call(headers=(_GUESS,), status=401),
            Call(headers=(_GUESS,), status=401),
            Call(headers=(("X-Key", "of-acme"),), status=403, sent=False, contains="banned",
                 fields={"retry-after": "3600"}),
            Call(headers=(("X-Key", "of-acme"),), client="198.51.100.7", status=200),
            Call(headers=(("X-Key", "of-acme"),), after=3600.0, status=200),
        ),
        consumers=({"name": "acme", "api_keys": [{"sha256": _OF_ACME}]},),
        then=({"policy": "api-key", "with": {"header": "X-Key"}},),
    ),
    Example(
        "Half of at least four requests not found: a scanner",
        {"percent": "50%", "minimum": 4, "statuses": [404], "ban": "10m", "answer": 429},
        (
            Call(status=200),
            Call(upstream=(404, (), b""), status=404),
            Call(status=200),
            Call(upstream=(404, (), b""), status=404),
            Call(status=429, sent=False, contains="banned", fields={"retry-after": "600"}),
            Call(after=601.0, status=200),
        ),
    ),
    Example(
        "Each worker for itself, by consumer, behind the check of his key",
        {"count": 2, "window": "1m", "ban": "1m", "by": "consumer", "statuses": [403, 404], "scope": "worker"},
        (
            Call(upstream=(404, (), b""), status=404),
            Call(upstream=(404, (), b""), status=404),
            Call(status=403, sent=False, contains="banned"),
            Call(after=61.0, status=200),
        ),
    ),
)
