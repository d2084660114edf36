"""Limits how many requests are let through in a time.

One limit is written short (`limit`, `per`, `by`), several as `rules`; all rules are checked before any is
taken from, so a request that is refused by one does not use up the others. `by` says who shares a
counter: `api`, `consumer`, `subject`, `ip`, `header:NAME`, or an `{expression}`. Callers without a
consumer (or subject) are counted by address; requests without the header, or with an empty expression,
share one counter. An IPv6 client may call from any address of its network: all of a network of
`ipv6_prefix` (64 bits, unless set) share one counter; every IPv4 address has its own.

In its memory a worker holds about 200,000 counters; past that, those soonest to end are forgotten.

Past the limit the answer is 429 with `Retry-After`. Answers tell how the limits stand in `RateLimit` and
`RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), or, by `headers`, in the older
`X-RateLimit-Limit`, `-Remaining` and `-Reset` (seconds from now; of the rule with the least left).

`scope: shared` counts over all workers of the environment; `worker` in each of them. When the shared
state does not answer, `on_store_failure` decides: `local` goes on counting in this worker alone, `open`
lets pass, `closed` answers 503.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from math import ceil
from typing import Literal

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Duration, Name, Settings, Whole
from apigateway.flow.exchange import Exchange, Slot
from apigateway.flow.faults import LIMITED, UNAVAILABLE, Fault
from apigateway.flow.field_text import field_name
from apigateway.flow.interfaces import IOnFault, IOnRequest, IOnResponse, ITextTemplate
from apigateway.flow.kinds import Call, Example, kind
from apigateway.flow.outcome import Outcome, Verdict
from apigateway.flow.services import Services
from apigateway.flow.step_text import checked_text, ready_text
from apigateway.ports.interfaces import Decision, IStateStore, Limit, Standing, StoreUnavailable
from apigateway.ports.memory_store import MemoryStore
from apigateway.text import format_duration
from apigateway.wire.headers import Headers
from apigateway.wire.ipset import network_of

BY = r"^(api|consumer|subject|ip|header:[!#$%&'*+.^_`|~0-9A-Za-z-]+|\{.+\})$"
# A key goes to the store with every request; what a client makes longer than this is hashed.
LONGEST_VALUE = 64

Whose = Callable[[Exchange], str]


class Rule(Settings):
    """So many requests in such a time."""

    limit: Whole = Field(ge=1, le=1_000_000_000, description="Requests at most.")
    per: Duration = Field(le=31 * 86400, description="In this time.")
    by: str = Field(
        default="consumer", pattern=BY, description="api, consumer, subject, ip, header:NAME or {expression}."
    )
    name: Name | None = Field(
        default=None, description="What RateLimit calls it; what it counts by, unless named."
    )


class Config(Settings):
    """How much is let through, and what is said of it."""

    limit: Whole | None = Field(
        default=None, ge=1, le=1_000_000_000, description="Short for one rule: requests at most."
    )
    per: Duration | None = Field(default=None, le=31 * 86400, description="Short for one rule: in this time.")
    by: str = Field(default="consumer", pattern=BY, description="Short for one rule: who shares a counter.")
    rules: tuple[Rule, ...] = Field(
        default=(), max_length=16, description="Several rules; a request has to pass all of them."
    )
    algorithm: Literal["sliding-window", "fixed-window", "token-bucket"] = Field(
        default="sliding-window",
        description="How a rule is counted; token-bucket lets `limit` at once, then refills evenly.",
    )
    ipv6_prefix: Whole = Field(
        default=64, ge=1, le=128, description="Bits of an IPv6 address that tell one caller from another."
    )
    cost: Whole = Field(default=1, ge=1, le=1_000_000, description="Units that a request takes.")
    scope: Literal["shared", "worker"] = Field(
        default="shared", description="Count over all workers, or in each."
    )
    headers: Literal["draft", "legacy", "both", "none"] = Field(
        default="draft", description="What answers tell of the limits."
    )
    on_store_failure: Literal["local", "open", "closed"] = Field(
        default="local", description="When the state cannot be asked."
    )


@implementer(IOnRequest, IOnResponse, IOnFault)
class RateLimit:
    """Limits how many requests are let through in a time."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._rules = _named(config)
        for rule in self._rules:
            _whose(rule.by, config.ipv6_prefix, checked_text)
        if any(rule.limit < config.cost for rule in self._rules):
            raise ValueError("cost is more than a limit: no request could ever pass")
        self._algorithm, self._cost = config.algorithm, config.cost
        self._draft = config.headers in ("draft", "both")
        self._legacy = config.headers in ("legacy", "both")
        self._policy = b", ".join(
            b'"%s";q=%d;w=%d' % (str(rule.name).encode(), rule.limit, ceil(rule.per)) for rule in self._rules
        )
        self._quoted = tuple(b'"%s"' % str(rule.name).encode() for rule in self._rules)
        self._decision: Slot[Decision] = Slot("rate-limit", "how the limits stand")

    def provision(self, services: Services) -> None:
        """Find the state, and name the counters by this step's place, so that they outlive a reload."""
        self._local: IStateStore = services.shared("rate-limit", lambda: MemoryStore(services.clock))
        alone = self._config.scope == "worker" and services.store.shared
        self._store: IStateStore = self._local if alone else services.store
        self._metrics = services.metrics
        self._step = services.place.rpartition("/")[2]
        self._decision = Slot(f"rate-limit {services.place}", "how the limits stand")
        prefix = f"{services.environment}/{services.place}"
        self._counted = tuple(
            (
                f"{prefix}/{rule.name}/",
                _whose(rule.by, self._config.ipv6_prefix, lambda text: ready_text(text, services)),
                rule.limit,
                rule.per,
            )
            for rule in self._rules
        )

    def close(self) -> None:
        """Counters stay: the next revision goes on with them."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Take from every rule, or refuse."""
        algorithm = self._algorithm
        limits = [
            Limit(prefix + whose(exchange), limit, period, algorithm)
            for prefix, whose, limit, period in self._counted
        ]
        try:
            answer = self._store.take(limits, self._cost)
        except StoreUnavailable as error:
            self._without_store(exchange, limits, error)
            return None
        if isinstance(answer, Decision):
            self._decided(exchange, answer)
            return None
        return self._awaited(exchange, limits, answer)

    def on_response(self, exchange: Exchange) -> Outcome:
        """Tell how the limits stand."""
        decision = exchange.take(self._decision)
        if decision is not None and exchange.response is not None:
            self._tell(exchange.response.headers, decision.standings)
        return None

    def on_fault(self, exchange: Exchange, fault: Fault) -> Outcome:
        """Tell it on the gateway's own answers, too."""
        return self.on_response(exchange)

    # ---- the decision

    async def _awaited(
        self, exchange: Exchange, limits: Sequence[Limit], answer: Awaitable[Decision]
    ) -> Verdict:
        try:
            decision = await answer
        except StoreUnavailable as error:
            self._without_store(exchange, limits, error)
        else:
            self._decided(exchange, decision)
        return None

    def _decided(self, exchange: Exchange, decision: Decision) -> None:
        granted = decision.granted
        self._metrics.limit_decision(exchange.api, exchange.route, self._step, granted)
        exchange.put(self._decision, decision)
        if not granted:
            raise self._refusal(decision.standings)

    def _without_store(self, exchange: Exchange, limits: Sequence[Limit], error: StoreUnavailable) -> None:
        if self._config.on_store_failure == "local":
            decision = self._local.take(limits, self._cost)
            assert isinstance(decision, Decision)  # a store in memory answers at once
            self._decided(exchange, decision)
        elif self._config.on_store_failure == "closed":
            raise Fault(
                UNAVAILABLE,
                public="Requests cannot be counted at the moment.",
                private=str(error),
                headers=((b"retry-after", b"1"),),
            ) from error

    def _refusal(self, standings: Sequence[Standing]) -> Fault:
        violated = [
            rule for rule, standing in zip(self._rules, standings, strict=True) if standing.retry_after > 0
        ]
        wait = max((standing.retry_after for standing in standings), default=0.0)
        # RFC 9110 10.2.3 knows whole seconds only: rounded down, a client would come back too early.
        return Fault(
            LIMITED,
            public="Too many requests; try again later.",
            headers=((b"retry-after", b"%d" % max(1, _seconds(wait))),),
            members={"violated-policies": [rule.name for rule in violated]},
        )

    # ---- what is told

    def _tell(self, headers: Headers, standings: Sequence[Standing]) -> None:
        if self._draft:
            # Added, not set: the fields are lists, and another step may have limits of its own.
            told = _standing if len(standings) == 1 else _all_standings
            headers.lines.append((b"ratelimit-policy", self._policy))
            headers.lines.append((b"ratelimit", told(self._quoted, standings)))
        if self._legacy:
            least, rule = min(zip(standings, self._rules, strict=True), key=lambda pair: pair[0].remaining)
            headers.set(b"x-ratelimit-limit", b"%d" % rule.limit)
            headers.set(b"x-ratelimit-remaining", b"%d" % least.remaining)
            headers.set(b"x-ratelimit-reset", b"%d" % _seconds(least.reset_after))


def _standing(names: Sequence[bytes], standings: Sequence[Standing]) -> bytes:
    """How a single limit stands, as most steps have one."""
    standing = standings[0]
    return b"%b;r=%d;t=%d" % (names[0], standing.remaining, _seconds(standing.reset_after))


def _all_standings(names: Sequence[bytes], standings: Sequence[Standing]) -> bytes:
    return b", ".join(_standing((name,), (standing,)) for name, standing in zip(names, standings, strict=True))


def _seconds(exact: float) -> int:
    """Whole seconds, rounded up, but not for what is only noise of the clock's last digits."""
    return ceil(round(exact, 3))


# ---- whose counter it is


def _named(config: Config) -> tuple[Rule, ...]:
    """The rules, each with a name."""
    named: list[Rule] = []
    for number, rule in enumerate(_rules(config), start=1):
        name = rule.name or ("expression" if rule.by.startswith("{") else rule.by.partition(":")[0])
        if rule.name is None and any(name == other.name for other in named):
            name = f"{name}-{number}"
        named.append(rule.model_copy(update={"name": name}))
    if len({rule.name for rule in named}) < len(named):
        raise ValueError("rules: two of them have one name")
    return tuple(named)


def _rules(config: Config) -> tuple[Rule, ...]:
    if config.rules:
        if config.limit is not None or config.per is not None:
            raise ValueError("give limit and per, or rules, not both")
        return config.rules
    if config.limit is None or config.per is None:
        raise ValueError("give limit and per, or rules")
    per = format_duration(config.per)
    return (Rule.model_validate({"limit": config.limit, "per": per, "by": config.by}),)


def _whose(by: str, ipv6_prefix: int, compile_text: Callable[[str], ITextTemplate]) -> Whose:
    if by.startswith("header:"):
        header = field_name(by.removeprefix("header:"))
        return lambda exchange: _short(exchange.request.headers.text(header))
    if by.startswith("{"):
        template = compile_text(by)
        return lambda exchange: _short(template.render(exchange))
    if by == "api":
        return lambda exchange: exchange.api
    return _caller(by, ipv6_prefix)


def _caller(by: str, ipv6_prefix: int) -> Whose:
    """By subject, consumer or address: the first of them, from `by` on, that is known."""

    def address(exchange: Exchange) -> str:
        client = exchange.client
        return network_of(client, ipv6_prefix) if ":" in client else client

    def consumer(exchange: Exchange) -> str:
        identity = exchange.identity
        named = identity is not None and identity.consumer
        return f"c:{named}" if named else f"ip:{address(exchange)}"

    def subject(exchange: Exchange) -> str:
        identity = exchange.identity
        named = identity is not None and identity.subject
        return f"s:{_short(named)}" if named else consumer(exchange)

    return {"ip": address, "consumer": consumer, "subject": subject}[by]


def _short(value: str) -> str:
    return (
        value
        if len(value) <= LONGEST_VALUE
        else hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()
    )


KIND = kind("rate-limit", config=Config, policy=RateLimit, guards=True)

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
)
