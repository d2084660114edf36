"""Lets a client send a request again without having it done twice (Idempotency-Key).

A client that is not sure whether its POST arrived sends it again with the same `Idempotency-Key`
(draft-ietf-httpapi-idempotency-key-header-07). The first request with a key goes on to the upstream, and its answer is
kept for `keep`; the same request after that is given that answer, with `Idempotent-Replayed: true`, and the upstream
is not asked. While the first one still runs the answer is 409 with `Retry-After`. The same key with another
method, host, target or body is answered 422; a request without a key, where it is `required`, 400.

A key belongs to who sent it (`by`): nobody is given the answer to another's request. Where no step before says who is
calling, that is an address, with what the request has in `Authorization`; where the upstream tells callers of one
address apart by something else, name it in `by`. A key has 1 to 255 visible
characters, as a string in quotes or plain. Only requests of `methods` are looked at; put a `when` on the step where
others are large, since the body of every request that reaches it is collected, up to `max_body` (413).

Place it behind the steps that say who is calling, and before those that change the bodies of answers. What is
kept is status, fields and body as they leave this step, without `Set-Cookie`, `Date` and how limits stand.
Not kept, so that the same key runs anew: answers of 401, 408, 425, 429, and of 5xx unless `keep_failures`; those whose
body is larger than `max_answer`; upgrades. Where no whole answer came (the client left, the upstream broke off or was
late) and the request may have arrived, nobody knows what became of it: the key answers 409 until its claim ends after
`lease`; where nothing was sent, it is free at once. A claim is renewed while its request runs; that of a worker that
died ends after `lease`.

Workers share claims and answers where `state` says. With `memory:` a worker keeps at most `memory` octets of answers;
past that the oldest go. When the shared state does not answer, `on_store_failure` decides: `closed`, which is what is
meant unless it is said, answers 503 before anything is done; `local` goes on with the memory of this worker; `open`
lets pass without any of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable
from typing import Literal

from pydantic import Field
from zope.interface import implementer

from apigateway.config.model import Duration, Method, Size, Truth
from apigateway.flow.claims import Claim, Claims
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import (
    CLIENT_CLOSED,
    CONNECT_FAILED,
    CONNECT_TIMEOUT,
    KEY_IN_USE,
    KEY_MISSING,
    KEY_REUSED,
    NAME_FAILED,
    OVERLOADED,
    TLS_FAILED,
    UNAVAILABLE,
    Fault,
)
from apigateway.flow.field_text import field_name
from apigateway.flow.interfaces import IOnFault, IOnLog, IOnRequest, IOnResponse, IOnResponseBody
from apigateway.flow.kept_answers import KeptAnswer, OctetBudget, read_octets
from apigateway.flow.kinds import WATCH, BodyNeed, Call, Example, buffer, kind
from apigateway.flow.outcome import Outcome, Reply, Verdict
from apigateway.flow.services import Services
from apigateway.flow.store_calls import now_or_later
from apigateway.flow.whose import By, CallerSettings, check_by, whose
from apigateway.flow.without_store import StoreFailureSettings, TellsStoreFailure, WithoutStore
from apigateway.ports.interfaces import StoreUnavailable
from apigateway.ports.memory_store import MemoryStore
from apigateway.wire.headers import Headers
from apigateway.wire.message import Response

RETRY_AFTER = ((b"retry-after", b"1"),)
REPLAYED = (b"idempotent-replayed", b"true")
# 101: what follows is no body.
BODILESS = frozenset((101, 204, 304))
# "Come again" is nothing to be told again for a day.
NEVER_KEPT = frozenset((101, 401, 408, 425, 429))
# Of the moment, or of that one answer.
NOT_KEPT_FIELDS = frozenset((
    b"set-cookie", b"date", b"age", b"ratelimit", b"ratelimit-policy", b"x-ratelimit-limit",
    b"x-ratelimit-remaining", b"x-ratelimit-reset", b"x-store-failure",
))
# Faults of an attempt that did not get as far as the request.
NOTHING_SENT = frozenset((CONNECT_FAILED, CONNECT_TIMEOUT, NAME_FAILED, TLS_FAILED, UNAVAILABLE, OVERLOADED))
# An Item of RFC 9651 that is a String (3.3.3), or, as most clients send it, the same without quotes.
_QUOTED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_PLAIN = re.compile(rb"[!#-~]+")
LONGEST_KEY = 255


class Config(CallerSettings, StoreFailureSettings):
    """Whose keys, for what, and how long answers are kept."""

    header: str = Field(default="Idempotency-Key", min_length=1, description="Field that brings the key.")
    required: Truth = Field(default=False, description="Refuse requests of these methods without a key (400).")
    methods: tuple[Method, ...] = Field(
        default=("POST", "PATCH"), min_length=1, description="Requests that are looked at."
    )
    by: By = Field(
        default="subject",
        description="Whose a key is: api, consumer, subject, ip, header:NAME or {expression}, or a list of these.",
    )
    keep: Duration = Field(default=86400.0, ge=1.0, le=31 * 86400.0, description="How long an answer is kept.")
    keep_failures: Truth = Field(default=False, description="Keep answers of 5xx, too.")
    max_body: Size = Field(default=1 << 20, le=16 << 20, description="Largest request body (413).")
    max_answer: Size = Field(
        default=64 << 10, le=1 << 20, description="Largest body of an answer that is kept."
    )
    lease: Duration = Field(
        default=30.0, ge=1.0, le=3600.0, description="After this the claim of a worker that died ends."
    )
    memory: Size = Field(
        default=64 << 20, ge=1 << 20, description="Octets of answers that a worker keeps, where it keeps them."
    )
    on_store_failure: Literal["local", "open", "closed"] = Field(
        default="closed",
        description="When the shared state cannot be asked: answer 503, go on in this worker alone, or let pass.",
    )


@implementer(IOnRequest, IOnResponse, IOnResponseBody, IOnFault, IOnLog)
class Idempotency(TellsStoreFailure):
    """Lets a client send a request again without having it done twice (Idempotency-Key)."""

    def __init__(self, config: Config) -> None:
        check_by(config.by)
        self._config = config
        self._field = field_name(config.header)
        self._methods = frozenset(method.encode() for method in config.methods)
        # See flow.step_checks.
        self.shares_state = True
        # Not in a slot of the exchange: a step in the shadow leaves none there, and has to give its claim back, too.
        self._running: dict[Exchange, Claim] = {}
        self._count = 0

    def provision(self, services: Services) -> None:
        """Find the state, and name the keys by this step's place, so that they outlive a reload."""
        config, clock, store = self._config, services.clock, services.store
        self._store = store
        self._own: MemoryStore = (
            store if isinstance(store, MemoryStore) else services.shared("idempotency", lambda: MemoryStore(clock))
        )
        budget: OctetBudget = services.shared(
            f"idempotency {services.place}", lambda: OctetBudget(clock, self._own, config.memory)
        )
        budget.most = config.memory
        step, metrics = services.place.rpartition("/")[2], services.metrics
        self._events, self._place = services.events, services.place
        self._claims = Claims(
            services, config.lease, self._own, budget,
            lambda: metrics.store_failure(step, config.on_store_failure),
        )
        self._without = WithoutStore(config, services)
        self._prefix = f"{services.environment}/{services.place}/idempotency/"
        self._whose = whose(config.by, config.ipv6_prefix, services)
        # No id of the exchange: clients may name those.
        self._token = services.random.token(9).hex()

    def close(self) -> None:
        """All claims have been settled: the last exchange has ended."""

    def on_request(self, exchange: Exchange) -> Outcome:
        """Claim the key and go on; or answer as before, or refuse."""
        request = exchange.request
        if request.method not in self._methods:
            return None
        key = self._key_of(request.headers)
        if key is None:
            return None
        place = f"{self._prefix}{self._whose(exchange)}/{hashlib.sha256(key).hexdigest()}"
        claim = Claim(self._store, place, _fingerprint(exchange), self._next_token())
        # What was done without the shared state is known here only.
        if self._own is not self._store and len(self._own):
            kept = self._own.get(claim.key)
            if kept is not None:
                return self._known(claim, kept)
        return self._claimed(exchange, claim)

    def on_response(self, exchange: Exchange) -> Outcome:
        """Take down the answer as it is at this place."""
        claim, response = self._running.get(exchange), exchange.response
        if claim is not None and response is not None:
            claim.drop()
            claim.response, claim.held = response, 0
            if self._is_kept(response):
                lines = tuple(line for line in response.headers.lines if line[0] not in NOT_KEPT_FIELDS)
                claim.kept = KeptAnswer(claim.fingerprint, response.status, lines, b"")
            if response.body is not None and not response.bodiless:
                claim.take_down(response.body.data, self._config.max_answer)
            claim.whole = response.body is not None or response.bodiless or response.status in BODILESS
        self._tell_failure(exchange)
        return None

    def on_response_chunk(self, exchange: Exchange, chunk: bytes, last: bool) -> bytes:
        """Take down a piece of the answer, and pass it on as it is."""
        claim = self._running.get(exchange)
        if claim is not None and not claim.whole:
            response = exchange.response
            if claim.kept is not None and (response is not claim.response or (response and response.body is not None)):
                self._changed_behind(claim)
            claim.take_down(chunk, self._config.max_answer)
            claim.whole = last
        return chunk

    def on_log(self, exchange: Exchange) -> None:
        """Keep the answer, or give the key back, or leave the claim to its end; however an exchange ends, this is
        called."""
        claim = self._running.pop(exchange, None)
        if claim is None:
            return
        self._claims.leave(claim)
        fault = exchange.fault
        # A client that left missed an answer that is known all the same.
        if claim.whole and (fault is None or fault.kind is CLIENT_CLOSED):
            if claim.kept is not None:
                self._claims.keep(claim, self._config.keep)
            else:
                self._claims.free(claim)
        elif _nothing_sent(exchange):
            self._claims.free(claim)

    # ---- the key

    def _key_of(self, headers: Headers) -> bytes | None:
        """The key; None where there is none, and none is required."""
        lines = headers.get_all(self._field)
        if not lines:
            if self._config.required:
                raise Fault(KEY_MISSING, public=f"This request takes a key in {self._config.header}.")
            return None
        text = lines[0].strip(b" \t")
        quoted = _QUOTED.fullmatch(text)
        key = re.sub(rb"\\(.)", rb"\1", quoted[1]) if quoted else text
        if len(lines) > 1 or not (quoted or _PLAIN.fullmatch(text)) or not 0 < len(key) <= LONGEST_KEY:
            public = f"The key in {self._config.header} is one string of 1 to {LONGEST_KEY} visible characters."
            raise Fault(KEY_MISSING, public=public)
        return key

    def _claimed(self, exchange: Exchange, claim: Claim) -> Outcome:
        if claim.store is self._own:  # it answers at once
            if not self._own.add(claim.key, claim.octets, self._config.lease):
                return self._known(claim, self._own.get(claim.key) or b"")
            self._hold(exchange, claim)
            return None
        try:
            added = claim.store.add(claim.key, claim.octets, self._config.lease)
        except StoreUnavailable as error:  # it was not even asked
            return self._without_store(exchange, claim, error)
        # From now on it may be there, whether or not an answer is ever heard.
        self._running[exchange] = claim
        return self._asked(exchange, claim, added)

    async def _asked(self, exchange: Exchange, claim: Claim, added: bool | Awaitable[bool]) -> Verdict:
        """What a store that is elsewhere says."""
        try:
            claimed = await now_or_later(added)
            kept = None if claimed else await now_or_later(claim.store.get(claim.key))
            if not claimed and kept is None:
                # What was there ended between the two.
                claimed = await now_or_later(claim.store.add(claim.key, claim.octets, self._config.lease))
        except StoreUnavailable as error:
            del self._running[exchange]
            self._claims.free(claim)
            return self._without_store(exchange, claim, error)
        if claimed:
            self._hold(exchange, claim)
            return None
        del self._running[exchange]
        return self._known(claim, kept or b"")

    def _without_store(self, exchange: Exchange, claim: Claim, error: StoreUnavailable) -> Verdict:
        if not self._without.goes_on(exchange, error):
            return None
        alone = Claim(self._own, claim.key, claim.fingerprint, self._next_token())
        answer = self._claimed(exchange, alone)
        assert answer is None or isinstance(answer, Reply)  # the memory of this worker answers at once
        return answer

    def _hold(self, exchange: Exchange, claim: Claim) -> None:
        self._running[exchange] = claim
        self._claims.hold(claim)

    def _next_token(self) -> str:
        self._count += 1
        return f"{self._token}-{self._count}"

    def _known(self, claim: Claim, kept: bytes) -> Reply:
        """There is something under the key: the answer, or another's claim."""
        found = read_octets(kept) if kept else ""
        fingerprint = found.fingerprint if isinstance(found, KeptAnswer) else found
        if fingerprint and fingerprint != claim.fingerprint:
            raise Fault(KEY_REUSED, public="The key was used for another request; a new request takes a new key.")
        if isinstance(found, KeptAnswer):
            return Reply(found.status, (*found.lines, REPLAYED), found.body)
        raise Fault(
            KEY_IN_USE, public="A request with this key is on its way; try again later.", headers=RETRY_AFTER
        )

    def _is_kept(self, response: Response) -> bool:
        status = response.status
        return not response.upgrade and status not in NEVER_KEPT and (status < 500 or self._config.keep_failures)

    def _changed_behind(self, claim: Claim) -> None:
        """A step that stands before this one, and so sees the answer after it, has taken the body in hand: what goes by
        here is not the body of the head that was taken down, and a replay would go through that step once more."""
        claim.drop()
        self._events.event(
            "error", "an answer was not kept: a step before idempotency changes it; place it behind", step=self._place
        )


def _fingerprint(exchange: Exchange) -> str:
    """What makes two requests the same: method, host, target and body."""
    request = exchange.request
    digest = hashlib.sha256(b"%b %b %b\n" % (request.method, request.authority.lower(), request.target))
    if exchange.identity is None:
        # Of callers that only the upstream tells apart, who share an address, none is given another's answer.
        digest.update(b"%b\n" % (request.headers.get(b"authorization") or b""))
    if request.body is not None:
        digest.update(request.body.data)
    return digest.hexdigest()


def _nothing_sent(exchange: Exchange) -> bool:
    """Whether it is sure that no upstream has seen the request."""
    if not exchange.attempts:
        return True
    if exchange.lost:
        return False
    return exchange.attempts == 1 and exchange.fault is not None and exchange.fault.kind in NOTHING_SENT


def _request_need(config: Config) -> BodyNeed:
    return buffer(config.max_body)


KIND = kind(
    "idempotency", config=Config, policy=Idempotency, guards=True, request_body=_request_need, response_body=WATCH
)

_KEY = ("Idempotency-Key", '"8e03978e-40d5-43dd-bc93-6894a57f9324"')
_OWN = ("X-Request-Key", "k-1")
_MADE = (201, (("Content-Type", "application/json"), ("Location", "/orders/7"), ("Set-Cookie", "s=1")), b'{"order": 7}')
_OTHER = (201, (("Location", "/orders/8"),), b'{"order": 8}')

EXAMPLES = (
    Example(
        "An order that is sent twice is made once",
        {"required": True},
        (
            Call(method="POST", target="/orders", status=400, sent=False, contains="idempotency-key-missing"),
            Call(
                method="POST", target="/orders", headers=(_KEY,), body=b"{}", upstream=_MADE, status=201, sent=True,
                fields={"idempotent-replayed": None, "set-cookie": "s=1"},
            ),
            Call(
                method="POST", target="/orders", headers=(_KEY,), body=b"{}", upstream=_OTHER, status=201, sent=False,
                contains='"order": 7',
                fields={"idempotent-replayed": "true", "location": "/orders/7", "set-cookie": None},
            ),
            Call(
                method="POST", target="/orders", headers=(_KEY,), body=b'{"n": 2}', status=422, sent=False,
                contains="idempotency-key-reused",
            ),
            Call(method="GET", target="/orders", status=200, sent=True),
            Call(
                method="POST", target="/orders", headers=(_KEY,), body=b"{}", client="198.51.100.7", upstream=_OTHER,
                status=201, sent=True,
            ),
        ),
    ),
    Example(
        "What failed may be tried again with the same key; a day is over after a day",
        {"keep": "1d"},
        (
            Call(method="POST", headers=(_KEY,), upstream=(503, (), b""), status=503, sent=True),
            Call(method="POST", headers=(_KEY,), upstream=_MADE, status=201, sent=True),
            Call(method="POST", headers=(_KEY,), upstream=_OTHER, status=201, sent=False),
            Call(method="POST", headers=(_KEY,), after=86401.0, upstream=_OTHER, status=201, sent=True),
        ),
    ),
    Example(
        "Of a field with another name, by tenant, also what failed is kept",
        {"header": "X-Request-Key", "by": "header:X-Tenant", "methods": ["PUT"], "keep_failures": True},
        (
            Call(method="PUT", headers=(_OWN, ("X-Tenant", "a")), upstream=(500, (), b""), status=500, sent=True),
            Call(method="PUT", headers=(_OWN, ("X-Tenant", "a")), upstream=_MADE, status=500, sent=False),
            Call(method="PUT", headers=(_OWN, ("X-Tenant", "b")), upstream=_MADE, status=201, sent=True),
            Call(method="POST", headers=(_OWN, ("X-Tenant", "a")), upstream=_OTHER, status=201, sent=True),
        ),
    ),
)
