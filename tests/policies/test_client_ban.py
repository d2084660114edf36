"""client-ban: who fails too often is shut out, for as long as was said and no longer."""

from __future__ import annotations

import pytest
from remote_store import RemoteStore
from twisted.internet.defer import ensureDeferred

from apigateway.flow.exchange import IDENTITY, Identity
from apigateway.flow.faults import BANNED, FORBIDDEN, UNAVAILABLE, Fault
from apigateway.flow.steps import StepInfo, enforced
from apigateway.testing import Gateway


class Calling:
    """Requests of clients through a policy."""

    def __init__(self, policy, exchange) -> None:
        self.policy, self._exchange = policy, exchange
        self.last = None

    def ask(self, status=200, consumer="", **how):
        """The fault that refused it; None where it was answered with this status."""
        made = self.begin(consumer, **how)
        if made.fault is None:
            made.status = status
        self.end(made)
        return made.fault

    def begin(self, consumer="", **how):
        made = self.last = self._exchange(answer=(), **how)
        if consumer:
            made.put(IDENTITY, Identity(consumer=consumer))
        try:
            outcome = self.policy.on_request(made)
            if outcome is not None:
                results: list[object] = []
                ensureDeferred(outcome).addBoth(results.append)
                if results != [None]:
                    raise results[0].value
        except Fault as fault:
            made.fault, made.status = fault, fault.status
        return made

    def end(self, made, status=0):
        made.status = status or made.status
        self.policy.on_log(made)

    def fails(self, times, **how):
        """How many of so many failing requests were let through."""
        return sum(self.ask(401, **how) is None for _ in range(times))


@pytest.fixture
def calling(bench, exchange):
    def make(place="", **settings):
        given = {"count": 3, "window": "1m", "ban": "10m", **settings}
        return Calling(bench.policy("client-ban", given, place=place), exchange)

    return make


@pytest.fixture
def remote(bench):
    bench.store = RemoteStore(bench.clock)
    return bench.store


@pytest.mark.parametrize("where", ["memory", "elsewhere"])
def test_so_many_are_too_many_until_the_ban_is_over(bench, calling, where):
    if where == "elsewhere":
        bench.store = RemoteStore(bench.clock)
    ban = calling()
    assert ban.fails(2) == 2
    assert ban.ask(200) is None
    assert ban.fails(5) == 1
    fault = ban.ask()
    assert (fault.kind, fault.headers) == (BANNED, ((b"retry-after", b"600"),))
    assert ban.ask(client="198.51.100.7") is None
    bench.clock.advance(599.5)
    assert ban.ask().headers == ((b"retry-after", b"1"),)
    bench.clock.advance(1.0)
    assert ban.fails(5) == 3
    assert [fields["client"] for _, message, fields in bench.events.events if message == "a client is banned"] == [
        "203.0.113.9", "203.0.113.9"
    ]


def test_429_where_that_is_wanted(calling):
    ban = calling(count=1, answer=429)
    ban.fails(1)
    assert (ban.ask().status, ban.ask().kind.slug) == (429, "banned")


def test_what_is_refused_here_does_not_make_it_longer(bench, calling):
    ban = calling(statuses=[401, 403])
    ban.fails(3)
    for _ in range(100):
        bench.clock.advance(5.0)
        assert ban.ask().kind is BANNED
    bench.clock.advance(101.0)
    assert ban.ask() is None


def test_those_that_ran_beside_the_last_one_do_not_make_it_longer(bench, calling, remote):
    ban = calling(count=1)
    running = [ban.begin() for _ in range(5)]
    ban.end(running[0], 401)
    bench.clock.advance(100.0)
    for made in running[1:]:
        ban.end(made, 401)
    assert ban.ask().headers == ((b"retry-after", b"500"),)
    assert len(remote.named("put")) == 1


def test_failures_are_forgotten_with_their_window(bench, calling):
    ban = calling()
    for _ in range(10):
        assert ban.fails(2) == 2
        bench.clock.advance(61.0)


def test_where_the_window_is_longer_one_more_is_enough(bench, calling):
    ban = calling(window="1h", ban="1m")
    ban.fails(3)
    bench.clock.advance(61.0)
    assert ban.ask() is None
    assert ban.fails(2) == 1


def test_only_these_statuses_count(calling):
    ban = calling(statuses=[404], count=1)
    assert [ban.ask(status) for status in (200, 401, 403, 500, 499)] == [None] * 5
    assert ban.ask(404) is None
    assert ban.ask().kind is BANNED


def test_other_refusals_of_the_gateway_count(calling, exchange):
    ban = calling(count=1)
    made = ban.begin()
    made.fault = Fault(FORBIDDEN)
    ban.end(made, 403)
    assert ban.ask().kind is BANNED


def test_a_share_of_at_least_so_many(calling):
    ban = calling(count=None, percent="50%", minimum=10)
    for _ in range(4):
        assert ban.fails(1) == 1
    for _ in range(6):
        assert ban.ask(200) is None
    # 5 of 11 is less than half, 6 of 12 is half.
    assert ban.fails(1) == 1 and ban.ask() is None
    assert ban.fails(3) == 2


@pytest.mark.parametrize("percent", [1, 7, 14, 29, 57])
def test_a_share_is_reached_exactly(calling, percent):
    ban = calling(count=None, percent=f"{percent}%", minimum=100)
    assert [ban.ask(200) for _ in range(100 - percent)] == [None] * (100 - percent)
    assert ban.fails(percent) == percent
    assert ban.ask(200).kind is BANNED


def test_a_share_of_few_is_none(calling):
    ban = calling(count=None, percent="1%", minimum=20)
    assert ban.fails(19) == 19
    assert ban.fails(3) == 1


def test_by_consumer(calling):
    ban = calling(by="consumer")
    assert ban.fails(5, consumer="acme") == 3
    assert ban.ask(consumer="acme", client="198.51.100.7").kind is BANNED
    assert ban.ask(consumer="other") is None
    assert ban.ask() is None


def test_who_is_told_apart_later_is_counted_as_who_was_looked_up(calling):
    """Else he would be banned under a name by which nobody is ever refused."""
    ban = calling(by="consumer")
    for _ in range(3):
        made = ban.begin()
        made.put(IDENTITY, Identity(consumer="acme"))  # by a step behind this one
        ban.end(made, 401)
    assert ban.ask().kind == BANNED
    assert ban.ask(consumer="acme") is None
    assert ban.policy._keys == {}


def test_an_ipv6_client_is_its_network(calling):
    ban = calling(count=1)
    ban.fails(1, client="2001:db8::1")
    assert ban.ask(client="2001:db8::ffff").kind is BANNED
    assert ban.ask(client="2001:db8:0:1::1") is None


def test_bans_outlive_a_reload_and_belong_to_their_step(calling):
    calling(place="api/shop/a").fails(3)
    assert calling(place="api/shop/b").ask() is None
    assert calling(place="api/shop/a", ban="1m").ask().kind is BANNED


def test_in_the_shadow_nobody_is_shut_out(bench, calling, exchange):
    ban = calling(count=1)
    info = StepInfo("ban", "client-ban", "api/shop/ban", "", shadow=True)
    hook = enforced(ban.policy.on_request, info, bench.metrics)
    ban.fails(1)
    made = exchange()
    assert hook(made) is None
    assert made.notes == {"shadow.ban": "fault banned"}


# ---- a store that is somewhere else


def test_a_banned_client_costs_the_store_nothing(bench, calling, remote):
    ban = calling()
    ban.fails(3)
    asked = len(remote.asked)
    for _ in range(50):
        assert ban.ask().kind is BANNED
    assert len(remote.asked) == asked


def test_who_is_not_banned_is_looked_up_once_in_a_while(bench, calling, remote):
    ban = calling(look_again="2s")
    for _ in range(50):
        assert ban.ask() is None
    assert len(remote.asked) == 1
    bench.clock.advance(2.1)
    assert ban.ask() is None
    assert len(remote.asked) == 2


@pytest.fixture
def other_worker(bench, calling):
    """The same step in another worker, which hears news of the first or not."""

    def make(*, hears):
        kept = bench.shared, bench.caches, bench.notices
        bench.shared, bench.caches = type(bench.shared)(), type(bench.caches)()
        if not hears:
            bench.notices = type(bench.notices)()
        made = calling(place="x")
        bench.shared, bench.caches, bench.notices = kept
        return made

    return make


def test_a_ban_by_another_worker_is_known_at_once(calling, remote, other_worker):
    ban, other = calling(place="x"), other_worker(hears=True)
    assert ban.ask() is None
    assert other.fails(5) == 3
    assert ban.ask().kind is BANNED


def test_news_that_were_missed_cost_a_look(bench, calling, remote, other_worker):
    ban, other = calling(place="x"), other_worker(hears=False)
    assert ban.ask() is None
    assert other.fails(5) == 3
    bench.notices.tell("client-ban", b"")
    assert ban.ask().kind is BANNED


def test_who_is_closed_hears_nothing(bench, calling, remote):
    ban = calling(place="x")
    ban.policy.close()
    bench.notices.tell("client-ban", b"")
    assert ban.ask() is None


def test_a_ban_of_which_nothing_was_heard_is_known_soon(bench, calling, remote, other_worker):
    ban, other = calling(place="x"), other_worker(hears=False)
    assert ban.ask() is None
    assert other.fails(5) == 3
    assert ban.ask() is None  # not looked up again yet
    bench.clock.advance(1.1)
    assert ban.ask().headers == ((b"retry-after", b"599"),)


def test_a_ban_lasts_also_where_the_clock_of_a_machine_is_ahead(bench, calling, remote, other_worker):
    other = other_worker(hears=True)
    assert calling(place="x").fails(3) == 3
    bench.clock.set_wall(bench.clock.wall() + 3600.0)
    for _ in range(59):
        bench.clock.advance(10.0)
        fault = other.ask()
        assert (fault.kind, fault.headers) == (BANNED, ((b"retry-after", b"1"),))
    bench.clock.advance(10.1)
    assert other.ask() is None


def test_scope_worker_never_asks_the_shared_store(calling, remote):
    ban = calling(scope="worker")
    assert ban.fails(5) == 3
    assert remote.asked == [] and not ban.policy.shares_state


@pytest.mark.parametrize("down", ["later", "at once"])
def test_local_goes_by_what_this_worker_knows(bench, calling, remote, down):
    remote.down = down
    ban = calling(tell_store_failure=True)
    assert ban.fails(5) == 3
    ban.ask(client="198.51.100.7")
    ban.policy.on_response(ban.last)
    assert ban.last.response.headers.get(b"x-store-failure") == b"local"
    assert ("client-ban", "local") in bench.metrics.failures
    # The ban could not be told to others, and holds here.
    bench.clock.advance(599.0)
    assert ban.ask().kind is BANNED
    bench.clock.advance(2.0)
    assert ban.ask() is None


def test_open_lets_pass_and_counts_nothing(calling, remote):
    remote.down = "later"
    ban = calling(on_store_failure="open")
    assert ban.fails(20) == 20


def test_closed_refuses(calling, remote):
    remote.down = "at once"
    assert calling(on_store_failure="closed").ask().kind is UNAVAILABLE


def test_an_error_that_is_none_of_the_store_s_is_logged(bench, calling, remote):
    ban = calling()
    remote.take = lambda limits, cost=1: 1 / 0
    assert ban.fails(1) == 1
    assert [message for _, message, _ in bench.events.events] == ["an answer was not counted"]


def test_the_whole_way():
    ban = {"policy": "client-ban", "with": {"count": 2, "ban": "1m"}}
    gateway = Gateway([ban, {"policy": "ip-filter", "with": {"deny": ["::/0"]}}])
    answers = [gateway.call(client="2001:db8::1") for _ in range(3)]
    assert [answer.fault.kind.slug for answer in answers] == ["forbidden", "forbidden", "banned"]
    assert gateway.call(client="203.0.113.9").status == 200
    gateway.close()
    assert gateway.timers.waiting() == []


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "count, or percent"),
        ({"count": 1, "percent": "5%"}, "count, or percent"),
        ({"count": 0}, "/with/count"),
        ({"percent": "0%"}, "/with/percent"),
        ({"percent": "101%"}, "/with/percent"),
        ({"count": 1, "statuses": []}, "/with/statuses"),
        ({"count": 1, "statuses": [99]}, "/with/statuses/0"),
        ({"count": 1, "answer": 404}, "/with/answer"),
        ({"count": 1, "ban": "0s"}, "/with/ban"),
        ({"count": 1, "by": "header:X"}, "/with/by"),
    ],
)
def test_refusals(bench, settings, why):
    assert why in bench.refused("client-ban", settings)
