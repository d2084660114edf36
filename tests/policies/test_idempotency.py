"""idempotency: done once, answered as often as it is asked; and no key is stuck for ever."""

from __future__ import annotations

import pytest
from remote_store import RemoteStore
from twisted.internet.defer import ensureDeferred

from apigateway.body import Body
from apigateway.flow.exchange import IDENTITY, Identity
from apigateway.flow.faults import (
    CLIENT_CLOSED,
    CONNECT_FAILED,
    FORBIDDEN,
    KEY_IN_USE,
    KEY_MISSING,
    KEY_REUSED,
    RESPONSE_TIMEOUT,
    STEP_TIMEOUT,
    UNAVAILABLE,
    UPSTREAM_RESET,
    Fault,
)
from apigateway.flow.kept_answers import KeptAnswer, answer_octets, claim_octets, read_octets
from apigateway.flow.outcome import Reply
from apigateway.flow.steps import StepInfo, enforced
from apigateway.ports.memory import MemoryStore
from apigateway.testing import Gateway
from apigateway.wire.headers import Headers
from apigateway.wire.message import Response

KEY = [("Idempotency-Key", '"k-1"')]


class Sending:
    """Requests with a key through a policy, as far as a test wants them to get."""

    def __init__(self, policy, exchange) -> None:
        self.policy, self._exchange = policy, exchange

    def begin(self, body=b"{}", headers=KEY, method="POST", consumer="", subject="", **how):
        """The exchange where it goes on; a Reply, or the kind of fault."""
        made = self._exchange(headers=headers, method=method, length=len(body), **how)
        made.request.body = Body(body, b"application/json")
        if consumer or subject:
            made.put(IDENTITY, Identity(consumer=consumer, subject=subject))
        found = self._outcome(made)
        if found is None:
            return made
        if isinstance(found, Fault):
            made.fault = found
        self.policy.on_log(made)
        return found.kind if isinstance(found, Fault) else found

    def through(self, **how):
        """The exchange, which goes on."""
        made = self.begin(**how)
        assert goes_on(made)
        return made

    def _outcome(self, made):
        try:
            outcome = self.policy.on_request(made)
        except Fault as fault:
            return fault
        if outcome is None or isinstance(outcome, Reply):
            return outcome
        results: list[object] = []
        ensureDeferred(outcome).addBoth(results.append)
        if not results:
            return None
        return getattr(results[0], "value", results[0])

    def answer(self, made, status=201, lines=(), pieces=(b"made",), end=True):
        """The upstream answers."""
        made.attempts = 1
        made.response = Response(status, Headers(lines), bodiless=status in (204, 304))
        self.policy.on_response(made)
        if not made.response.bodiless:
            for piece in pieces:
                assert self.policy.on_response_chunk(made, piece, False) == piece
            if end:
                assert self.policy.on_response_chunk(made, b"", True) == b""

    def end(self, made, kind=None, attempts=None):
        made.fault = Fault(kind) if kind else None
        made.attempts = made.attempts if attempts is None else attempts
        self.policy.on_log(made)

    def whole(self, status=201, lines=(), pieces=(b"made",), **how):
        """A request to its end."""
        made = self.begin(**how)
        self.answer(made, status, lines, pieces)
        self.end(made)


def goes_on(found):
    return not isinstance(found, Reply) and hasattr(found, "request")


@pytest.fixture(params=["memory", "elsewhere"])
def sending(request, bench, exchange):
    if request.param == "elsewhere":
        bench.store = RemoteStore(bench.clock)

    def make(place="", **settings):
        return Sending(bench.policy("idempotency", settings, place=place), exchange)

    yield make
    bench.shared.release(bench)
    assert bench.timers.waiting() == []


@pytest.fixture
def remote(bench, exchange):
    bench.store = RemoteStore(bench.clock)

    def make(place="", **settings):
        return Sending(bench.policy("idempotency", settings, place=place), exchange)

    bench.store.make = make
    yield bench.store
    bench.shared.release(bench)
    assert bench.timers.waiting() == []


# ---- once


def test_the_answer_is_given_again(sending):
    send = sending()
    lines = [(b"content-type", b"a/json"), (b"location", b"/7"), (b"x-odd", b"\xe9"), (b"a", b"1"), (b"a", b"2")]
    send.whole(201, [*lines, (b"set-cookie", b"s=1"), (b"date", b"now"), (b"ratelimit", b"r")], (b"\x00\xff", b"\n{}"))
    for _ in range(3):
        reply = send.begin()
        assert (reply.status, reply.body) == (201, b"\x00\xff\n{}")
        assert reply.headers.lines == [*lines, (b"idempotent-replayed", b"true")]


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_is_kept_too(sending, status):
    send = sending()
    send.whole(status, [(b"etag", b'"v"')])
    reply = send.begin()
    assert (reply.status, reply.body, reply.headers.get(b"etag")) == (status, b"", b'"v"')


def test_another_host_is_another_target(sending):
    send = sending(place="gateway/idempotency")
    send.whole(host="one.test")
    assert send.begin(host="One.test").body == b"made"
    assert send.begin(host="two.test") is KEY_REUSED


def test_who_only_the_upstream_tells_apart_is_not_given_another_s_answer(sending):
    send = sending()
    ada, bob = ([*KEY, ("Authorization", f"Bearer {name}")] for name in ("ada", "bob"))
    send.whole(headers=ada)
    assert send.begin(headers=ada).body == b"made"
    assert send.begin(headers=bob) is KEY_REUSED and send.begin() is KEY_REUSED
    # Whom the gateway knows may show another credential.
    send.whole(headers=ada, consumer="acme")
    assert send.begin(headers=bob, consumer="acme").body == b"made"


def test_subjects_of_one_address_have_their_own_keys(sending, exchange):
    send = sending()
    send.whole(subject="ada", pieces=(b"ada's",))
    send.whole(subject="bob", pieces=(b"bob's",))
    assert [send.begin(subject=name).body for name in ("ada", "bob")] == [b"ada's", b"bob's"]


def test_a_request_that_a_kept_connection_was_lost_with_may_have_arrived(sending):
    send = sending()
    made = send.begin()
    made.lost = True
    send.end(made, CONNECT_FAILED, 1)
    assert send.begin() is KEY_IN_USE


def test_while_the_first_one_runs_it_is_409(bench, sending):
    send = sending(lease="9s")
    made = send.begin()
    for _ in range(20):
        bench.clock.advance(5.0)  # it is renewed for as long as that takes
        assert send.begin() is KEY_IN_USE
    send.answer(made)
    send.end(made)
    assert send.begin().body == b"made"


def test_another_request_with_the_key_is_422_before_and_after(sending):
    send = sending()
    made = send.begin(target="/a")
    others = [
        {"target": "/b"}, {"target": "/a", "method": "PATCH"}, {"target": "/a", "body": b"[]"}, {"target": "/a?x"}
    ]
    assert [send.begin(**other) for other in others] == [KEY_REUSED] * 4
    send.answer(made)
    send.end(made)
    assert [send.begin(**other) for other in others] == [KEY_REUSED] * 4
    assert send.begin(target="/a").body == b"made"


def test_keys_belong_to_who_sent_them(sending):
    send = sending()
    send.whole(consumer="acme")
    other = send.through(consumer="other")
    address = send.through(client="198.51.100.7")
    assert send.begin(consumer="acme", client="198.51.100.7").body == b"made"
    for made in (other, address):
        send.end(made, FORBIDDEN)


def test_keys_belong_to_a_step_and_outlive_a_reload(sending):
    sending(place="api/shop/a").whole()
    assert sending(place="api/shop/a").begin().body == b"made"
    send = sending(place="api/shop/b")
    made = send.through()
    send.end(made, FORBIDDEN)


def test_an_answer_is_kept_for_its_time(bench, sending):
    send = sending(keep="1h")
    send.whole()
    bench.clock.advance(3599.0)
    assert send.begin().body == b"made"
    bench.clock.advance(2.0)
    send.whole(pieces=(b"again",))
    assert send.begin().body == b"again"


# ---- the key


@pytest.mark.parametrize(
    ("one", "other"),
    [('"k"', "k"), (r'"a\"b"', '"a\\"b"'), (" k ", "k"), ('"a b"', '"a b"'), ("8e03978e-40d5-43dd",) * 2],
)
def test_keys_that_are_the_same(sending, one, other):
    send = sending()
    send.whole(headers=[("Idempotency-Key", one)])
    assert send.begin(headers=[("Idempotency-Key", other)]).body == b"made"


@pytest.mark.parametrize(
    "lines",
    [
        [""], ['""'], ['"a'], ["a b"], ['"a";p=1'], ["a\x7f"], ["\xe9"], ["k" * 256], ['"' + "k" * 256 + '"'],
        ["a", "a"], ['a"b'],
    ],
)
def test_what_is_no_key(sending, lines):
    send = sending()
    assert send.begin(headers=[("Idempotency-Key", line) for line in lines]) is KEY_MISSING


def test_only_these_methods_and_those_with_a_key_are_looked_at(sending):
    send = sending()
    for how in ({"method": "GET"}, {"method": "PUT"}, {"headers": ()}):
        first, second = send.begin(**how), send.begin(**how)
        assert goes_on(first) and goes_on(second)
        send.answer(first)
        send.end(first)
        assert goes_on(send.begin(**how))


def test_required(sending):
    send = sending(required=True, header="X-Request-Key", methods=["PUT"])
    assert send.begin(method="PUT") is KEY_MISSING
    assert goes_on(send.begin(method="POST"))
    send.whole(method="PUT", headers=[("X-Request-Key", "k")])
    assert send.begin(method="PUT", headers=[("X-Request-Key", "k")]).body == b"made"


# ---- what is not kept


@pytest.mark.parametrize("status", [500, 502, 503, 401, 408, 425, 429])
def test_what_failed_may_be_tried_again(sending, status):
    send = sending()
    send.whole(status)
    send.whole(201)
    assert send.begin().status == 201


def test_failures_are_kept_where_that_is_wanted(sending):
    send = sending(keep_failures=True)
    send.whole(500)
    assert send.begin().status == 500


def test_a_large_answer_is_not_kept(sending):
    send = sending(max_answer="8B")
    send.whole(pieces=(b"1234", b"5678", b"9"))
    made = send.through()
    send.answer(made, pieces=(b"1234", b"5678"))
    send.end(made)
    assert send.begin().body == b"12345678"


def test_an_upgrade_is_not_kept(sending):
    send = sending()
    made = send.begin()
    made.response = Response(101, Headers(), upgrade=b"websocket")
    send.policy.on_response(made)
    send.end(made, attempts=1)
    send.whole()


@pytest.mark.parametrize(
    ("kind", "attempts", "free"),
    [
        (FORBIDDEN, 0, True),  # a step behind this one
        (CLIENT_CLOSED, 0, True),
        (CONNECT_FAILED, 1, True),
        (UNAVAILABLE, 1, True),
        (CONNECT_FAILED, 2, False),  # the first attempt may have got there
        (CLIENT_CLOSED, 1, False),
        (UPSTREAM_RESET, 1, False),
        (RESPONSE_TIMEOUT, 1, False),
    ],
)
def test_where_no_answer_came(bench, sending, kind, attempts, free):
    send = sending(lease="30s")
    send.end(send.begin(), kind, attempts)
    if not free:
        assert send.begin() is KEY_IN_USE
        bench.clock.advance(30.1)
    send.whole()
    assert send.begin().body == b"made"


def test_a_client_that_leaves_in_the_middle_of_an_answer(bench, sending):
    send = sending(lease="30s")
    made = send.begin()
    send.answer(made, pieces=(b"ma",), end=False)
    send.end(made, CLIENT_CLOSED)
    assert send.begin() is KEY_IN_USE
    bench.clock.advance(31.0)
    made = send.through()
    send.end(made, FORBIDDEN, 0)


def test_a_client_that_leaves_when_the_answer_is_known(sending):
    """It was collected by a step behind, or has no body."""
    send = sending()
    made = send.begin()
    made.attempts = 1
    made.response = Response(201, Headers())
    made.response.body = Body(b"made", None)
    send.policy.on_response(made)
    send.end(made, CLIENT_CLOSED)
    assert send.begin().body == b"made"


def test_an_answer_that_another_step_takes_in_hand_afterwards_is_not_kept(bench, sending):
    """The head that was taken down is not that of this body."""
    send = sending()
    made = send.begin()
    made.attempts = 1
    made.response = Response(201, Headers())
    send.policy.on_response(made)
    made.response.body = Body(b"changed", None)
    assert send.policy.on_response_chunk(made, b"changed", True) == b"changed"
    send.end(made)
    assert "was not kept" in bench.events.events[-1][1]
    made = send.through()
    made.attempts = 1
    made.response = Response(201, Headers())
    send.policy.on_response(made)
    made.response = Response(200, Headers())  # a Reply in its place
    send.policy.on_response_chunk(made, b"other", True)
    send.end(made)
    made = send.through()
    send.end(made, FORBIDDEN, 0)


def test_in_the_shadow_claims_are_given_back(bench, exchange):
    send = Sending(bench.policy("idempotency", {}), exchange)
    info = StepInfo("keys", "idempotency", "api/shop/keys", "", shadow=True)
    hook = enforced(send.policy.on_request, info, bench.metrics)
    one, two = exchange(method="POST", headers=KEY), exchange(method="POST", headers=KEY)
    assert hook(one) is None and hook(two) is None
    assert two.notes == {"shadow.keys": "fault idempotency-key-in-use"}
    for made in (two, one):
        send.policy.on_log(made)
    assert bench.timers.waiting() == [] and send.policy._running == {}


# ---- memory


def test_a_worker_keeps_only_so_many_octets(bench, exchange):
    send = Sending(bench.policy("idempotency", {"memory": "1MiB", "max_answer": "100KiB"}), exchange)
    keys = [[("Idempotency-Key", f"k-{number}")] for number in range(30)]
    for headers in keys:
        send.whole(headers=headers, pieces=(b"x" * 100_000,))
    kept = [isinstance(send.begin(headers=headers), Reply) for headers in reversed(keys)]
    assert 8 <= sum(kept) <= 10 and kept == sorted(kept, reverse=True)
    for made in list(send.policy._running):
        send.end(made, FORBIDDEN, 0)


def test_octets_are_free_again_when_an_answer_is_over(bench, exchange):
    policy = bench.policy("idempotency", {"memory": "1MiB", "keep": "1m"})
    send = Sending(policy, exchange)
    for number in range(50):
        send.whole(headers=[("Idempotency-Key", f"k-{number}")], pieces=(b"x" * 60_000,))
        bench.clock.advance(10.0)
    budget = bench.shared.get(bench, "idempotency api/shop/idempotency", None)
    assert budget.octets < 8 * 60_000


def test_what_is_kept_is_read_as_it_was_written():
    answer = KeptAnswer("f" * 64, 201, ((b"a", b"\xff"), (b"b", b"")), b"\n \x00")
    assert read_octets(answer_octets(answer)) == answer
    assert read_octets(claim_octets("f" * 64, "token-1")) == "f" * 64
    for octets in (b"", b"X y", b"A {", b"A [1]\n"):
        with pytest.raises(ValueError):
            read_octets(octets)


# ---- a store that is somewhere else


def test_one_of_many_at_once_goes_on(bench, remote):
    sends = [remote.make(place="x") for _ in range(3)]  # as many workers
    for number, send in enumerate(sends):
        send.policy._token = f"worker-{number}"
    found = [send.begin() for send in sends for _ in range(10)]
    running = [each for each in found if goes_on(each)]
    assert len(running) == 1 and found.count(KEY_IN_USE) == 29
    sends[0].answer(running[0])
    sends[0].end(running[0])
    assert [send.begin().body for send in sends] == [b"made"] * 3


def test_the_claim_of_a_worker_that_died_ends(bench, remote):
    dead = remote.make(place="x", lease="5s")
    made = dead.begin()
    dead.policy._claims.leave(dead.policy._running.pop(made))
    alive = remote.make(place="x", lease="5s")
    assert alive.begin() is KEY_IN_USE
    bench.clock.advance(5.1)
    alive.whole()
    assert alive.begin().body == b"made"


def test_a_claim_that_was_lost_overwrites_nothing(bench, remote):
    """The worker stood still for longer than its lease; another one did it meanwhile."""
    slow, quick = remote.make(place="x"), remote.make(place="x")
    slow.policy._token = "slow"
    made = slow.begin()
    remote.memory.remove(next(iter(slow.policy._running.values())).key)
    quick.whole(pieces=(b"quick",))
    slow.answer(made, pieces=(b"slow",))
    slow.end(made)
    assert quick.begin().body == b"quick"


@pytest.mark.parametrize("deaf", [False, True])
def test_who_leaves_while_the_store_is_asked_leaves_no_claim(remote, exchange, deaf):
    send = remote.make(lease="1h")
    remote.waits, remote.deaf = True, deaf
    made = exchange(method="POST", headers=KEY)
    waiting = ensureDeferred(send.policy.on_request(made))
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    send.end(made, CLIENT_CLOSED, 0)
    remote.answer()
    remote.waits = False
    send.whole()
    assert send.policy._running == {}


@pytest.mark.parametrize("down", ["later", "at once"])
def test_nothing_is_done_that_might_be_done_twice_unless_that_is_wanted(bench, remote, down):
    remote.down = down
    assert remote.make().begin() is UNAVAILABLE
    assert ("idempotency", "closed") in bench.metrics.failures


@pytest.mark.parametrize("down", ["later", "at once"])
def test_local_goes_on_with_the_memory_of_this_worker(bench, remote, down):
    send = remote.make(on_store_failure="local", tell_store_failure=True)
    remote.down = down
    made = send.begin()
    assert send.begin() is KEY_IN_USE
    assert send.begin(body=b"[]") is KEY_REUSED
    send.answer(made)
    assert made.response.headers.get(b"x-store-failure") == b"local"
    send.end(made)
    assert send.begin().body == b"made"
    remote.down = ""
    # The shared state does not know of it; this worker does.
    assert send.begin().body == b"made"


def test_open_lets_pass(remote):
    send = remote.make(on_store_failure="open")
    remote.down = "later"
    for _ in range(3):
        made = send.through()
        send.answer(made)
        send.end(made)


@pytest.mark.parametrize("down", ["later", "at once"])
def test_where_the_store_is_down_at_the_end_the_answer_is_kept_when_it_is_back(bench, remote, down):
    send = remote.make(lease="30s")
    made = send.begin()
    remote.down = down
    send.answer(made)
    send.end(made)
    bench.clock.advance(5.0)
    assert bench.metrics.failures == [("idempotency", "closed")]
    remote.down = ""
    assert send.begin() is KEY_IN_USE
    bench.clock.advance(1.0)
    assert send.begin().body == b"made"


def test_where_the_store_is_down_for_longer_than_the_lease_the_claim_ends_by_itself(bench, remote):
    send = remote.make(lease="30s")
    made = send.begin()
    remote.down = "later"
    send.answer(made)
    send.end(made)
    bench.clock.advance(30.1)
    remote.down = ""
    asked = len(remote.asked)
    bench.clock.advance(60.0)
    assert len(remote.asked) == asked and bench.timers.waiting() == []
    send.whole()


def test_a_key_that_was_not_even_asked_for_is_not_given_back(bench, remote):
    send = remote.make()
    remote.down = "at once"
    assert [send.begin() for _ in range(5)] == [UNAVAILABLE] * 5
    remote.down = ""
    bench.clock.advance(5.0)
    assert remote.named("swap") == []


def test_a_claim_that_was_late_is_given_back_when_the_store_is_there(bench, remote):
    """What was asked for happened all the same, and nobody heard."""
    send = remote.make()
    remote.deaf = remote.waits = True
    made = send.begin()
    remote.down = "later"
    send.end(made, STEP_TIMEOUT, 0)
    remote.down, remote.waits = "", False
    ((key, octets, seconds),) = remote.named("add")
    remote.memory.add(key, octets, seconds)
    assert send.begin() is KEY_IN_USE
    bench.clock.advance(1.0)
    send.whole()


def test_a_store_that_was_emptied_is_told_of_claims_and_answers_anew(bench, remote):
    send = remote.make(lease="30s")
    made = send.begin()
    remote.memory = MemoryStore(bench.clock)
    bench.clock.advance(11.0)
    assert send.begin() is KEY_IN_USE
    remote.memory = MemoryStore(bench.clock)
    send.answer(made)
    send.end(made)
    assert send.begin().body == b"made"


def test_an_answer_never_takes_the_place_of_another_claim(bench, remote):
    send = remote.make(lease="30s")
    slow = send.begin()
    remote.memory = MemoryStore(bench.clock)
    other = send.begin()
    send.answer(slow, pieces=(b"slow",))
    send.end(slow)
    assert send.begin() is KEY_IN_USE
    send.answer(other, pieces=(b"other",))
    send.end(other)
    assert send.begin().body == b"other"


# ---- the whole way


def order(gateway, **how):
    return gateway.call("POST", "/orders", headers=KEY, body=b"{}", **how)


def test_the_whole_way():
    gateway = Gateway([{"policy": "idempotency"}, {"policy": "message-size", "with": {"min": "2B"}}])
    first = order(gateway, upstream=(201, {"Location": "/7"}, b"seven"))
    assert (first.status, first.body, first.sent.headers.get(b"idempotency-key")) == (201, b"seven", b'"k-1"')
    again = order(gateway, upstream=(201, {"Location": "/8"}, b"eight"))
    assert (again.status, again.body, again.sent) == (201, b"seven", None)
    assert again.headers.get(b"location") == b"/7" and len(again.headers.get_all(b"date")) == 1
    assert gateway.call("POST", "/orders", headers=KEY, body=b"x" * (1 << 20) + b"x").status == 413
    # Refused by the step behind: nothing was sent, and the key is free.
    assert gateway.call("POST", "/", headers=[("Idempotency-Key", "k-2")], body=b"x").status == 400
    assert gateway.call("POST", "/", headers=[("Idempotency-Key", "k-2")], body=b"xx").status == 200
    gateway.close()
    assert gateway.timers.waiting() == []


def test_steps_before_it_do_their_work_on_replays_too():
    """Once, on what was kept."""
    seen = {"policy": "set-headers", "with": {"append": {"X-Seen": "yes"}}}
    gateway = Gateway({"pre_flow": {"request": [{"policy": "idempotency"}], "response": [seen]}})
    assert order(gateway).headers.get_all(b"x-seen") == [b"yes"]
    assert order(gateway).headers.get_all(b"x-seen") == [b"yes"]


def test_a_mocked_answer_is_kept():
    gateway = Gateway([{"policy": "idempotency"}, {"policy": "mock", "with": {"status": 201, "body": "made"}}])
    assert order(gateway).headers.get(b"idempotent-replayed") is None
    assert order(gateway).headers.get(b"idempotent-replayed") == b"true"


def test_an_upstream_that_cannot_be_reached_frees_the_key():
    gateway = Gateway([{"policy": "idempotency"}])
    assert order(gateway, upstream=CONNECT_FAILED).status == 502
    assert order(gateway, upstream=UPSTREAM_RESET).status == 502
    assert order(gateway).status == 409
    assert order(gateway, after=31.0).status == 200


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"methods": []}, "/with/methods"),
        ({"methods": ["post"]}, "/with/methods/0"),
        ({"keep": "0s"}, "/with/keep"),
        ({"lease": "1ms"}, "/with/lease"),
        ({"header": "Content-Length"}, "Content-Length"),
        ({"header": ""}, "/with/header"),
        ({"by": "moon"}, "/with/by"),
        ({"max_answer": "1GiB"}, "/with/max_answer"),
        ({"max_body": "1GiB"}, "/with/max_body"),
        ({"memory": "1B"}, "/with/memory"),
        ({"scope": "worker"}, "/with/scope"),
    ],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("idempotency", settings)
