"""concurrency-limit: places are taken, kept alive, and given back however an exchange ends."""

from __future__ import annotations

import pytest
from remote_store import RemoteStore
from twisted.internet.defer import Deferred, ensureDeferred

from apigateway.flow.exchange import IDENTITY, Identity
from apigateway.flow.faults import CONCURRENCY_LIMITED, Fault
from apigateway.flow.steps import StepInfo, enforced
from apigateway.testing import Gateway


class Running:
    """Exchanges that a policy let through, until they are over."""

    def __init__(self, policy, exchange) -> None:
        self.policy, self._exchange = policy, exchange

    def begin(self, consumer="", **how):
        """An exchange that runs; None where it was refused."""
        made = self.made(consumer, **how)
        try:
            outcome = self.policy.on_request(made)
            if outcome is not None:
                results: list[object] = []
                ensureDeferred(outcome).addBoth(results.append)
                if results != [None]:
                    raise results[0].value
        except Fault as fault:
            assert fault.kind is CONCURRENCY_LIMITED
            assert fault.headers == ((b"retry-after", b"1"),)
            self.policy.on_log(made)
            return None
        return made

    def made(self, consumer="", **how):
        made = self._exchange(**how)
        if consumer:
            made.put(IDENTITY, Identity(consumer=consumer))
        return made

    def end(self, made):
        self.policy.on_log(made)


@pytest.fixture
def running(bench, exchange):
    def make(place="", **settings):
        return Running(bench.policy("concurrency-limit", settings, place=place), exchange)

    yield make
    bench.shared.release(bench)
    assert bench.timers.waiting() == []


@pytest.fixture
def remote(bench):
    bench.store = RemoteStore(bench.clock)
    return bench.store


def test_a_place_is_free_again_when_its_exchange_is_over(bench, running):
    limit = running(limit=2, by="ip")
    one, two = limit.begin(), limit.begin()
    assert one and two
    assert limit.begin() is None and limit.begin() is None
    assert limit.begin(client="198.51.100.7")
    limit.end(one)
    assert limit.begin()
    assert limit.begin() is None
    assert [granted for *_, granted in bench.metrics.decisions] == [True, True, False, False, True, True, False]


def test_who_shares_places_is_said_as_for_rate_limits(running):
    limit = running(limit=1, by=["consumer", "header:X-Job"])
    assert limit.begin("acme", headers=[("X-Job", "a")])
    assert limit.begin("acme", headers=[("X-Job", "a")], client="198.51.100.7") is None
    assert limit.begin("acme", headers=[("X-Job", "b")])
    assert limit.begin("other", headers=[("X-Job", "a")])


def test_a_client_cannot_give_back_twice(running):
    limit = running(limit=2)
    one, two = limit.begin(), limit.begin()
    limit.end(one)
    limit.end(one)
    assert limit.begin() and not limit.begin()
    assert two


def test_an_exchange_it_never_saw_has_nothing_to_give_back(running, exchange):
    limit = running(limit=1)
    assert limit.begin()
    limit.end(exchange())
    assert limit.begin() is None


def test_the_places_outlive_a_reload(bench, running):
    before = running(limit=2, place="api/shop/jobs")
    one = before.begin()
    after = running(limit=2, place="api/shop/jobs")
    assert after.begin() and not after.begin()
    before.end(one)
    assert after.begin()


def test_a_long_exchange_keeps_its_place(bench, running):
    limit = running(limit=1, lease="10s")
    made = limit.begin()
    for _ in range(60):
        bench.clock.advance(1.0)
        assert limit.begin() is None
    limit.end(made)
    assert limit.begin()


def test_all_leases_of_a_worker_are_renewed_by_one_timer(bench, running, remote):
    short, long = running(limit=100, lease="9s", place="a"), running(limit=100, lease="90s", place="b")
    for _ in range(30):
        long.begin()
    quick = [short.begin() for _ in range(30)]
    assert len(bench.timers.waiting()) == 1
    bench.clock.advance(3.5)
    ((keys, holders, seconds),) = remote.named("renew")
    assert (len(keys), len(set(holders)), seconds) == (30, 30, 9.0)
    assert len(bench.timers.waiting()) == 1
    for made in quick:
        short.end(made)
    bench.clock.advance(50.0)
    # Those that are over are not renewed.
    assert {call[2] for call in remote.named("renew")[1:]} == {90.0}


def test_many_leases_are_renewed_in_several_calls(bench, running, remote):
    limit = running(limit=2000, lease="3s")
    for _ in range(1200):
        assert limit.begin()
    bench.clock.advance(1.1)
    assert [len(keys) for keys, _, _ in remote.named("renew")] == [500, 500, 200]


def test_without_leases_there_is_no_timer(bench, running):
    limit = running(limit=5, lease="3s")
    limit.end(limit.begin())
    bench.clock.advance(2.0)
    assert bench.timers.waiting() == []


def test_places_of_a_worker_that_died_are_free_when_their_lease_ends(bench, running, remote):
    dead = running(limit=1, lease="5s", place="x")
    assert dead.begin()
    bench.shared.release(bench)  # its timer is gone with it
    alive = running(limit=1, lease="5s", place="x")
    assert alive.begin() is None
    bench.clock.advance(5.1)
    assert alive.begin()


def test_a_step_in_the_shadow_gives_back_too(bench, running, exchange):
    limit = running(limit=1)
    info = StepInfo("jobs", "concurrency-limit", "api/shop/jobs", "", shadow=True)
    hook = enforced(limit.policy.on_request, info, bench.metrics)
    one, two = exchange(), exchange()
    assert hook(one) is None and hook(two) is None
    assert (one.notes["shadow.jobs"], two.notes["shadow.jobs"]) == ("pass", "fault concurrency-limited")
    limit.end(two)
    limit.end(one)
    assert limit.begin()


# ---- a store that is somewhere else


@pytest.mark.parametrize("deaf", [False, True])
def test_who_leaves_while_the_store_is_asked_leaves_no_place(running, remote, deaf):
    """The place may have been taken all the same."""
    limit = running(limit=1, lease="1h")
    remote.waits, remote.deaf = True, deaf
    made = limit.made()
    waiting = ensureDeferred(limit.policy.on_request(made))
    waiting.addErrback(lambda failure: None)
    waiting.cancel()
    limit.end(made)
    remote.answer()
    remote.waits = False
    assert limit.begin()


def test_an_answer_that_is_late_leaves_no_place(running, remote):
    limit = running(limit=1, lease="1h")
    remote.down = "later"
    made = limit.begin()
    assert made
    remote.down = ""
    # Though nothing was heard, it may have been taken: the timeout was ours.
    limit.end(made)
    assert len(remote.named("release")) == 1


@pytest.mark.parametrize("down", ["later", "at once"])
def test_where_the_store_is_down_at_the_end_the_place_is_free_when_it_is_back(bench, running, remote, down):
    limit = running(limit=500, lease="1h")
    made = [limit.begin() for _ in range(500)]
    remote.down = down
    for each in made:
        limit.end(each)
    bench.clock.advance(10.0)
    remote.down = ""
    assert limit.begin() is None
    released = len(remote.named("release"))
    bench.clock.advance(0.5)
    assert 0 < len(remote.named("release")) - released <= 200, "no crowd meets it"
    bench.clock.advance(1.5)
    assert [limit.begin() is not None for _ in range(501)] == [True] * 500 + [False]


def test_where_the_store_is_down_for_longer_than_the_lease_that_ends_by_itself(bench, running, remote):
    limit = running(limit=1, lease="5s")
    made = limit.begin()
    remote.down = "later"
    limit.end(made)
    bench.clock.advance(5.1)
    remote.down = ""
    asked = len(remote.asked)
    bench.clock.advance(5.0)
    assert len(remote.asked) == asked and bench.timers.waiting() == []
    assert limit.begin()


@pytest.mark.parametrize("down", ["later", "at once"])
def test_a_renewal_that_fails_is_tried_again(bench, running, remote, down):
    limit = running(limit=1, lease="6s")
    made = limit.begin()
    remote.down = down
    bench.clock.advance(2.5)
    remote.down = ""
    bench.clock.advance(30.0)
    assert limit.begin() is None
    limit.end(made)


@pytest.mark.parametrize("down", ["later", "at once"])
@pytest.mark.parametrize(
    ("choice", "granted"), [("local", [True, True, False]), ("open", [True, True, True])]
)
def test_when_the_store_does_not_answer(bench, running, remote, down, choice, granted):
    remote.down = down
    limit = running(limit=2, on_store_failure=choice, tell_store_failure=True)
    begun = [limit.begin(answer=[]) for _ in range(3)]
    assert [made is not None for made in begun] == granted
    limit.policy.on_response(begun[0])
    assert begun[0].response.headers.get(b"x-store-failure") == choice.encode()
    assert begun[0].notes == {"store": choice}
    assert bench.metrics.failures == [("concurrency-limit", choice)] * 3
    for made in begun[:2]:
        limit.end(made)
    assert limit.begin() and limit.begin()


def test_closed_refuses(running, remote):
    remote.down = "at once"
    limit = running(limit=2, on_store_failure="closed")
    made = limit.made()
    with pytest.raises(Fault) as caught:
        limit.policy.on_request(made)
    assert (caught.value.status, caught.value.headers) == (503, ((b"retry-after", b"1"),))
    limit.end(made)


def test_what_began_without_the_store_counts_until_it_is_over(bench, running, remote):
    limit = running(limit=3)
    remote.down = "later"
    alone = [limit.begin(), limit.begin()]
    remote.down = ""
    together = limit.begin()
    assert together and limit.begin() is None
    limit.end(alone[0])
    assert limit.begin() and limit.begin() is None
    limit.end(alone[1])
    limit.end(together)
    # Nothing is left of the time without it: the shared state alone counts.
    asked = len(remote.named("lease"))
    assert [limit.begin() is not None for _ in range(4)] == [True, True, False, False]
    assert len(remote.named("lease")) == asked + 4


def test_a_place_taken_alone_is_given_back_when_the_shared_ones_are_full(running, remote):
    limit, others = running(limit=2, place="x"), running(limit=2, place="x")
    remote.down = "later"
    alone = limit.begin()
    remote.down = ""
    limit.policy._alone.running, kept = 0, limit.policy._alone.running  # another worker, which was never without it
    theirs = [others.begin(), others.begin()]
    limit.policy._alone.running = kept
    assert all(theirs) and limit.begin() is None
    limit.end(alone)
    assert limit.policy._alone.running == 0


def test_scope_worker_never_asks_the_shared_store(running, remote):
    limit = running(limit=1, scope="worker")
    assert limit.begin() and not limit.begin()
    assert remote.asked == []


def test_an_error_that_is_none_of_the_store_s_is_logged_and_ends_nothing(bench, running, remote):
    limit = running(limit=1)
    made = limit.begin()

    def broken(keys, holder):
        failed: Deferred[None] = Deferred()
        failed.errback(RuntimeError("no such script"))
        return failed

    remote.release = broken
    limit.end(made)
    assert limit.policy._places == {}


# ---- the whole way


@pytest.mark.parametrize(
    ("then", "call", "status"),
    [
        ([], {}, 200),
        ([], {"upstream": (503, (), b"")}, 503),
        ([{"policy": "mock", "with": {"status": 204}}], {}, 204),
        ([{"policy": "maintenance"}], {}, 503),
        ([{"policy": "message-size", "with": {"max": "1B"}}], {"body": b"xx"}, 413),
    ],
)
def test_every_ending_gives_back(then, call, status):
    gateway = Gateway([{"policy": "concurrency-limit", "with": {"limit": 1}}, *then])
    for _ in range(3):
        assert gateway.call("POST", **call).status == status
    gateway.close()
    assert gateway.timers.waiting() == []


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "/with/limit"),
        ({"limit": 0}, "/with/limit"),
        ({"limit": 1, "by": "moon"}, "/with/by"),
        ({"limit": 1, "lease": "0s"}, "/with/lease"),
        ({"limit": 1, "lease": "100ms"}, "/with/lease"),
        ({"limit": 1, "by": "{client.nobody}"}, "nobody"),
        ({"limit": 1, "per": "1m"}, "/with/per"),
    ],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("concurrency-limit", settings)
