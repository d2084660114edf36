"""rewrite-path: the raw path, and nothing but the path."""

from __future__ import annotations

import pytest

from apigateway.flow.faults import BAD_REQUEST, Fault


@pytest.mark.parametrize(
    ("settings", "target", "sent"),
    [
        ({"strip_prefix": "/shop"}, "/shop/pay?x=1", "/pay?x=1"),
        ({"strip_prefix": "/shop"}, "/shop", "/"),
        ({"strip_prefix": "/shop"}, "/shop/", "/"),
        ({"strip_prefix": "/shop"}, "/shop?x", "/?x"),
        ({"strip_prefix": "/shop/"}, "/shop/pay", "/pay"),
        ({"strip_prefix": "/shop"}, "/shopping", "/shopping"),
        ({"strip_prefix": "/shop"}, "/other/shop", "/other/shop"),
        ({"strip_prefix": "/shop"}, "/shop/a%2Fb/%7C?q=%7C", "/a%2Fb/%7C?q=%7C"),
        ({"add_prefix": "/v2"}, "/a?b", "/v2/a?b"),
        ({"add_prefix": "/v2"}, "/", "/v2/"),
        ({"strip_prefix": "/shop", "add_prefix": "/v2"}, "/shop", "/v2"),
        (
            {"replace": "/x%20y"},
            "/d/auth%7C9?grid[0:1:0]&b=1+2&b=%2B&a=&flag&u=%c3%a9;x=y",
            "/x%20y?grid[0:1:0]&b=1+2&b=%2B&a=&flag&u=%c3%a9;x=y",
        ),
        ({"replace": "/x"}, "/a?", "/x?"),
        ({"regex": "^/u/([^/]+)/(.*)$", "to": r"/\2/\1"}, "/u/a%2fb/c/d", "/c/d/a%2fb"),
        ({"regex": "o", "to": "0"}, "/foo/o", "/f00/0"),
        ({"regex": "^/old", "to": ""}, "/old", "/"),
        ({"regex": "^/old/", "to": ""}, "/old/a", "/a"),
        ({"regex": "nothing", "to": "/y"}, "/é", "/é"),
        ({"strip_prefix": "/a"}, "*", "*"),
    ],
)
def test_rewrites(bench, exchange, settings, target, sent):
    made = exchange(target)
    bench.policy("rewrite-path", settings).on_request(made)
    assert made.request.target.decode("latin-1") == sent
    path, mark, query = sent.partition("?")
    assert made.request.path.decode("latin-1") == path
    assert made.request.query == (query.encode() if mark else None)


@pytest.mark.parametrize(
    ("settings", "target"),
    [
        ({"regex": "^/rw/v1", "to": ""}, "/rw/v1../admin"),
        ({"regex": "^/rw/v1", "to": ""}, "/rw/v1%2e%2e/admin"),
        ({"regex": "^/rw/v1", "to": ""}, "/rw/v1..;x/admin"),
        ({"regex": "^/rw/v1", "to": ""}, "/rw/v1./admin"),
        ({"regex": "^/rw", "to": ""}, "/rw;x/admin"),
        ({"regex": "/x", "to": "/"}, "/a/x/b"),
        ({"regex": "2e", "to": ""}, "/a%2e"),
        ({"regex": "^/(.)/(.)", "to": r"/\1\2"}, "/./."),
    ],
)
def test_what_two_readers_could_take_differently_is_refused(bench, exchange, settings, target):
    made = exchange(target)
    with pytest.raises(Fault) as caught:
        bench.policy("rewrite-path", settings).on_request(made)
    assert caught.value.kind is BAD_REQUEST
    assert made.request.target == target.encode()


def test_empty_segments_that_a_revision_keeps_stay(bench, exchange):
    made = exchange("/a//b")
    bench.policy("rewrite-path", {"add_prefix": "/v2"}).on_request(made)
    assert made.request.path == b"/v2/a//b"
    with pytest.raises(Fault):
        bench.policy("rewrite-path", {"regex": "b", "to": ".."}).on_request(made)


def test_a_regex_takes_linear_time(bench, exchange):
    made = exchange("/" + "a" * 8000)
    bench.policy("rewrite-path", {"regex": "(a+)+$x", "to": "/b"}).on_request(made)
    assert made.request.path == b"/" + b"a" * 8000


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, "give one of"),
        ({"replace": "/a", "add_prefix": "/b"}, "give one of"),
        ({"regex": "a"}, "belong together"),
        ({"to": "a", "replace": "/a"}, "belong together"),
        ({"replace": "a"}, 'begins with "/"'),
        ({"replace": "/a/../b"}, "dot segment"),
        ({"add_prefix": "/%2e%2e"}, "dot segment"),
        ({"replace": "//a"}, "empty segment"),
        ({"replace": "/a?b"}, "percent-encoded"),
        ({"replace": "/a b"}, "percent-encoded"),
        ({"replace": "/a\r\nb"}, "percent-encoded"),
        ({"add_prefix": "/%zz"}, "percent-encoded"),
        ({"regex": "(", "to": "/a"}, "missing )"),
        ({"regex": "(?<=a)b", "to": "/a"}, "regex:"),
        ({"regex": "(a)", "to": r"/\2"}, "1 group"),
        ({"regex": "(a)", "to": "/a?b=1"}, "percent-encoded"),
    ],
)
def test_what_makes_no_path_is_refused(bench, settings, why):
    assert why in bench.refused("rewrite-path", settings)
