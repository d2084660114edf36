"""RC-O01, RC-O02, RC-O03: what of a path decides, and what of it reaches the origin."""

from __future__ import annotations

import hashlib
from itertools import permutations

import pytest
from pytest_twisted import ensureDeferred
from toolkit.settings import api, route, simple, step, steps, upstream
from toolkit.stage import Stage

FILES = api(
    {
        "name": "meta",
        "match": {"methods": ["GET"], "path": "/files/{id}/meta"},
        "upstream": "up",
        "pre_flow": steps(step("set-headers", set={"X-Id": "{route.params.id}"})),
    }
)


SLASHES = [
    ("/files/a%2Fb/meta", "a/b"),
    ("/files/a%2fb%20c/meta", "a/b c"),
    ("/files/%2F/meta", "/"),
    ("/files/%2f%2F/meta?x=%2F&y=a/b", "//"),
    ("/files/%252F/meta", "%2F"),
    ("/files/a%2Fmeta/meta", "a/meta"),
    ("/files/a;v=1,2/meta", "a;v=1,2"),
]


@ensureDeferred
async def test_rc_o01_an_encoded_slash_splits_nothing_and_is_forwarded_as_it_came(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, FILES))
    client = await stage.client()
    for target, identifier in SLASHES:
        assert (await client.ask("GET", target)).status == 200
        assert (origin.last.target, origin.last.get("x-id")) == (target, identifier)


@ensureDeferred
async def test_rc_o01_a_path_with_other_segments_is_another_path(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, FILES))
    client = await stage.client()
    for target in ("/files/a/b/meta", "/files/a/meta/", "/files%2Fa/meta", "/files/a%2Fmeta", "/files/meta"):
        answer = await client.ask("GET", target)
        assert (answer.status, answer.kind) == (404, "no-route"), target
    assert origin.asked == []


@ensureDeferred
async def test_rc_o01_an_operator_may_refuse_encoded_slashes(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, FILES, paths={"encoded_slashes": "refuse"}))
    client = await stage.client()
    for target in ("/files/a%2Fb/meta", "/files/a%2fb%20c/meta"):
        assert (await client.ask("GET", target)).status == 400
    assert (await client.ask("GET", "/files/a/meta")).status == 200
    assert len(origin.asked) == 1


ODD = [
    "/d/auth%7C9?grid[0:1:0]&b=1+2&b=%2B&a=&flag&u=%c3%a9;x=y",
    "/d/%7C%7c%257C",
    "/d?",
    "/d??x=?",
    "/d?&&a&&",
    "/d?a=b=c&%7A",
    "/d/a+b/%2B/(c)/'d'/!/*;p=q",
    "/d/~u/%7Eu?redirect=https://a.test/x?y=z",
    "/d?q=%20+%09",
]
HASH = hashlib.sha256(b"k1").hexdigest()
CONSUMERS = [{"name": "acme", "api_keys": [{"sha256": HASH}]}]


@pytest.mark.parametrize(
    ("policies", "lines"),
    [
        pytest.param((), (), id="a-no-policy"),
        pytest.param((step("api-key", header="X-Key", hide=True),), ("X-Key: k1",), id="b-hidden-header"),
        pytest.param(
            (step("api-key", query="apikey", cookie="k", header="X-Key"),), ("X-Key: k1",), id="b-anywhere"
        ),
        pytest.param((step("set-headers", set={"X-Q": "{request.path}"}),), (), id="a-policy-that-reads-it"),
    ],
)
@ensureDeferred
async def test_rc_o02_the_target_is_forwarded_octet_for_octet(
    stage: Stage, policies: tuple[dict[str, object], ...], lines: tuple[str, ...]
) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, api(pre_flow=steps(*policies)), consumers=CONSUMERS))
    client = await stage.client()
    for target in ODD:
        assert (await client.ask("GET", target, *lines)).status == 200
        assert origin.last.target == target
        assert "x-key" not in origin.last.names


HIDDEN = [
    (
        "/d/auth%7C9?grid[0:1:0]&b=1+2&b=%2B&a=&flag&u=%c3%a9;x=y&apikey=k1&z=1",
        "/d/auth%7C9?grid[0:1:0]&b=1+2&b=%2B&a=&flag&u=%c3%a9;x=y&z=1",
    ),
    ("/d?apikey=k1&flag&a=", "/d?flag&a="),
    ("/d?flag&&apikey=k1", "/d?flag&"),
    ("/d?xapikey=k1&apikey=k1&apikeyx=k1", "/d?xapikey=k1&apikeyx=k1"),
    ("/d?%61pikey=k1&b=%7c", "/d?b=%7c"),
    ("/d/apikey=k1?a=1+2&apikey=%6B1", "/d/apikey=k1?a=1+2"),
]


@ensureDeferred
async def test_rc_o02_c_only_the_hidden_pair_leaves_the_query(stage: Stage) -> None:
    origin = await stage.origin()
    flow = steps(step("api-key", query="apikey", hide=True))
    await stage.serve(simple(origin, api(pre_flow=flow), consumers=CONSUMERS))
    client = await stage.client()
    for sent, forwarded in HIDDEN:
        assert (await client.ask("GET", sent)).status == 200
        assert origin.last.target == forwarded


PREFIXES = {
    "shop": api(route(name="shop", to="a"), name="shop", base_path="/shop", strip_base_path=True),
    "pay": api(route(name="pay", to="b"), name="pay", base_path="/shop/pay"),
    "rest": api(route(name="rest", to="c"), name="rest", base_path="/"),
}
SHOPPING = [
    ("/shop/pay?x=1", "b", "/shop/pay?x=1"),
    ("/shop/pay/", "b", "/shop/pay/"),
    ("/shop/pay.php", "a", "/pay.php"),
    ("/shopping", "c", "/shopping"),
    ("/shop", "a", "/"),
    ("/shop/", "a", "/"),
    ("/shop?x", "a", "/?x"),
    ("/shop%2Fpay", "c", "/shop%2Fpay"),
    ("/SHOP", "c", "/SHOP"),
]


@pytest.mark.parametrize(
    "order", [pytest.param(order, id="-".join(order)) for order in permutations(PREFIXES)]
)
@ensureDeferred
async def test_rc_o03_the_longest_prefix_by_segments_wins_in_every_order_of_creation(
    stage: Stage, order: tuple[str, ...]
) -> None:
    origins = {name: await stage.origin(name=name) for name in "abc"}
    await stage.serve(
        {
            "upstreams": [upstream(origin, name=name) for name, origin in origins.items()],
            "apis": [PREFIXES[name] for name in order],
        }
    )
    client = await stage.client()
    for target, name, forwarded in SHOPPING:
        assert (await client.ask("GET", target)).status == 200
        assert origins[name].last.target == forwarded
    assert sum(len(origin.asked) for origin in origins.values()) == len(SHOPPING)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
@ensureDeferred
async def test_rc_o03_routes_of_one_api_follow_the_same_rule(stage: Stage, order: tuple[int, ...]) -> None:
    origins = {name: await stage.origin(name=name) for name in "abc"}
    routes = [
        route("/shop", name="r1", to="a"),
        route("/shop/pay", name="r2", to="b"),
        route("/", name="r3", to="c"),
    ]
    await stage.serve(
        {
            "upstreams": [upstream(origin, name=name) for name, origin in origins.items()],
            "apis": [api(*(routes[index] for index in order))],
        }
    )
    client = await stage.client()
    for target, name, _ in SHOPPING:
        assert (await client.ask("GET", target)).status == 200
        assert origins[name].last.target == target


GUARDED = [
    api(route(name="open", to="up"), name="open"),
    api(
        route(name="admin", to="up"),
        name="admin",
        base_path="/admin",
        pre_flow=steps(step("mock", status=403, body="guarded")),
    ),
    api(
        route(name="all", to="up"),
        name="cond",
        base_path="/cond",
        pre_flow=steps(
            {**step("mock", status=403, body="guarded"), "when": 'request.path.startsWith("/cond/secret")'}
        ),
    ),
]


@ensureDeferred
async def test_path_parameters_are_no_way_around_a_guard(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve({"upstreams": [upstream(origin)], "apis": GUARDED})
    client = await stage.client()
    for target, status in (
        ("/admin/x", 403),
        ("/admin;x/x", 403),
        ("/;x/admin/x", 400),
        ("/%3bx/admin", 400),
        ("/cond/secret", 403),
        ("/cond;x/secret", 403),
        ("/cond%3Bx/secret;y", 403),
        ("/cond/;/secret", 400),
        ("/cond/other;secret", 200),
    ):
        assert (await client.ask("GET", target)).status == status, target
    assert [one.target for one in origin.asked] == ["/cond/other;secret"]


@ensureDeferred
async def test_conditions_see_a_path_as_it_was_merged(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(
        {"upstreams": [upstream(origin)], "apis": GUARDED, "paths": {"empty_segments": "merge"}}
    )
    client = await stage.client()
    for target in ("/;x/admin/x", "/cond/;/secret", "//cond;x/;y/secret"):
        assert (await client.ask("GET", target)).status == 403, target
    assert origin.asked == []


@ensureDeferred
async def test_stripping_a_base_path_makes_no_dot_or_empty_segment(stage: Stage) -> None:
    origin = await stage.origin()
    users = api(route(name="users", to="up"), base_path="/users", strip_base_path=True)
    await stage.serve(simple(origin, users))
    client = await stage.client()
    for target, status in (
        ("/users../admin", 404),
        ("/users%2e%2e/admin", 404),
        ("/users/../", 400),
        ("/users/%2e%2e/admin", 400),
        ("/users//x", 400),
        ("/users/;x/y", 400),
        ("/users;../admin", 200),
        ("/users;x/..y", 200),
    ):
        assert (await client.ask("GET", target)).status == status, target
    assert [one.target for one in origin.asked] == ["/admin", "/..y"]
