"""The url of a state, and what may stand beside it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apigateway.config.addresses import TcpAddress, UnixAddress
from apigateway.config.check import check
from apigateway.config.load import load_text
from apigateway.config.model import Configuration
from apigateway.config.revision import text_of, withheld
from apigateway.config.state_url import StateUrl, parse_state_url, split_password
from apigateway.errors import ConfigurationRefused


def configuration(state: Any) -> Configuration:
    whole = {"version": 1, "listeners": [{"name": "a", "address": "127.0.0.1:0"}], "state": state}
    return load_text(json.dumps(whole), name="f", format="json").configuration


def problems(state: Any) -> list[str]:
    try:
        return [f"{problem.pointer}: {problem.message}" for problem in check(configuration(state))]
    except ConfigurationRefused as refused:
        return [f"{problem.pointer}: {problem.message}" for problem in refused.problems]


HOST = TcpAddress("h", 6379)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("memory:", StateUrl("memory")),
        ("redis://h", StateUrl("redis", (HOST,))),
        ("redis://h/", StateUrl("redis", (HOST,))),
        ("redis://h:7/3", StateUrl("redis", (TcpAddress("h", 7),), database=3)),
        ("redis://[::1]:7", StateUrl("redis", (TcpAddress("::1", 7),))),
        ("redis://u%40x@h", StateUrl("redis", (HOST,), user="u@x")),
        ("redis://@h", StateUrl("redis", (HOST,))),
        ("rediss://h", StateUrl("redis", (HOST,), secure=True)),
        ("redis+unix:///run/a%20b.sock", StateUrl("redis", (UnixAddress("/run/a b.sock"),))),
        ("redis+unix://u@/s?db=2", StateUrl("redis", (UnixAddress("/s"),), user="u", database=2)),
        (
            "redis+sentinel://u@a,b:7,[::1]/limits/4",
            StateUrl(
                "sentinel", (TcpAddress("a", 26379), TcpAddress("b", 7), TcpAddress("::1", 26379)), "u", 4, "limits"
            ),
        ),
    ],
)
def test_urls(text: str, expected: StateUrl) -> None:
    assert parse_state_url(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'expected "memory:"'), ("memory", 'expected "memory:"'), ("http://h", 'expected "memory:"'),
        ("redis:h", 'expected "memory:"'), ("rediss+sentinel://h/s", 'expected "memory:"'),
        ("redis://", "a host is missing"), ("redis://h:x", "a port is a number"), ("redis://h:0", "a port is a number"),
        ("redis://h/x", "a database is a number"), ("redis://h/0/1", "a database is a number"),
        ("redis://h?db=1", "no query but ?db=N"), ("redis://h#1", "no fragment"),
        ("redis://a@b@h", "percent-encoded"), ("redis://::1", "in brackets"),
        ("redis+unix://s", "begins with a slash"), ("redis+unix:///", "begins with a slash"),
        ("redis+unix:///s?x=1", "?db=N is not known"), ("redis+unix:///s?db=x", "a database is a number"),
        ("redis+sentinel://a", "the service"), ("redis+sentinel://a/", "the service"),
        ("redis+sentinel:///s", "a host is missing"), ("redis+sentinel://a,,b/s", "a host is missing"),
        ("redis+sentinel://a/s/x", "a database is a number"),
    ],
)  # fmt: skip
def test_texts_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_state_url(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "url", "password"),
    [
        ("redis://h", "redis://h", None),
        ("redis://u@h", "redis://u@h", None),
        ("redis://u:p%40w@h/1", "redis://u@h/1", "p@w"),
        ("redis://:p@h", "redis://@h", "p"),
        ("redis://u:${env:P@SS}@h", "redis://u@h", "${env:P@SS}"),
        ("redis://:${file:/run/secrets/redis}@[::1]:1/2", "redis://@[::1]:1/2", "${file:/run/secrets/redis}"),
        ("redis://u:a${env:P}%41@h", "redis://u@h", "a${env:P}%41"),
        ("redis+sentinel://u:p@a:1,b:2/s", "redis+sentinel://u@a:1,b:2/s", "p"),
        ("redis+unix:///s:x@y", "redis+unix:///s:x@y", None),
        ("redis://h:1/2@3", "redis://h:1/2@3", None),
    ],
)
def test_a_password_is_taken_out(text: str, url: str, password: str | None) -> None:
    assert split_password(text) == (url, password)


def test_a_password_is_never_in_what_is_shown_and_survives_being_written() -> None:
    read = configuration("redis://u:p%40w@h")
    assert read.state.url == "redis://u@h"
    assert "p@w" not in repr(read) + json.dumps(withheld(read))
    again = load_text(text_of(read), name="f", format="json").configuration
    assert again == read
    assert again.state.password is not None
    assert again.state.password.get_secret_value() == "p@w"
    assert configuration("memory:") == configuration({"url": "memory:"})
    assert "state" not in json.loads(text_of(configuration("memory:")))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("memory:", []),
        ({"url": "rediss://u@h", "password": "x", "ca": "c", "timeout": "1s"}, []),
        ("redis://h:99999", ["/state/url: a port is a number from 1 to 65535"]),
        ("redis://u@h", ['/state/password: the user "u" needs a password']),
        ({"password": "x"}, ["/state/password: there is nothing to log in to"]),
        ({"url": "redis://h", "sentinel_password": "x"}, ["/state/sentinel_password: there are no Sentinels"]),
        ({"url": "redis://h", "ca": "c"}, ["/state/ca: TLS is spoken with rediss:// only"]),
        ({"url": "redis://h", "certificate": {"cert": "c", "key": "k"}},
         ["/state/certificate: TLS is spoken with rediss:// only"]),
        ({"url": "redis://h", "timeout": "1.1s"},
         ["/state/timeout: every request may have to wait for so long: expected 1s at most"]),
        ({"url": "redis://u:x@h", "password": "y"}, ["/state: there are two passwords, one of them in the url"]),
        ({"urll": "redis://h"}, ['/state/urll: "urll" is not known here']),
        (5, ["/state: expected a mapping of keys to values"]),
        ("redis://${env:HOST}", [
            "/state/url: expected a host name or address, without a port",
            "/state/url: a reference is read in fields for secrets only; here it would be sent as it stands",
        ]),
    ],
)  # fmt: skip
def test_what_a_check_says(state: Any, expected: list[str]) -> None:
    assert sorted(problems(state)) == sorted(expected)
