"""Which route takes a request: preference, fall through, and what is answered where none does."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import pytest
from zope.interface import implementer

from apigateway.config.model import Api
from apigateway.errors import ConfigurationRefused
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.explain_route import explain
from apigateway.flow.faults import INTERNAL, Fault
from apigateway.flow.hidden_routes import hidden_routes
from apigateway.flow.hostnames import covers, normal_host
from apigateway.flow.interfaces import ICondition
from apigateway.flow.path_tree import Node, exact_template, strip_prefix, walk
from apigateway.flow.route_checks import media_type_parameter, query_value
from apigateway.flow.routing import Match, NoRoute, Router, WrongMethod
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request


@implementer(ICondition)
class Condition:
    """Understands "true", "false", "fault", "method X", "body" and "response"."""

    def __init__(self, source: str) -> None:
        if source == "nonsense":
            raise ValueError("not CEL")
        self.source = source
        self.needs_request_body = source == "body"
        self.needs_response = source == "response"

    def holds(self, exchange: Exchange) -> bool:
        if self.source == "fault":
            raise Fault(INTERNAL, private="no such key")
        if self.source.startswith("method "):
            return exchange.request.method.decode() == self.source[7:]
        return self.source == "true"


def api(name: str = "a", routes: Sequence[dict[str, Any]] = (), **settings: Any) -> Api:
    return Api.model_validate({"name": name, "routes": [route(**one) for one in routes], **settings})


def route(name: str, **match: Any) -> dict[str, Any]:
    return {"name": name, "match": match}


def exchange(
    target: str = "/", method: str = "GET", host: str = "api.example.test",
    headers: dict[str, str] | None = None,
) -> Exchange:
    lines = Headers((name.encode(), value.encode()) for name, value in (headers or {}).items())
    request = Request(method.encode(), target.encode(), lines, authority=host.encode())
    return Exchange("1", request, Connection(), "203.0.113.9", 0.0)


def segments(one: Exchange) -> list[str]:
    return [unquote(segment) for segment in one.request.path.decode()[1:].split("/")]


def found(router: Router, *args: Any, **kwargs: Any) -> Match | NoRoute | WrongMethod:
    one = exchange(*args, **kwargs)
    return router.match(segments(one), one)


def taken(router: Router, *args: Any, **kwargs: Any) -> str:
    """The route's name, "404", or "405 GET, HEAD"."""
    result = found(router, *args, **kwargs)
    if isinstance(result, Match):
        return result.route.name
    return f"405 {result.allow.decode()}" if isinstance(result, WrongMethod) else "404"


def router_of(*apis: Api) -> Router:
    return Router(apis, Condition)


def routes(*all_routes: dict[str, Any], **settings: Any) -> Router:
    return router_of(api("a", all_routes, **settings))


# ---- paths


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_longest_prefix_wins_at_segment_borders_for_every_order(order: tuple[int, ...]) -> None:
    """RC-O03."""
    apis = [
        api("shop", [{"name": "r1", "path_prefix": "/"}], base_path="/shop", strip_base_path=True),
        api("pay", [{"name": "r2", "path_prefix": "/shop/pay"}]),
        api("any", [{"name": "r3", "path_prefix": "/"}]),
    ]
    router = router_of(*(apis[index] for index in order))
    answers = {}
    for target in ("/shop/pay?x=1", "/shop/pay/", "/shop/pay.php", "/shopping", "/shop", "/shop/"):
        result = found(router, target)
        assert isinstance(result, Match)
        raw = exchange(target).request.path
        stripped = strip_prefix(raw, result.strip) if result.api.strip_base_path else raw
        answers[target] = (result.route.name, stripped)
    assert answers == {
        "/shop/pay?x=1": ("r2", b"/shop/pay"),
        "/shop/pay/": ("r2", b"/shop/pay/"),
        "/shop/pay.php": ("r1", b"/pay.php"),
        "/shopping": ("r3", b"/shopping"),
        "/shop": ("r1", b"/"),
        "/shop/": ("r1", b"/"),
    }


def test_segments_are_compared_decoded_and_an_encoded_slash_is_part_of_one() -> None:
    """RC-O01."""
    router = routes({"name": "meta", "path": "/files/{id}/meta", "methods": ["GET"]})
    for target, value in (("/files/a%2Fb/meta", "a/b"), ("/files/a%2fb%20c/meta", "a/b c")):
        result = found(router, target)
        assert isinstance(result, Match)
        assert result.params == {"id": value}
    assert taken(router, "/files/a/b/meta") == "404"


TABLE: list[dict[str, Any]] = [
    {"name": "root", "path": "/"},
    {"name": "one", "path": "/{id}"},
    {"name": "me", "path": "/me"},
    {"name": "mail", "path": "/{id}/mail"},
    {"name": "me-any", "path": "/me/{what}"},
    {"name": "slash", "path": "/closed/"},
    {"name": "files", "path": "/files/{rest*}"},
    {"name": "private", "path_prefix": "/files/private"},
    {"name": "cafe", "path": "/caf%C3%A9/a%2Fb"},
    {"name": "tenant", "path_prefix": "/t/{tenant}/x/"},
]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/users", "root"),
        ("/users/", "root"),
        ("/users/7", "one"),
        ("/users/me", "me"),
        ("/users/me/", "404"),
        ("/users/7/", "404"),
        ("/users/7/mail", "mail"),
        ("/users/me/mail", "me-any"),
        ("/users/closed", "one"),
        ("/users/closed/", "slash"),
        ("/users/files/a/b", "files"),
        ("/users/files/", "files"),
        ("/users/files", "one"),
        ("/users/files/private/a", "private"),
        ("/users/files/privateer", "files"),
        ("/users/caf%c3%a9/a%2fb", "cafe"),
        ("/users/t/acme/x", "tenant"),
        ("/users/t/acme/x/y/z", "tenant"),
        ("/users/t//x", "404"),
        ("/users/me;v=1", "me"),
        ("/users/me%3Bv=1", "me"),
        ("/users/;x", "root"),
        ("/user", "404"),
        ("/", "404"),
        ("/Users/me", "404"),
    ],
)
def test_paths(target: str, name: str) -> None:
    assert taken(routes(*TABLE, base_path="/users"), target) == name


def test_parameters_keep_what_literals_drop() -> None:
    router = routes(*TABLE, base_path="/users")
    for target, params in (
        ("/users/7;v=2", {"id": "7;v=2"}),
        ("/users/files/a%2Fb/c/", {"rest": "a/b/c/"}),
        ("/users/files/", {"rest": ""}),
        ("/users/t/acme/x/y", {"tenant": "acme"}),
        ("/users/me", {}),
    ):
        result = found(router, target)
        assert isinstance(result, Match)
        assert result.params == params


def test_root_base_path() -> None:
    router = routes({"name": "root", "path": "/"}, {"name": "one", "path": "/{id}"})
    assert [taken(router, target) for target in ("/", "/x", "/x/")] == ["root", "one", "404"]


def test_it_goes_back_to_the_parameter_where_the_literal_leads_nowhere() -> None:
    router = routes({"name": "a", "path": "/a/b/{x}/c"}, {"name": "b", "path": "/a/{y}/{z}/d"})
    assert taken(router, "/a/b/1/d") == "b"
    assert taken(router, "/a/b/1/c") == "a"
    assert taken(router, "/a/b/1/e") == "404"


def test_what_a_more_specific_path_does_not_take_goes_on() -> None:
    router = routes(
        {"name": "exact", "path": "/a/b", "headers": {"x-beta": "1"}},
        {"name": "long", "path_prefix": "/a/b", "methods": ["POST"]},
        {"name": "short", "path_prefix": "/a"},
    )
    assert taken(router, "/a/b") == "short"
    assert taken(router, "/a/b", headers={"x-beta": "1"}) == "exact"
    assert taken(router, "/a/b", method="POST") == "long"


def test_going_back_is_bounded_by_the_table_not_by_the_request() -> None:
    root: Node[str] = Node()
    literal: tuple[str | None, ...] = ("a",)
    for shape in itertools.product(*[(*literal, None)] * 8):
        root.reach((*shape, "end")).exact = "x"
    visited = list(walk(root, ["a"] * 8 + ["end"]))
    assert len(visited) == 2**8
    assert list(walk(root, ["a"] * 100_000)) == []


@pytest.mark.parametrize(
    ("raw", "count", "left"),
    [
        (b"/a/b/c", 0, b"/a/b/c"),
        (b"/a/b/c", 1, b"/b/c"),
        (b"/a%2Fx/b%20/", 1, b"/b%20/"),
        (b"/a", 1, b"/"),
        (b"/a/", 1, b"/"),
        (b"/a", 3, b"/"),
        (b"/a//b", 1, b"//b"),
    ],
)
def test_stripping_whole_segments_of_the_raw_path(raw: bytes, count: int, left: bytes) -> None:
    assert strip_prefix(raw, count) == left


# ---- hosts


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.example.test", "exact"),
        ("API.Example.TEST:8443", "exact"),
        ("api.example.test.", "exact"),
        ("api.example.test.:80", "exact"),
        ("x.eu.example.test", "eu"),
        ("eu.example.test", "wild"),
        ("a.b.example.test", "wild"),
        ("example.test", "any"),
        ("notexample.test", "any"),
        ("[2001:DB8::1]:443", "six"),
        ("[2001:db8:0:0::1]", "six"),
        ("[::2]", "any"),
        ("[::1", "any"),
        ("", "any"),
    ],
)
def test_hosts(host: str, name: str) -> None:
    table = {
        "exact": ["api.example.test"], "wild": ["*.example.test"], "eu": ["*.EU.example.test"], "any": [],
        "six": ["[2001:db8::1]"],
    }
    apis = [api(name, [{"name": name, "path_prefix": "/"}], hosts=hosts) for name, hosts in table.items()]
    for order in (apis, apis[::-1]):
        assert taken(router_of(*order), host=host) == name


def test_what_a_more_specific_host_does_not_serve_goes_on() -> None:
    router = router_of(
        api("one", [{"name": "exact", "path": "/x"}], hosts=["api.example.test"]),
        api("two", [{"name": "wild", "path_prefix": "/"}], hosts=["*.example.test"]),
    )
    assert taken(router, "/x") == "exact"
    assert taken(router, "/y") == "wild"
    assert taken(router, "/y", host="other.test") == "404"


def test_hosts_past_what_is_remembered_are_still_found() -> None:
    router = router_of(api("a", [{"name": "wild", "path_prefix": "/"}], hosts=["*.example.test"]))
    assert {taken(router, host=f"h{number}.example.test") for number in range(5000)} == {"wild"}
    assert taken(router, host="h4999.other.test") == "404"


def test_an_address_is_written_in_one_form() -> None:
    assert normal_host("[2001:0DB8::0001]:80") == normal_host("2001:db8::1") == "[2001:db8::1]"


# ---- methods


METHODS: list[dict[str, Any]] = [
    {"name": "read", "path": "/x", "methods": ["GET"]},
    {"name": "write", "path": "/x", "methods": ["POST", "PUT"]},
    {"name": "beta", "path": "/x", "methods": ["DELETE"], "headers": {"x-beta": "1"}},
]


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", "read"),
        ("HEAD", "read"),
        ("POST", "write"),
        ("PATCH", "405 GET, HEAD, POST, PUT"),
        ("OPTIONS", "405 GET, HEAD, POST, PUT"),
        ("DELETE", "405 GET, HEAD, POST, PUT"),
        ("get", "405 GET, HEAD, POST, PUT"),
    ],
)
def test_methods(method: str, answer: str) -> None:
    assert taken(routes(*METHODS), "/x", method=method) == answer


def test_allow_names_only_what_would_be_taken() -> None:
    assert taken(routes(METHODS[2]), "/x") == "404"
    assert taken(routes(METHODS[2]), "/x", headers={"x-beta": "1"}) == "405 DELETE"
    router = routes({"name": "a", "path": "/x", "methods": ["GET"], "when": "false"})
    assert taken(router, "/x", method="HEAD") == "404"


def test_head_goes_by_name_first_then_where_get_goes() -> None:
    router = routes(
        {"name": "any", "path": "/x"},
        {"name": "get", "path": "/x", "methods": ["GET"]},
        {"name": "head", "path": "/x", "methods": ["HEAD"], "headers": {"x-h": "1"}},
    )
    assert taken(router, "/x", method="HEAD") == "get"
    assert taken(router, "/x", method="HEAD", headers={"x-h": "1"}) == "head"
    assert taken(router, "/x", method="PUT") == "any"


PUT = {"name": "put", "path": "/x", "methods": ["PUT"]}
PUT_ANYWHERE = {"name": "put", "path_prefix": "/", "methods": ["PUT"]}
OPT = {"name": "opt", "path": "/x", "methods": ["OPTIONS"]}
PREFLIGHT = {"origin": "https://app.test", "access-control-request-method": "PUT"}


@pytest.mark.parametrize(
    ("table", "headers", "answer"),
    [
        ([PUT], PREFLIGHT, "put"),
        ([PUT], {}, "405 PUT"),
        ([PUT], {"origin": "https://app.test"}, "405 PUT"),
        ([{"name": "get", "path": "/x", "methods": ["GET"]}], PREFLIGHT, "405 GET, HEAD"),
        ([OPT], PREFLIGHT, "opt"),
        ([PUT, OPT], PREFLIGHT, "put"),
        ([PUT_ANYWHERE, OPT], PREFLIGHT, "put"),
        ([PUT, OPT], {}, "opt"),
    ],
)
def test_a_preflight_goes_where_its_request_would(
    table: list[dict[str, Any]], headers: dict[str, str], answer: str
) -> None:
    """RC-O24, Fetch 3.2.2."""
    assert taken(routes(*table), "/x", method="OPTIONS", headers=headers) == answer


# ---- what else is asked


@pytest.mark.parametrize(
    ("target", "headers", "name"),
    [
        ("/x", {}, "plain"),
        ("/x", {"x-beta": "1"}, "beta"),
        ("/x", {"x-beta": "2"}, "beta-any"),
        ("/x", {"x-beta": "1", "x-more": ""}, "two"),
        ("/x?v=1%202", {}, "query"),
        ("/x?v=1+2", {}, "query"),
        ("/x?v=0&v=1+2", {}, "plain"),
        ("/x?flag", {}, "flag"),
        ("/x?flag=&v=1+2", {"x-beta": "1"}, "beta"),
    ],
)
def test_headers_before_query_more_before_fewer(target: str, headers: dict[str, str], name: str) -> None:
    table: list[dict[str, Any]] = [
        {"name": "plain", "path": "/x"},
        {"name": "beta", "path": "/x", "headers": {"X-Beta": "1"}},
        {"name": "beta-any", "path": "/x", "headers": {"x-beta": "*"}},
        {"name": "two", "path": "/x", "headers": {"x-beta": "1", "x-more": "*"}},
        {"name": "query", "path": "/x", "query": {"v": "1 2"}},
        {"name": "flag", "path": "/x", "query": {"flag": "*"}},
    ]
    shuffled = list(table)
    random.Random(7).shuffle(shuffled)
    for order in (table, table[::-1], shuffled):
        assert taken(routes(*order), target, headers=headers) == name


def test_when_before_none_and_then_the_name() -> None:
    table: list[dict[str, Any]] = [
        {"name": "b", "path": "/x"},
        {"name": "a", "path": "/x"},
        {"name": "z", "path": "/x", "when": "method PUT"},
        {"name": "y", "path": "/x", "methods": ["GET"], "when": "false"},
    ]
    for order in (table, table[::-1]):
        assert taken(routes(*order), "/x") == "a"
        assert taken(routes(*order), "/x", method="PUT") == "z"


def test_a_fault_of_a_condition_is_not_taken_for_false() -> None:
    router = routes({"name": "guard", "path": "/x", "when": "fault"}, {"name": "open", "path_prefix": "/"})
    with pytest.raises(Fault):
        taken(router, "/x")


@pytest.mark.parametrize(
    ("query", "value"),
    [
        (None, None), (b"", None), (b"a", ""), (b"b=1&a=%C3%A9+x&a=2", "é x"), (b"%61=1", "1"),
        (b"a=1=2", "1=2"), (b"A=1", None),
    ],
)
def test_query_value(query: bytes | None, value: str | None) -> None:
    assert query_value(query, "a") == value


@pytest.mark.parametrize(
    ("accept", "value"),
    [
        ("application/json;version=2", "2"),
        ("text/html, application/json; q=0.5; Version=\"2, b\"", "2, b"),
        ('text/x;a="version=9;version=8";version=2', "2"),
        ("text/html", ""),
        ("application/json;version=1, application/json;version=2", "1"),
    ],
)
def test_parameter_of_accept(accept: str, value: str) -> None:
    assert media_type_parameter(exchange(headers={"accept": accept}).request, "version") == value


# ---- versions


def versions(source: str, **settings: Any) -> Router:
    return router_of(
        *(
            api(
                f"users-{version}", [{"name": version, "path": "/{id}"}],
                base_path="/users", api_version=version,
                versioning={"from": source, "default": version == "v1", **settings},
            )
            for version in ("v1", "v2")
        ),
        api("plain", [{"name": "plain", "path": "/{id}"}], base_path="/other"),
    )


@pytest.mark.parametrize(
    ("source", "target", "headers", "name"),
    [
        ("path", "/v1/users/7", {}, "v1"),
        ("path", "/v2/users/7", {}, "v2"),
        ("path", "/users/7", {}, "v1"),
        ("path", "/v3/users/7", {}, "404"),
        ("header", "/users/7", {}, "v1"),
        ("header", "/users/7", {"version": "v2"}, "v2"),
        ("header", "/users/7", {"version": "v3"}, "404"),
        ("query", "/users/7?version=v2", {}, "v2"),
        ("query", "/users/7?versions=v2", {}, "v1"),
        ("media-type", "/users/7", {"accept": "application/json;version=v2"}, "v2"),
        ("media-type", "/users/7", {"accept": "application/json"}, "v1"),
        ("header", "/other/7", {"version": "v9"}, "plain"),
    ],
)
def test_versions(source: str, target: str, headers: dict[str, str], name: str) -> None:
    assert taken(versions(source), target, headers=headers) == name


def test_the_version_in_the_path_is_stripped_with_the_base_path() -> None:
    for target, strip in (("/v1/users/7", 2), ("/users/7", 1)):
        result = found(versions("path"), target)
        assert isinstance(result, Match)
        assert result.strip == strip
        assert strip_prefix(target.encode(), result.strip) == b"/7"


def test_a_named_version_comes_before_an_api_without_one() -> None:
    router = router_of(
        api("a", [{"name": "plain", "path": "/x", "headers": {"x": "*"}}]),
        api("b", [{"name": "new", "path": "/x"}], api_version="v2", versioning={"from": "header"}),
    )
    assert taken(router, "/x", headers={"version": "v2", "x": "1"}) == "new"
    assert taken(router, "/x", headers={"x": "1"}) == "plain"


def test_a_version_without_versioning_is_only_a_label() -> None:
    assert taken(routes({"name": "a", "path": "/x"}, api_version="v1"), "/x") == "a"


# ---- building


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigurationRefused) as refused:
        router_of(
            api(
                "a",
                [
                    {"name": "a", "path": "x"},
                    {"name": "b", "path": "/a{id}"},
                    {"name": "c", "path": "/{rest*}/x"},
                    {"name": "d", "path": "/{id}/{id}"},
                    {"name": "e", "path_prefix": "/{rest*}"},
                    {"name": "f", "path": "/x", "when": "body"},
                    {"name": "g", "path": "/x", "when": "response"},
                    {"name": "h", "path": "/x", "when": "nonsense"},
                ],
            ),
            api("b", [{"name": "a", "path": "/x"}], base_path="users"),
        )
    assert [problem.pointer for problem in refused.value.problems] == [
        "/apis/0/routes/0/match/path",
        "/apis/0/routes/1/match/path",
        "/apis/0/routes/2/match/path",
        "/apis/0/routes/3/match/path",
        "/apis/0/routes/4/match/path_prefix",
        "/apis/0/routes/5/match/when",
        "/apis/0/routes/6/match/when",
        "/apis/0/routes/7/match/when",
        "/apis/1/base_path",
    ]


def test_a_plan_attached_to_an_entry_comes_with_every_match() -> None:
    router = versions("path")
    for entry in router.entries:
        entry.plan = f"plan of {entry.api.name}"
    plans = set()
    for target in ("/v1/users/7", "/users/7", "/v2/users/8", "/other/9"):
        result = found(router, target)
        assert isinstance(result, Match)
        plans.add((target, result.plan))
    assert plans == {
        ("/v1/users/7", "plan of users-v1"), ("/users/7", "plan of users-v1"),
        ("/v2/users/8", "plan of users-v2"), ("/other/9", "plan of plain"),
    }


def test_the_root_of_an_api_has_both_forms() -> None:
    assert [template.shape for template in exact_template("/users", "/")] == [("users",), ("users", "")]


# ---- hidden routes


@pytest.mark.parametrize(
    ("first", "second", "hidden"),
    [
        ({"path": "/{a}"}, {"path": "/{b}"}, True),
        ({"path": "/x", "methods": ["GET", "PUT"]}, {"path": "/x", "methods": ["GET"]}, True),
        ({"path": "/x", "methods": ["GET"]}, {"path": "/x", "methods": ["GET", "PUT"]}, False),
        ({"path": "/x", "methods": ["GET"]}, {"path": "/x"}, False),
        ({"path": "/x"}, {"path": "/x", "methods": ["GET"]}, False),
        ({"path": "/x", "headers": {"h": "1"}}, {"path": "/x", "headers": {"h": "1"}}, True),
        ({"path": "/x", "headers": {"h": "1"}}, {"path": "/x", "headers": {"h": "2"}}, False),
        ({"path": "/x", "headers": {"h": "*"}}, {"path": "/x", "headers": {"h": "2"}}, True),
        ({"path": "/x", "query": {"h": "1"}}, {"path": "/x"}, False),
        ({"path": "/x", "when": "true"}, {"path": "/x", "when": "true"}, True),
        ({"path": "/x", "when": "true"}, {"path": "/x", "when": "false"}, False),
        ({"path": "/x/{rest*}"}, {"path_prefix": "/x"}, False),
        ({"path_prefix": "/x"}, {"path_prefix": "/x/"}, True),
        ({"path_prefix": "/x"}, {"path": "/x"}, False),
    ],
)
def test_hidden_routes_are_reported(first: dict[str, Any], second: dict[str, Any], hidden: bool) -> None:
    router = routes({"name": "b", **second}, {"name": "a", **first})
    pairs = [(route.route.name, by.route.name) for route, by in hidden_routes(router)]
    assert pairs == ([("b", "a")] if hidden else [])


def test_a_route_that_is_open_at_one_of_its_hosts_is_not_hidden() -> None:
    first = api("a", [{"name": "a", "path": "/x"}], hosts=["one.test"])
    second = api("b", [{"name": "b", "path": "/x"}], hosts=["one.test", "two.test"])
    assert hidden_routes(router_of(first, second)) == []
    third = api("b", [{"name": "b", "path": "/x"}], hosts=["one.test"])
    assert len(hidden_routes(router_of(first, third))) == 1


# ---- explaining


def test_explain_tells_of_every_route() -> None:
    router = router_of(
        api(
            "a",
            [
                {"name": "beta", "path": "/x", "headers": {"x-beta": "1"}},
                {"name": "post", "path": "/x", "methods": ["POST"]},
                {"name": "query", "path": "/x", "query": {"q": "1"}},
                {"name": "cond", "path": "/x", "when": "false"},
                {"name": "plain", "path": "/x"},
                {"name": "rest", "path_prefix": "/"},
                {"name": "other", "path": "/y"},
            ],
        ),
        api("h", [{"name": "host", "path": "/x"}], hosts=["other.test"]),
        api("v", [{"name": "vers", "path": "/x"}], api_version="v1", versioning={"from": "path"}),
        api("w", [{"name": "head", "path": "/x"}], api_version="v1", versioning={"from": "header"}),
    )
    one = exchange("/x")
    told = {item.route: item.why_not for item in explain(router, segments(one), one)}
    assert told == {
        "beta": "header x-beta", "post": "method", "query": "query q", "cond": "when false", "plain": "",
        "rest": "less specific than plain", "other": "path", "host": "host", "vers": "version v1",
        "head": "version v1",
    }


def test_explain_where_nothing_is_taken() -> None:
    router = routes({"name": "a", "path": "/x", "methods": ["GET"]})
    one = exchange("/x", method="PUT")
    assert [(item.route, item.why_not) for item in explain(router, segments(one), one)] == [("a", "method")]


# ---- many routes


def test_ten_thousand_routes_are_all_found() -> None:
    many = router_of(
        *(
            api(
                f"s{number}",
                [{"name": f"r{number}-{kind}", "path": f"/{{id}}/{kind}"} for kind in range(10)],
                base_path=f"/svc{number}",
            )
            for number in range(1000)
        )
    )
    assert len(many.entries) == 10_000
    assert taken(many, "/svc0/7/0") == "r0-0"
    assert taken(many, "/svc999/7/9") == "r999-9"
    assert taken(many, "/svc999/7/10") == "404"
    assert hidden_routes(many) == []


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        ("a.test", True),
        ("x.b.test", True),
        ("b.test", False),
        ("x.y.b.test", False),
        (".b.test", False),
        ("", False),
    ],
)
def test_covers(host: str, covered: bool) -> None:
    assert covers(("a.test", "*.b.test"), host) is covered
