"""Sticky sessions: whose cookie is believed, what it tells, and when there is a new one."""

from __future__ import annotations

from typing import Any

import pytest

from apigateway.config.model import Upstream
from apigateway.flow.balancing import Balancer, TargetState, TargetStates
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.sticky import SecretTooShort
from apigateway.ports.memory import SeededRandom
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request, Response

NOW = 1000.0
SECRET = "0123456789abcdef"
NEXT = "fedcba9876543210"


def upstream(*targets: dict[str, Any], name: str = "u", **sticky: Any) -> Upstream:
    given = targets or ({"name": "one"}, {"name": "two"}, {"name": "three"})
    full = [{"url": f"http://{target['name']}.test", **target} for target in given]
    sticky = {"cookie": "place", "secret": SECRET, **sticky}
    more = {key: sticky.pop(key) for key in ("canary", "balance") if key in sticky}
    return Upstream.model_validate({"name": name, "targets": full, "sticky": sticky, **more})


def balancer(*targets: dict[str, Any], states: TargetStates | None = None, **sticky: Any) -> Balancer:
    return Balancer(upstream(*targets, **sticky), states or TargetStates(), SeededRandom())


def exchange(*cookies: str, scheme: str = "http") -> Exchange:
    lines = Headers((b"cookie", cookie.encode("latin-1")) for cookie in cookies)
    return Exchange("1", Request(b"GET", b"/", lines, scheme=scheme), Connection(), "203.0.113.9", 0.0)


class Client:
    """Keeps the cookie that it was given last."""

    def __init__(self, cookie: str = "") -> None:
        self.cookie = cookie
        self.given = 0

    def ask(self, one: Balancer, *, now: float = NOW, fails: TargetState | None = None) -> str:
        """The name of the target that answered."""
        asked = exchange(f"place={self.cookie}") if self.cookie else exchange()
        assert one.sticky is not None
        one.sticky.begin(asked, NOW)
        state = one.pick(asked, now)
        if state is fails and state is not None:
            state = one.pick(asked, now, [state])
        assert state is not None
        answer = Response(200, Headers())
        one.sticky.answer(asked, state, answer)
        given = answer.headers.get_all(b"set-cookie")
        assert len(given) <= 1
        for line in given:
            self.cookie = line.decode().partition("=")[2].partition(";")[0]
            self.given += 1
        return state.name


def named(one: Balancer, name: str) -> TargetState:
    return next(state for state in one.states if state.name == name)


def set_cookie(one: Balancer, asked: Exchange) -> list[str]:
    assert one.sticky is not None
    one.sticky.begin(asked, NOW)
    state = one.pick(asked, NOW)
    assert state is not None
    answer = Response(200, Headers())
    one.sticky.answer(asked, state, answer)
    return [line.decode() for line in answer.headers.get_all(b"set-cookie")]


@pytest.mark.parametrize("balance", ["round-robin", "least-connections", "random", "consistent-hash"])
def test_a_client_stays_and_gets_one_cookie(balance: str) -> None:
    one = balancer(balance=balance)
    client = Client()
    first = client.ask(one)
    assert [client.ask(one) for _ in range(10)] == [first] * 10
    assert client.given == 1


def test_new_clients_are_spread() -> None:
    one = balancer()
    names = [Client().ask(one) for _ in range(30)]
    assert sorted(names) == ["one"] * 10 + ["three"] * 10 + ["two"] * 10


def test_other_workers_and_later_revisions_read_it_and_others_do_not() -> None:
    client = Client()
    first = client.ask(balancer())
    assert [client.ask(balancer()) for _ in range(3)] == [first] * 3
    assert client.given == 1
    for other in (balancer(name="v"), balancer(secret=NEXT)):
        assert other.sticky is not None
        assert other.sticky.target(begun(other, f"place={client.cookie}")) is None


@pytest.mark.parametrize("cookies", ["place={dead}; place={alive}", "place=no; place={alive}; place={dead}"])
def test_of_several_cookies_the_first_counts_that_leads_somewhere(cookies: str) -> None:
    one = balancer()
    clients = [Client(), Client()]
    dead, alive = [client.ask(one) for client in clients]
    named(one, dead).put_aside(NOW + 10, NOW, "test")
    asked = begun(one, cookies.format(dead=clients[0].cookie, alive=clients[1].cookie))
    assert one.pick(asked, NOW) is named(one, alive)
    assert set_cookie(one, exchange(cookies.format(dead=clients[0].cookie, alive=clients[1].cookie))) == []


def begun(one: Balancer, *cookies: str) -> Exchange:
    asked = exchange(*cookies)
    assert one.sticky is not None
    one.sticky.begin(asked, NOW)
    return asked


def test_the_value_tells_nothing() -> None:
    client = Client()
    name = client.ask(balancer())
    assert len(client.cookie) == 43 and name not in client.cookie and "test" not in client.cookie
    assert f"gw-{'u'}" not in set_cookie(balancer(cookie=None), exchange())[0]


@pytest.mark.parametrize("forged", ["", "one", "A" * 43, "\xff", "one.test:80", '"'])
def test_a_forged_cookie_is_ignored_and_replaced(forged: str) -> None:
    one = balancer()
    client = Client()
    client.cookie = forged
    assert client.ask(one) == "one"
    assert client.given == 1 and client.cookie != forged


def test_the_good_one_of_several_counts() -> None:
    one, client = balancer(), Client()
    client.ask(one)
    asked = begun(one, "place=x; a=b", f"place={client.cookie}")
    assert one.sticky is not None and one.sticky.target(asked) is named(one, "one")
    assert asked.request.headers.get_all(b"cookie") == [b"a=b"]


@pytest.mark.parametrize(
    ("forward", "sent", "left"),
    [(False, "a=1; place=x; place2=y", [b"a=1; place2=y"]), (False, "place=x", []), (False, "a=1;b=2", [b"a=1;b=2"]),
     (True, "a=1; place=x", [b"a=1; place=x"])],
)  # fmt: skip
def test_just_that_cookie_is_taken_out(forward: bool, sent: str, left: list[bytes]) -> None:
    asked = begun(balancer(forward=forward), sent)
    assert asked.request.headers.get_all(b"cookie") == left


def test_a_targets_death_moves_its_clients_once() -> None:
    one = balancer()
    clients = [Client() for _ in range(30)]
    before = [client.ask(one) for client in clients]
    named(one, "one").put_aside(NOW + 10, NOW, "test")
    after = [client.ask(one) for client in clients]
    assert "one" not in after
    assert [b for a, b in zip(before, after, strict=True) if a != "one"] == [a for a in before if a != "one"]
    moved = [b for a, b in zip(before, after, strict=True) if a == "one"]
    assert sorted(moved) == ["three"] * 5 + ["two"] * 5
    # It comes back; nobody moves again.
    assert [client.ask(one, now=NOW + 11) for client in clients] == after
    assert sum(client.given for client in clients) == 40


def test_a_retry_moves_the_client_to_who_answered() -> None:
    one, client = balancer(), Client()
    assert client.ask(one) == "one"
    assert client.ask(one, fails=named(one, "one")) == "two"
    assert [client.ask(one) for _ in range(3)] == ["two"] * 3
    assert client.given == 2


def test_draining_and_weight_0_keep_the_clients_they_have_and_get_no_new_ones() -> None:
    states = TargetStates()
    one, client = balancer(states=states), Client()
    assert client.ask(one) == "one"
    named(one, "one").drain(True)
    assert client.ask(one) == "one"
    assert "one" not in {Client().ask(one) for _ in range(10)}
    named(one, "one").put_aside(NOW + 10, NOW, "dead")
    assert Client(client.cookie).ask(one) != "one"
    named(one, "one").drain(False)
    weightless = balancer({"name": "one", "weight": 0}, {"name": "two"}, states=states)
    assert client.ask(weightless, now=NOW + 11) == "one"
    assert {Client().ask(weightless) for _ in range(5)} == {"two"}


def test_who_was_answered_by_a_failover_target_goes_home() -> None:
    one, client = balancer({"name": "one"}, {"name": "spare", "role": "failover"}), Client()
    assert client.ask(one) == "one"
    named(one, "one").put_aside(NOW + 10, NOW, "test")
    assert [client.ask(one), client.ask(one)] == ["spare", "spare"]
    assert client.ask(one, now=NOW + 11) == "one"
    assert client.given == 1


def test_a_target_with_another_url_is_another_one() -> None:
    client = Client()
    client.ask(balancer({"name": "one"}))
    assert client.ask(balancer({"name": "one", "url": "http://elsewhere.test"}, {"name": "two"})) in ("one", "two")
    assert client.given == 2


def test_the_secret_is_changed_in_two_steps() -> None:
    client = Client()
    first = client.ask(balancer())
    both = balancer(secret=NEXT, previous_secret=SECRET)
    assert [client.ask(both), client.ask(both)] == [first, first]
    assert client.given == 2
    assert client.ask(balancer(secret=NEXT)) == first
    assert client.given == 2


@pytest.mark.parametrize("short", [{"secret": "short"}, {"previous_secret": "short"}])
def test_a_short_secret_is_refused(short: dict[str, str]) -> None:
    with pytest.raises(SecretTooShort, match="16 characters") as refused:
        balancer(**short)
    assert refused.value.setting == next(iter(short))


def test_sessions_stay_with_a_canary_until_it_cools_down() -> None:
    one = balancer({"name": "one"}, {"name": "c", "role": "canary"}, canary={"percent": "20%"})
    clients = [Client() for _ in range(20)]
    before = [client.ask(one) for client in clients]
    assert before.count("c") == 4
    assert [client.ask(one) for client in clients] == before
    for _ in range(20):
        one.report(named(one, "c"), 500, NOW)
    assert [client.ask(one) for client in clients] == ["one"] * 20
    assert sum(client.given for client in clients) == 24


@pytest.mark.parametrize(
    ("settings", "scheme", "attributes"),
    [
        ({}, "http", "; Path=/; HttpOnly; SameSite=Lax"),
        ({}, "https", "; Path=/; HttpOnly; SameSite=Lax; Secure"),
        ({"secure": "always", "ttl": "1h", "path": "/a"}, "http",
         "; Path=/a; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"),
        ({"secure": "never", "same_site": "strict"}, "https", "; Path=/; HttpOnly; SameSite=Strict"),
        ({"same_site": "none"}, "http", "; Path=/; HttpOnly; SameSite=None; Secure"),
    ],
)  # fmt: skip
def test_attributes(settings: dict[str, Any], scheme: str, attributes: str) -> None:
    (line,) = set_cookie(balancer(**settings), exchange(scheme=scheme))
    assert line.startswith("place=") and line[line.index(";") :] == attributes
