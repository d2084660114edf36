"""Every file of config/, served and asked."""

from __future__ import annotations

import shutil
import ssl
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from example_gateway import EXAMPLES, Served

from apigateway.checking import check_file
from apigateway.cli.demo_setting import make_certificates
from apigateway.config.load import load_file
from apigateway.config.paths import absolute

Serve = Callable[[str], Served]
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))


def test_each_has_a_test_that_serves_it() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    assert [name for name in NAMES if f'"{name}"' not in tests and f"{name}.yaml" not in tests] == []


@pytest.mark.parametrize("name", NAMES)
def test_each_is_fine_and_warns_of_nothing(name: str, tmp_path: Path) -> None:
    file = Path(shutil.copy(EXAMPLES / f"{name}.yaml", tmp_path))
    make_certificates(absolute(load_file(file).configuration, tmp_path))
    assert check_file(str(file), strict=True).problems == ()


def test_minimal(serve: Serve) -> None:
    gateway = serve("minimal")
    answer = gateway.ask("/hello")
    assert (answer.status, answer.json) == (200, {"hello": "world", "service": "one"})


# ---- tls


def context(gateway: Served, *, client: bool = False) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(gateway.folder / "certs/ca.pem"))
    if client:
        made.load_cert_chain(gateway.folder / "certs/client.pem", gateway.folder / "certs/client.key")
    return made


@pytest.mark.parametrize("name", ["one.example.test", "two.example.test"])
def test_tls_answers_with_the_certificate_of_the_name(serve: Serve, name: str) -> None:
    gateway = serve("tls")
    answer = gateway.ask("/hello", port=8443, tls=context(gateway), name=name)
    assert answer.status == 200
    assert answer.headers["strict-transport-security"].startswith("max-age=31536000")


def test_tls_refuses_names_and_clients_it_does_not_know(serve: Serve) -> None:
    gateway = serve("tls")
    with pytest.raises(ssl.SSLError):
        gateway.ask("/hello", port=8443, tls=context(gateway), name="three.example.test")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        gateway.ask("/hello", port=8444, tls=context(gateway), name="one.example.test")
    known = context(gateway, client=True)
    assert gateway.ask("/hello", port=8444, tls=known, name="one.example.test").status == 200


# ---- rate-limit


def test_rate_limit_is_each_callers_own(serve: Serve) -> None:
    gateway = serve("rate-limit")
    for _ in range(5):
        began = time.monotonic()
        statuses = [gateway.ask("/orders/hello", {"X-API-Key": "demo-key"}).status for _ in range(4)]
        if time.monotonic() - began < 1.0:
            break
        time.sleep(1.1)  # a machine on which four take more than the second that three are for
    assert statuses == [200, 200, 200, 429]
    assert gateway.ask("/orders/hello", {"X-API-Key": "gold-key"}).status == 200
    assert gateway.ask("/orders/hello").status == 401


def test_rate_limit_by_address_tells_when_to_come_back(serve: Serve) -> None:
    gateway = serve("rate-limit")
    first, _, third = (gateway.ask("/public/hello") for _ in range(3))
    assert (first.status, first.headers["x-ratelimit-remaining"]) == (200, "1")
    assert third.status == 429
    assert 0 < int(third.headers["retry-after"]) <= 120


# ---- quota


def test_quota_is_counted_until_midnight(serve: Serve) -> None:
    gateway = serve("quota")
    answers = [gateway.ask("/orders/hello", {"X-API-Key": "demo-key"}) for _ in range(6)]
    assert [answer.status for answer in answers] == [200] * 5 + [429]
    assert answers[-1].json["violated-policies"] == ["day"]
    assert 0 < int(answers[-1].headers["retry-after"]) <= 25 * 3600
    assert gateway.ask("/orders/hello", {"X-API-Key": "gold-key"}).status == 200
    assert (gateway.folder / "data" / "quotas.sqlite").exists()


def test_quota_makes_an_order_once(serve: Serve) -> None:
    gateway = serve("quota")
    fields = {"X-API-Key": "gold-key", "Idempotency-Key": "order-1"}
    first, again = (gateway.ask("/orders/echo", {**fields, "X-Try": number}, method="POST") for number in "12")
    assert (first.status, again.status, first.body) == (200, 200, again.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert gateway.ask("/orders/echo?more", fields, method="POST").status == 422


def test_quota_shuts_out_who_guesses_keys(serve: Serve) -> None:
    gateway = serve("quota")
    assert [gateway.ask("/orders/hello", {"X-API-Key": f"guess-{n}"}).status for n in range(4)] == [401, 401, 401, 403]
    assert gateway.ask("/orders/hello", {"X-API-Key": "demo-key"}).status == 403


# ---- cors


def test_cors_answers_before_the_key_is_asked_for(serve: Serve) -> None:
    gateway = serve("cors")
    asks = {"Origin": "https://app.example.test", "Access-Control-Request-Method": "DELETE"}
    preflight = gateway.ask("/account/hello", asks, method="OPTIONS")
    assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (204, "https://app.example.test")
    refused = gateway.ask("/account/hello", {"Origin": "https://a.partner.example.test"})
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "https://a.partner.example.test")
    stranger = gateway.ask("/account/hello", {"Origin": "https://evil.example.test"})
    assert "access-control-allow-origin" not in stranger.headers


def test_cors_for_any_page(serve: Serve) -> None:
    answer = serve("cors").ask("/data/hello", {"Origin": "https://anyone.example.test"})
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")


# ---- load-balancing


def test_load_balancing_by_weight(serve: Serve) -> None:
    gateway = serve("load-balancing")
    assert Counter(gateway.who("/weighted/hello") for _ in range(8)) == {"one": 6, "two": 2}


def test_load_balancing_by_session(serve: Serve) -> None:
    gateway = serve("load-balancing")
    by_session = {f"s{n}": {gateway.who("/sticky/hello", {"X-Session": f"s{n}"}) for _ in range(3)} for n in range(12)}
    assert all(len(services) == 1 for services in by_session.values())
    assert set().union(*by_session.values()) == {"one", "two"}


def test_load_balancing_takes_the_spare_when_the_first_is_gone(serve: Serve) -> None:
    gateway = serve("load-balancing")
    assert {gateway.who("/spare/hello") for _ in range(3)} == {"one"}
    gateway.end_service("one")
    assert {gateway.who("/spare/hello") for _ in range(10)} == {"two"}


# ---- canary


def test_canary_gets_its_share_and_a_mirror_answers_nobody(serve: Serve) -> None:
    gateway = serve("canary")
    assert Counter(gateway.who("/canary/hello") for _ in range(20)) == {"one": 18, "two": 2}
    assert {gateway.who("/mirror/hello") for _ in range(5)} == {"one"}
    gateway.end_service("two")
    assert {gateway.who(f"/{name}/hello") for name in ("canary", "mirror") for _ in range(12)} == {"one"}


# ---- routing


@pytest.mark.parametrize(
    ("target", "headers", "service"),
    [
        ("/shop/hello", {}, "one"),
        ("/shop/hello", {"X-API-Version": "v1"}, "one"),
        ("/shop/hello", {"X-API-Version": "v2"}, "two"),
        ("/trials/hello", {}, "one"),
        ("/trials/hello", {"X-Beta": "1"}, "two"),
        ("/trials/hello?who=partner", {}, "two"),
    ],
)
def test_routing_by_version_header_and_condition(
    serve: Serve, target: str, headers: dict[str, str], service: str
) -> None:
    assert serve("routing").who(target, headers) == service


def test_routing_tells_of_old_versions_and_new_places(serve: Serve) -> None:
    gateway = serve("routing")
    assert gateway.ask("/shop/hello").headers["deprecation"] == "@1767225600"
    moved = gateway.ask("/a%20b?c=1", name="old.example.test")
    assert (moved.status, moved.headers["location"]) == (308, "https://new.example.test/a%20b?c=1")
    assert gateway.ask("/shop/hello", method="POST").status == 405
    assert gateway.ask("/nowhere").status == 404
