"""`apigateway check`, `plan` and `explain`."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from files import SHOP, written

Call = Callable[..., Result]

BROKEN = """\
version: 1
listeners:
  - {name: public, adress: "127.0.0.1:8080", address: "127.0.0.1:8081"}
apis:
  - name: shop
    routes:
      - {name: all, upstream: stable, pre_flow: {request: [{policy: rate-limits}]}}
"""
UNKNOWN = BROKEN.replace('adress: "127.0.0.1:8080", ', "")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return written(tmp_path, SHOP)


# ---- check


def test_check_of_a_good_file(call: Call, shop: Path) -> None:
    result = call("check", shop)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{shop}: fine, 1 Api, 4 routes, revision ")


def test_check_tells_file_line_pointer_and_the_nearest_name(call: Call, tmp_path: Path) -> None:
    file = written(tmp_path, BROKEN)
    result = call("check", file)
    assert result.exit_code == 1
    assert f'{file}:3: /listeners/0/adress: "adress" is not known here (did you mean \'address\'?)' in result.stdout
    assert result.stdout.endswith(f"{file}: 1 error\n")


def test_check_tells_everything_at_once(call: Call, tmp_path: Path) -> None:
    result = call("check", written(tmp_path, UNKNOWN), "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["ok"] is False
    assert {problem["pointer"] for problem in told["problems"]} == {
        "/apis/0/routes/0/upstream",
        "/apis/0/routes/0/pre_flow/request/0/policy",
    }
    assert {problem["line"] for problem in told["problems"]} == {7}
    assert "rate-limit" in {problem["hint"] for problem in told["problems"]}


@pytest.mark.parametrize(
    ("good", "bad", "pointer"),
    [
        ("base_path: /shop", "base_path: shop", "/apis/0/base_path"),
        ("base_path: /shop", 'base_path: "/{a}/{a}"', "/apis/0/base_path"),
        ("/items/{id}", "/{id}/{id}", "/apis/0/routes/1/match/path"),
        ("path: /closed", "path: /closed, path_prefix: /", "/apis/0/routes/3/match/path_prefix"),
        ("upstream: stable}\n      - {name: item", "upstream: stab}\n      - {name: item", "/apis/0/routes/0/upstream"),
        ("- name: stable", "- name: stable\n    balance: consistent-hash\n    hash_on: {source: header}",
         "/upstreams/0/hash_on/name"),
        ("- name: stable", "- name: stable\n    balance: consistent-hash\n    hash_on: {source: expression}",
         "/upstreams/0/hash_on/name"),
    ],
)
def test_one_mistake_is_one_problem(call: Call, tmp_path: Path, good: str, bad: str, pointer: str) -> None:
    assert SHOP.count(good) == 1
    result = call("check", written(tmp_path, SHOP.replace(good, bad)), "--json")
    assert result.exit_code == 1
    assert [each["pointer"] for each in json.loads(result.stdout)["problems"] if not each["warning"]] == [pointer]


def test_mistakes_at_two_places_are_two_problems(call: Call, tmp_path: Path) -> None:
    broken = SHOP.replace("base_path: /shop", "base_path: shop").replace("policy: maintenance", "policy: maintenence")
    told = json.loads(call("check", written(tmp_path, broken), "--json").stdout)
    places = {"/apis/0/base_path", "/apis/0/routes/3/pre_flow/request/0/policy"}
    assert {each["pointer"] for each in told["problems"] if not each["warning"]} == places


def test_check_warns_of_an_unset_variable_and_strict_refuses_it(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_TOKEN", raising=False)
    written(tmp_path, SECRET_POLICY, "secret_taker.py")
    step = "{policy: secret-taker, with: {secret: '${env:SHOP_TOKEN}'}}"
    file = written(tmp_path, SHOP.replace("{policy: security-headers}", step) + "policy_paths: [.]\n")
    loose, strict = call("check", file), call("check", file, "--strict")
    assert (loose.exit_code, strict.exit_code) == (0, 1)
    assert "warning: " in loose.stdout and "SHOP_TOKEN" in loose.stdout
    assert "1 warning" in loose.stdout and "1 error" in strict.stdout


def test_check_of_a_file_that_is_not_there(call: Call, tmp_path: Path) -> None:
    result = call("check", tmp_path / "none.yaml")
    assert result.exit_code == 1
    assert "cannot be read: No such file or directory" in result.stdout


def test_check_tells_the_traceback_of_a_policy_that_does_not_load(call: Call, tmp_path: Path) -> None:
    written(tmp_path, "KIND = 1 / 0\n", "bad.py")
    result = call("check", written(tmp_path, SHOP + "policy_paths: [.]\n"))
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stdout and "Traceback" in result.stdout


def test_check_opens_no_socket_and_writes_nothing(
    call: Call, shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a socket was opened")

    before = sorted(shop.parent.rglob("*"))
    monkeypatch.setattr(socket.socket, "bind", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert call("check", shop).exit_code == 0
    assert sorted(shop.parent.rglob("*")) == before


# ---- plan


def test_plan_prints_steps_in_order(call: Call, shop: Path) -> None:
    result = call("plan", shop, "shop", "list")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    steps = [line.split()[1] for line in lines[lines.index("request, in this order:") + 2 :][:3]]
    assert steps == ["fair", "when", "set-headers"]
    assert any("fair" in line and "rate-limit" in line and "shadow" in line for line in lines)
    assert any('when request.method == "GET"' in line for line in lines)
    assert lines[-1] == "upstream: stable"


def test_plan_as_json(call: Call, shop: Path) -> None:
    view = json.loads(call("plan", shop, "shop", "list", "--json").stdout)
    named = [step["kind"] for step in view["request"] if "kind" in step]
    assert named == ["rate-limit", "set-headers"]
    assert [step["kind"] for step in view["response"]] == ["rate-limit", "security-headers"]
    assert [step["kind"] for step in view["error"]] == ["problem-details"]


@pytest.mark.parametrize(
    ("route", "last"),
    [
        ("split", 'upstream: stable when request.query["beta"] == "1"; else stable'),
        ("closed", "upstream: none: a step answers"),
    ],
)
def test_plan_tells_where_requests_go(call: Call, shop: Path, route: str, last: str) -> None:
    assert call("plan", shop, "shop", route).stdout.splitlines()[-1] == last


@pytest.mark.parametrize(
    ("api", "route", "message"),
    [
        ("shoop", "list", "there is no Api 'shoop' (did you mean 'shop'?)"),
        ("shop", "lists", "Api 'shop' has no route 'lists' (did you mean 'list'?)"),
        ("shop", "zzz", "Api 'shop' has no route 'zzz'"),
    ],
)
def test_plan_of_what_is_not_there(call: Call, shop: Path, api: str, route: str, message: str) -> None:
    result = call("plan", shop, api, route)
    assert (result.exit_code, result.stderr) == (3, f"{message}\n")


@pytest.mark.parametrize("command", [("plan", "shop", "list"), ("explain", "GET", "/")])
def test_a_broken_file_is_told_and_not_looked_into(call: Call, tmp_path: Path, command: tuple[str, ...]) -> None:
    result = call(command[0], written(tmp_path, BROKEN), *command[1:])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "did you mean 'address'" in result.stderr


# ---- explain


def test_explain_tells_route_target_and_why_not_the_others(call: Call, shop: Path) -> None:
    result = call("explain", shop, "GET", "http://a.test/shop/items?x=1", "-H", "X-Any: 1")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "route: shop / list"
    assert "upstream: stable" in lines
    assert any(line.split() == ["one", "chosen"] for line in lines)
    assert any(line.startswith("spare ") for line in lines)
    assert ["shop", "item", "path"] in [line.split() for line in lines]


def test_explain_as_json(call: Call, shop: Path) -> None:
    view = json.loads(call("explain", shop, "GET", "/shop/items/7", "--json").stdout)
    assert (view["api"], view["route"], view["params"]) == ("shop", "item", {"id": "7"})
    assert view["upstream"] == "stable"


@pytest.mark.parametrize(
    ("method", "url", "told"), [("GET", "/nowhere", "404"), ("POST", "/shop/items", "405"), ("GET", "/shop/%zz", "400")]
)
def test_explain_of_what_no_route_takes(call: Call, shop: Path, method: str, url: str, told: str) -> None:
    result = call("explain", shop, method, url)
    assert result.exit_code == 3
    assert result.stdout.startswith(f"no route takes it: {told}")


@pytest.mark.parametrize("arguments", [("GET", "/", "-H", "no colon"), ("GET", "/é\n")])
def test_explain_of_what_is_no_request(call: Call, shop: Path, arguments: tuple[str, ...]) -> None:
    result = call("explain", shop, *arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


SECRET_POLICY = '''"""Takes a secret."""

from pydantic import Field, SecretStr
from zope.interface import implementer

from apigateway.config.model import Settings
from apigateway.flow.interfaces import IOnRequest
from apigateway.flow.kinds import Call, Example, kind


class Config(Settings):
    """Its settings."""

    secret: SecretStr = Field(description="A secret.")


@implementer(IOnRequest)
class SecretTaker:
    """Takes a secret."""

    def __init__(self, config):
        self.config = config

    def provision(self, services):
        """Nothing."""

    def close(self):
        """Nothing."""

    def on_request(self, exchange):
        """Nothing."""


KIND = kind("secret-taker", config=Config, policy=SecretTaker)
EXAMPLES = (Example("It goes on", {"secret": "s"}, (Call(status=200),)),)
'''
