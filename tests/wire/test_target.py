"""Paths and queries: split once, decoded once, and otherwise left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.wire.message import Refusal
from apigateway.wire.target import PathRules, query_values, remove_query_pair, split_path

DEFAULT = PathRules()
NORMALISE = PathRules(dot_segments="normalise", empty_segments="keep")


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        (b"/", [""]),
        (b"/a", ["a"]),
        (b"/a/", ["a", ""]),
        (b"/a/b.json", ["a", "b.json"]),
        (b"/files/a%2Fb/meta", ["files", "a/b", "meta"]),
        (b"/files/a%2fb%20c/meta", ["files", "a/b c", "meta"]),
        (b"/a%5Cb", ["a\\b"]),
        (b"/caf%C3%A9/%252e", ["café", "%2e"]),
        (b"/a+b;x=y/...", ["a+b;x=y", "..."]),
        (b"/.well-known/x", [".well-known", "x"]),
        (b"/a;x/b;/;y", ["a;x", "b;", ";y"]),
        (b"/a/.b/..c", ["a", ".b", "..c"]),
    ],
)
def test_kept_byte_for_byte(path: bytes, segments: list[str]) -> None:
    assert split_path(path, DEFAULT) == (path, segments)


@pytest.mark.parametrize(
    "path",
    [
        b"/a/../b", b"/a/./b", b"/..", b"/.", b"/%2e%2e/b", b"/.%2E/b", b"/a/%2e", b"/..;x/b",
        b"/..;/b", b"/.%3B/b",
        b"/;x/a", b"/%3bx/a", b"/%3B/a", b"/a/;/b", b"/a/;x=y/",
        b"/a//b", b"//a", b"//", b"/a//", b"/a\\b", b"/a%", b"/a%2", b"/a%zz", b"/%00",
        b"/%0d%0a", b"/%7f", b"/%ff",
        b"/%c0%af", b"/%c0%ae%c0%ae/b", b"/a%2f..%2fb", b"/..%2fb", b"/%2e%2e%5cb", b"", b"a",
        b"*", b"/\xc3\xa9",
    ],
)  # fmt: skip
def test_refused_by_default(path: bytes) -> None:
    answer = split_path(path, DEFAULT)
    assert isinstance(answer, Refusal)
    assert answer.status == 400 and answer.detail and answer.section


@pytest.mark.parametrize("path", [b"/a%2Fb", b"/a%2fb", b"/a%5cb"])
def test_encoded_slashes_can_be_refused(path: bytes) -> None:
    assert isinstance(split_path(path, PathRules(encoded_slashes="refuse")), Refusal)


@pytest.mark.parametrize(
    ("path", "raw", "segments"),
    [
        (b"/a/../b", b"/b", ["b"]),
        (b"/a/./b%20c", b"/a/b%20c", ["a", "b c"]),
        (b"/a/b/..", b"/a/", ["a", ""]),
        (b"/a/.", b"/a/", ["a", ""]),
        (b"/a/%2e%2E/b", b"/b", ["b"]),
        (b"/a/b%2Fc/../d", b"/a/d", ["a", "d"]),
        (b"/a//../b", b"/a/b", ["a", "b"]),
        (b"/.", b"/", [""]),
        (b"/a/..", b"/", [""]),
        (b"/%2e", b"/", [""]),
    ],
)
def test_dot_segments_normalised(path: bytes, raw: bytes, segments: list[str]) -> None:
    assert split_path(path, NORMALISE) == (raw, segments)


@pytest.mark.parametrize("path", [b"/..", b"/../a", b"/a/../../b", b"/a/..;x/b", b"/a%2f../b"])
def test_normalising_has_limits(path: bytes) -> None:
    assert isinstance(split_path(path, NORMALISE), Refusal)


@pytest.mark.parametrize(
    ("rule", "raw", "segments"),
    [("keep", b"//a///b//", ["", "a", "", "", "b", "", ""]), ("merge", b"/a/b/", ["a", "b", ""])],
)
def test_empty_segments(rule: str, raw: bytes, segments: list[str]) -> None:
    rules = PathRules(empty_segments=rule)  # type: ignore[arg-type]
    assert split_path(b"//a///b//", rules) == (raw, segments)


def test_a_segment_of_parameters_only_is_an_empty_one() -> None:
    assert split_path(b"/;x/admin/%3b/;y", PathRules(empty_segments="merge")) == (b"/admin/;y", ["admin", ";y"])
    assert split_path(b"/;x/admin", PathRules(empty_segments="keep")) == (b"/;x/admin", [";x", "admin"])


@given(st.from_regex(rb"/[a-z%2eEfF0./;]{0,20}", fullmatch=True))
def test_a_normalised_path_stays_as_it_is(path: bytes) -> None:
    rules = PathRules(dot_segments="normalise", empty_segments="merge")
    answer = split_path(path, rules)
    if isinstance(answer, Refusal):
        assert isinstance(split_path(path, DEFAULT), Refusal)
    else:
        assert split_path(answer[0], DEFAULT) == answer


SIGNED = b"/d/auth%7C9?grid[0:1:0]&b=1+2&b=%2B&a=&flag&u=%c3%a9;x=y"


@pytest.mark.parametrize(
    ("target", "rest"),
    [
        (SIGNED, SIGNED),
        (SIGNED + b"&apikey=k1&z=1", SIGNED + b"&z=1"),
        (SIGNED + b"&apikey=k1", SIGNED),
        (b"/x?apikey=k1&a=%7C", b"/x?a=%7C"),
        (b"/x?apikey=k1", b"/x"),
        (b"/x?a&apikey=1&&apikey=2&b", b"/x?a&&b"),
        (b"/x?ap%69key=k1&a", b"/x?a"),
        (b"/x?xapikey=1&apikeyx=2&APIKEY=3", b"/x?xapikey=1&apikeyx=2&APIKEY=3"),
        (b"/apikey=k1", b"/apikey=k1"),
        (b"/x?a=?apikey=1", b"/x?a=?apikey=1"),
        (b"/x?", b"/x?"),
        (b"/x?apikey", b"/x"),
    ],
)
def test_one_pair_goes_and_every_other_byte_stays(target: bytes, rest: bytes) -> None:
    assert remove_query_pair(target, "apikey") == rest


def test_query_values() -> None:
    query = b"a=1&b=x+y%2B&a=%C3%A9&a&c%20d=%ff&=e&&a=b=c"
    assert query_values(query, "a") == ["1", "é", "", "b=c"]
    assert query_values(query, "b") == ["x y+"]
    assert query_values(query, "c d") == ["\ufffd"]
    assert query_values(query, "") == ["e"]
    assert query_values(query, "nothing") == []
    assert query_values(None, "a") == []
    assert query_values(b"", "") == []
