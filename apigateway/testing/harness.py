"""A gateway in memory: the real drafting, plans and machine between a client and an upstream that are played.

    gateway = Gateway([{"policy": "api-key", "with": {"header": "X-Key"}}], consumers=[...])
    answer = gateway.call("GET", "/orders", headers={"X-Key": "k1"})
    assert answer.status == 200 and answer.sent.headers.get(b"x-key") is None

Nothing waits for real: where a hook returns an awaitable, the clock is moved on to whatever is due next. So it needs no
reactor, and runs under pytest and under Twisted's trial alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apigateway.flow.driver import AttemptFailure
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.faults import Fault, FaultKind
from apigateway.flow.machine import Machine
from apigateway.flow.registry import Registry, discover
from apigateway.testing.builders import CLIENT, Fields, request, response
from apigateway.testing.live import Provisioned, Twins, configuration, draft_of, move_on
from apigateway.testing.recording import RecordedAttempt, RecordedClient, RecordedDriver, Recorder
from apigateway.wire.headers import Headers
from apigateway.wire.message import Interim

# What the upstream answers: status, fields and body; or the fault that the attempt at it ends in.
Canned = tuple[int, Fields, bytes] | FaultKind

OK: Canned = (200, (), b"upstream")


@dataclass(frozen=True)
class Sent:
    """The request that the upstream got (of several attempts the last). headers: with Host and the gateway's own.
    complete: it came to its end; False where the exchange was given up before."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes
    complete: bool


@dataclass(frozen=True)
class Answer:
    """What became of a call. status: of the answer, 0 where the client was cut off before there was one. sent: None
    where the upstream was not called. cut: the answer began and could not be finished. seconds: that passed."""

    status: int
    headers: Headers
    body: bytes
    sent: Sent | None
    interims: tuple[Interim, ...]
    cut: bool
    seconds: float
    exchange: Exchange

    @property
    def fault(self) -> Fault | None:
        """The fault that ended the exchange, or None."""
        return self.exchange.fault


class Gateway:
    """One revision, served to calls one after the other.

    given: steps of the request pre-flow, or parts of a configuration (apigateway.testing.live.configuration).
    consumers: as in a configuration. upstream: what the upstream answers, unless a call says otherwise. registry: the
    kinds there are; all that are found, and those of policy_paths, unless named. ConfigurationRefused with every
    problem of what was given.
    clock, store, events, metrics: the twins that policies are provisioned with. transcript: what the last call made
    the machine do (apigateway.testing.recording).
    """

    def __init__(
        self, given: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (), *,
        consumers: Iterable[Mapping[str, Any]] = (), upstream: Canned = OK, registry: Registry | None = None,
        policy_paths: Sequence[str] = (), seed: int = 0,
    ) -> None:
        parts = dict(given) if isinstance(given, Mapping) else {"pre_flow": {"request": list(given)}}
        told = list(consumers)
        settings = configuration({**parts, "consumers": told} if told else parts)
        self.twins = Twins(seed)
        self.clock, self.timers, self.store = self.twins.clock, self.twins.timers, self.twins.store
        self.events, self.metrics = self.twins.events, self.twins.metrics
        self.draft = draft_of(settings, registry or discover(policy_paths), self.twins)
        self.revision = Provisioned(settings, self.draft, self.twins)
        self.transcript: list[str] = []
        self._upstream = upstream
        self._calls = 0

    def close(self) -> None:
        """Retire the revision: every policy is closed, once."""
        self.revision.close()

    def call(
        self, method: str = "GET", target: str | bytes = "/", *, headers: Fields = (), body: bytes = b"",
        chunks: Sequence[bytes] | None = None, client: str = CLIENT, host: str = "gw.test", scheme: str = "http",
        version: str = "1.1", trusted: bool = False, after: float = 0.0, upstream: Canned | None = None,
    ) -> Answer:
        """One request to its end. chunks: the body in pieces and without an announced length. trusted: it comes by one
        of the trusted proxies. after: seconds that pass before. ValueError for what is no request."""
        if after:
            self.clock.advance(after)
        pieces = list(chunks) if chunks is not None else [body] if body else []
        head = request(
            method, target, headers, body, host=host, scheme=scheme, version=version, chunked=chunks is not None
        )
        connection = Connection(
            listener="test", peer=client, port=40000, trusted=trusted, local_port=8080, scheme=scheme
        )
        self._calls += 1
        exchange = Exchange(f"call-{self._calls}", head, connection, client, self.clock.monotonic())
        played = _Played(self.twins, self.revision, exchange, pieces, self._upstream if upstream is None else upstream)
        self.transcript = played.recorder.lines
        return played.to_the_end()


class _Played:
    """One call being played: whatever may happen next happens, and when nothing may, time passes."""

    def __init__(
        self, twins: Twins, revision: Provisioned, exchange: Exchange, pieces: list[bytes], canned: Canned
    ) -> None:
        self.recorder = Recorder()
        self._clock = twins.clock
        self._exchange, self._canned = exchange, canned
        self._client = RecordedClient(self.recorder)
        self._driver = RecordedDriver(
            self.recorder, twins.clock.monotonic, twins.random, twins.timers, twins.events
        )
        self._machine = Machine(self._driver, self._client, exchange, revision.live)
        self._upload = deque(pieces) if exchange.request.length != 0 else None
        self._answers: dict[RecordedAttempt, deque[Callable[[], None]]] = {}

    def to_the_end(self) -> Answer:
        """Play."""
        began = self._clock.monotonic()
        self._machine.begin()
        while not self._client.over:
            if not (self._send_more() or self._answer_more()):
                move_on(self._clock)
        client, head = self._client, self._client.head
        return Answer(
            0 if head is None else head.status, client.headers, client.body, self._sent(), tuple(client.interims),
            client.aborted, self._clock.monotonic() - began, self._exchange,
        )

    def _send_more(self) -> bool:
        """The client sends a piece of its body, unless it is not read or waits for a 100."""
        waits = self._exchange.request.expect_continue and not self._client.interims
        if self._upload is None or self._client.paused or waits:
            return False
        if self._upload:
            self._machine.request_data(self._upload.popleft())
        else:
            self._upload = None
            self._machine.request_end(None)
        return True

    def _answer_more(self) -> bool:
        """The upstream, once it has the whole request, sends the next part of its answer, unless that is not read."""
        attempt = self._driver.attempts[-1] if self._driver.attempts else None
        if attempt is None or attempt.over or attempt.paused or not attempt.complete:
            return False
        if attempt not in self._answers:
            self._answers[attempt] = deque(self._parts(attempt))
        self._answers[attempt].popleft()()
        return True

    def _parts(self, attempt: RecordedAttempt) -> Iterable[Callable[[], None]]:
        machine, canned = self._machine, self._canned

        def over(told: Callable[[], None]) -> Callable[[], None]:
            def call() -> None:
                attempt.over = True
                told()

            return call

        if isinstance(canned, FaultKind):
            failure = AttemptFailure(canned, "", True, "the upstream of the test fails")
            yield over(lambda: machine.upstream_failed(failure))
            return
        status, fields, body = canned
        head = response(status, fields, body, to=self._exchange.request.method.decode("latin-1"))
        yield lambda: machine.response_head(head)
        if body and not head.bodiless:
            yield lambda: machine.response_data(body)
        yield over(lambda: machine.response_end(None))

    def _sent(self) -> Sent | None:
        reached = [attempt for attempt in self._driver.attempts if attempt.request is not None]
        if not reached:
            return None
        last = reached[-1]
        assert last.request is not None
        return Sent(last.request.method, last.target, last.headers, last.body, last.complete)
