"""Limits how many requests are let through in a time.

One limit is written short (`limit`, `per`, `by`), several as `rules`; all rules are checked before any is
taken from, so a request that is refused by one does not use up the others. `by` says who shares a
counter: `api`, `consumer`, `subject`, `ip`, `header:NAME`, an `{expression}`, or a list of these: then each
combination has a counter. Callers without a consumer (or subject) are counted by address; requests without
the header, or with an empty expression, share one counter. An IPv6 client may call from any address of its
network: all of a network of `ipv6_prefix` (64 bits, unless set) share one counter; every IPv4 address has
its own.

`tiers` give some callers other limits: the first whose `match` (consumer, role, claim) holds; who matches
none has the limits outside of them. A tier's counters are its own. A request takes `cost` units: a number,
or an expression that gives one; 0 takes nothing.

In its memory a worker holds about 200,000 counters; past that, those soonest to end are forgotten.

Past the limit the answer is 429 with `Retry-After`. Answers tell how the limits stand in `RateLimit` and
`RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-11), or, by `headers`, in the older
`X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds from now; of the rule with the least left). None of
them says who was counted.

`scope: shared` counts over all workers of the environment; `worker` in each of them. When the shared
state does not answer, `on_store_failure` decides: `local` goes on counting in this worker alone, `open`
lets pass, `closed` answers 503. When it answers again, what `local` let through still counts in this worker
until its time is over, so that there is no burst.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Literal

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Duration, Name, Settings, Whole
from apigateway.flow.cost import Cost, check_cost, cost_of
from apigateway.flow.exchange import Exchange, Slot
from apigateway.flow.faults import LIMITED, Fault
from apigateway.flow.interfaces import IOnFault, IOnRequest, IOnResponse
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.limit_fields import LimitFields, whole_seconds
from apigateway.flow.local_counts import local_counts
from apigateway.flow.outcome import Outcome
from apigateway.flow.rule_names import either_or, named_tiers, unique_names
from apigateway.flow.services import Services
from apigateway.flow.store_calls import when_answered
from apigateway.flow.tiers import TierMatch, consumers_named, tier_finder
from apigateway.flow.whose import By, CallerSettings, Whose, by_name, check_by, whose
from apigateway.flow.without_store import StoreFailureSettings, WithoutStore
from apigateway.ports.interfaces import Decision, IStateStore, Limit, Standing, StoreUnavailable
from apigateway.text import format_duration

LONGEST = 31 * 86400
MOST = 1_000_000_000

# Of a rule: what the names of its counters begin with, whose they are, its limit and period.
Ready = tuple[str, Whose, int, float]


class Rule(Settings):
    """So many units in such a time."""

    limit: Whole = Field(ge=1, le=MOST, description="Units at most; a request takes `cost` of them.")
    per: Duration = Field(le=LONGEST, description="In this time.")
    by: By = Field(
        default="consumer",
        description="api, consumer, subject, ip, header:NAME or {expression}; of a list each combination.",
    )
    name: Name | None = Field(
        default=None, description="What RateLimit calls it; what it counts by, unless named."
    )


class Limits(Settings):
    """One limit, written short, or several."""

    limit: Whole | None = Field(default=None, ge=1, le=MOST, description="Short for one rule: units at most.")
    per: Duration | None = Field(default=None, le=LONGEST, description="Short for one rule: in this time.")
    by: By = Field(default="consumer", description="Short for one rule: who shares a counter.")
    rules: tuple[Rule, ...] = Field(
        default=(), max_length=16, description="Several rules; a request has to pass all of them."
    )


class Tier(Limits):
    """Other limits for some callers."""

    match: TierMatch = Field(description="Who they are.")
    name: Name | None = Field(
        default=None, description="Of its counters; its number in the list, unless named."
    )


class Config(Limits, CallerSettings, StoreFailureSettings):
    """How much is let through, and what is said of it."""

    tiers: tuple[Tier, ...] = Field(
        default=(), max_length=32, description="Other limits for some callers; the first that matches."
    )
    algorithm: Literal["sliding-window", "fixed-window", "token-bucket"] = Field(
        default="sliding-window",
        description="How a rule is counted; token-bucket lets `limit` at once, then refills evenly.",
    )
    cost: Cost = Field(default=1, description="Units that a request takes, or an expression that gives them.")
    scope: Literal["shared", "worker"] = Field(
        default="shared", description="Count over all workers, or in each."
    )
    headers: Literal["draft", "legacy", "both", "none"] = Field(
        default="draft", description="What answers tell of the limits."
    )


class Counted:
    """The rules of one tier, or of everybody else, ready to be counted."""

    __slots__ = ("fields", "names", "rules")

    def __init__(self, rules: Sequence[Rule], tier: str, config: Config, services: Services) -> None:
        """tier: what its counters are told apart by."""
        prefix = f"{services.environment}/{services.place}"
        self.names = [str(rule.name) for rule in rules]
        self.rules: tuple[Ready, ...] = tuple(
            (f"{prefix}/{rule.name}{tier}/", whose(rule.by, config.ipv6_prefix, services), rule.limit, rule.per)
            for rule in rules
        )
        self.fields = LimitFields(
            [(str(rule.name), rule.limit, ceil(rule.per)) for rule in rules],
            draft=config.headers in ("draft", "both"), legacy=config.headers in ("legacy", "both"),
        )


@implementer(IOnRequest, IOnResponse, IOnFault)
class RateLimit:
    """Limits how many requests are let through in a time."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._rules = _named(config)
        self._tiers = named_tiers(config.tiers, _named)
        check_cost(config.cost)
        for rule in (*self._rules, *(rule for _, _, rules in self._tiers for rule in rules)):
            check_by(rule.by)
            if isinstance(config.cost, int) and rule.limit < config.cost:
                raise ValueError("cost is more than a limit: no request could ever pass")
        self.shares_state = config.scope == "shared"
        self.consumers_named = consumers_named(tier.match for tier in config.tiers)
        self._algorithm = config.algorithm
        self._cost = config.cost if isinstance(config.cost, int) else 0
        self._slot: Slot[tuple[LimitFields, Decision]] = Slot("rate-limit", "how the limits stand")

    def provision(self, services: Services) -> None:
        """Find the state, and name the counters by this step's place, so that they outlive a reload."""
        config = self._config
        self._local = local_counts("rate-limit", services)
        alone = config.scope == "worker" and services.store.shared
        self._store: IStateStore = self._local.store if alone else services.store
        self._without = WithoutStore(config, services)
        self._metrics = services.metrics
        self._step = services.place.rpartition("/")[2]
        self._slot = Slot(f"rate-limit {services.place}", "how the limits stand")
        self._counted = Counted(self._rules, "", config, services)
        self._cost_of = cost_of(config.cost, services)
        self._tier_of: Callable[[Exchange], Counted] | None = None
        if self._tiers:
            tiers = [(tier.match, Counted(rules, f"@{name}", config, services)) for name, tier, rules in self._tiers]
            self._tier_of = tier_finder(tiers, self._counted)
        self._varies = self._tier_of is not None or self._cost_of is not None

    def close(self) -> None:
        """Counters stay: the next revision goes on with them."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Take from every rule, or refuse."""
        counted, cost = self._counted, self._cost
        if self._varies:
            counted, cost = self._for(exchange)
        limits = self._limits(counted.rules, exchange)
        if self._local.until:
            refusal = self._local.refusal(limits, cost)
            if refusal is not None:
                self._without.note(exchange)
                self._decided(exchange, counted, refusal)
        try:
            answer = self._store.take(limits, cost)
        except StoreUnavailable as error:
            self._without_store(exchange, counted, limits, cost, error)
            return None
        if not isinstance(answer, Decision):
            return when_answered(
                answer,
                lambda decision: self._answered(exchange, counted, limits, cost, decision),
                lambda error: self._without_store(exchange, counted, limits, cost, error),
            )
        self._decided(exchange, counted, answer)
        return None

    def on_response(self, exchange: Exchange) -> Outcome:
        """Tell how the limits stand."""
        found = exchange.take(self._slot)
        if found is not None and exchange.response is not None:
            found[0].tell(exchange.response.headers, found[1].standings)
        if self._without.tells:
            self._without.tell(exchange)
        return None

    def on_fault(self, exchange: Exchange, fault: Fault) -> Outcome:
        """Tell it on the gateway's own answers, too."""
        return self.on_response(exchange)

    # ---- the decision

    def _limits(self, rules: Sequence[Ready], exchange: Exchange) -> list[Limit]:
        algorithm = self._algorithm
        if len(rules) == 1:  # as most steps have; the list of several costs 0.3 us to begin
            prefix, whose, limit, period = rules[0]
            return [Limit(prefix + whose(exchange), limit, period, algorithm)]
        return [Limit(prefix + whose(exchange), limit, period, algorithm) for prefix, whose, limit, period in rules]

    def _for(self, exchange: Exchange) -> tuple[Counted, int]:
        """The rules that this caller is under, and what the request costs."""
        counted = self._counted if self._tier_of is None else self._tier_of(exchange)
        return counted, self._cost if self._cost_of is None else self._cost_of(exchange)

    def _answered(
        self, exchange: Exchange, counted: Counted, limits: Sequence[Limit], cost: int, decision: Decision
    ) -> None:
        if self._local.until and decision.granted:
            decision = self._local.also(limits, cost, decision)
        self._decided(exchange, counted, decision)

    def _decided(self, exchange: Exchange, counted: Counted, decision: Decision) -> None:
        granted = decision.granted
        self._metrics.limit_decision(exchange.api, exchange.route, self._step, granted)
        exchange.put(self._slot, (counted.fields, decision))
        if not granted:
            raise _refusal(counted.names, decision.standings)

    def _without_store(
        self, exchange: Exchange, counted: Counted, limits: Sequence[Limit], cost: int, error: StoreUnavailable
    ) -> None:
        if self._without.goes_on(exchange, error):
            self._decided(exchange, counted, self._local.take(limits, cost))


def _refusal(names: Sequence[str], standings: Sequence[Standing]) -> Fault:
    refused = [name for name, standing in zip(names, standings, strict=True) if standing.retry_after > 0]
    wait = max((standing.retry_after for standing in standings), default=0.0)
    # RFC 9110 10.2.3 knows whole seconds only: rounded down, a client would come back too early.
    return Fault(
        LIMITED,
        public="Too many requests; try again later.",
        headers=((b"retry-after", b"%d" % max(1, whole_seconds(wait))),),
        members={"violated-policies": refused},
    )


# ---- rules, each with a name


def _named(limits: Limits) -> tuple[Rule, ...]:
    rules = limits.rules
    if not either_or((limits.limit, limits.per), rules):
        per = format_duration(limits.per or 0.0)
        rules = (Rule.model_validate({"limit": limits.limit, "per": per, "by": limits.by}),)
    names = unique_names([(rule.name, by_name(rule.by)) for rule in rules], "rules")
    return tuple(rule.model_copy(update={"name": name}) for rule, name in zip(rules, names, strict=True))


KIND = kind("rate-limit", config=Config, policy=RateLimit, guards=True)

# Of the key "of-acme".
_OF_ACME = "0412cd0552e4187cae04723b2bc01eed7edba6afa51907359bbb7019b509ca4c"

EXAMPLES = (
    Example(
        "Two requests a minute for each address",
        {"limit": 2, "per": "1m", "by": "ip"},
        (
            Call(status=200, fields={"ratelimit-policy": '"ip";q=2;w=60'}),
            Call(status=200),
            Call(status=429, sent=False, contains="rate-limited"),
            Call(client="198.51.100.7", status=200),
            Call(client="2001:db8::1", status=200),
            Call(client="2001:db8::2", status=200),
            Call(client="2001:db8::3", status=429, sent=False),
            Call(client="2001:db8:0:1::1", status=200),
            Call(after=121.0, status=200),
        ),
    ),
    Example(
        "Two rules; neither is taken from when the other refuses",
        {
            "rules": [
                {"limit": 1, "per": "1s", "by": "header:X-Tenant", "name": "burst"},
                {"limit": 2, "per": "1h", "by": "api", "name": "hour"},
            ],
            "algorithm": "fixed-window",
            "headers": "both",
        },
        (
            Call(headers=(("X-Tenant", "a"),), status=200, fields={"x-ratelimit-remaining": "0"}),
            Call(headers=(("X-Tenant", "a"),), status=429, contains="burst", sent=False),
            Call(headers=(("X-Tenant", "b"),), status=200),
            Call(headers=(("X-Tenant", "c"),), status=429, contains="hour", sent=False),
        ),
    ),
    Example(
        "A bucket that refills, counted by an expression",
        {
            "limit": 2,
            "per": "10s",
            "by": '{request.query["user"]}',
            "algorithm": "token-bucket",
            "headers": "none",
        },
        (
            Call(target="/?user=ada", status=200, fields={"ratelimit": None}),
            Call(target="/?user=ada", status=200),
            Call(target="/?user=ada", status=429, sent=False, fields={"retry-after": "5"}),
            Call(target="/?user=bob", status=200),
            Call(target="/?user=ada", after=5.5, status=200),
        ),
    ),
    Example(
        "More for partners, and uploads that count tenfold",
        {
            "limit": 10,
            "per": "1h",
            "cost": 'request.method == "POST" ? 10 : 1',
            "tiers": [{"name": "partner", "match": {"role": "partner"}, "limit": 1000, "per": "1h"}],
        },
        (
            Call(method="POST", status=200, fields={"ratelimit-policy": '"consumer";q=10;w=3600'}),
            Call(status=429, sent=False),
            Call(
                headers=(("X-Key", "of-acme"),),
                method="POST",
                status=200,
                fields={"ratelimit-policy": '"consumer";q=1000;w=3600'},
            ),
        ),
        consumers=({"name": "acme", "roles": ["partner"], "api_keys": [{"sha256": _OF_ACME}]},),
        before=({"policy": "api-key", "with": {"header": "X-Key", "anonymous": True}},),
    ),
)
