"""Media types."""

from __future__ import annotations

import time

import pytest

from apigateway.body.media_type import parse_media_type


@pytest.mark.parametrize(
    ("value", "essence", "parameters"),
    [
        (b"text/plain", "text/plain", {}),
        (b" Application/JSON ; Charset=UTF-8", "application/json", {"charset": "UTF-8"}),
        (b'text/xml; charset="utf-8"; a="x\\"; y"', "text/xml", {"charset": "utf-8", "a": 'x"; y'}),
        (b"text/plain;", "text/plain", {}),
        (b"text/plain;;a=b;", "text/plain", {"a": "b"}),
        (b'text/plain;a=""', "text/plain", {"a": ""}),
    ],
)
def test_parsed(value: bytes, essence: str, parameters: dict[str, str]) -> None:
    media_type = parse_media_type(value)
    assert media_type is not None
    assert media_type.essence == essence
    assert media_type.parameters == parameters


@pytest.mark.parametrize(
    "value",
    [b"", b"text", b"text/", b"/plain", b"text/plain charset=utf-8", b"text/plain; a = b", b"text/plain; a",
     b'text/plain; a="b', b"text/plain; a=b; A=c", b"text/plain, text/html", b"te xt/plain", b"text/pl\xe9in"],
)
def test_none(value: bytes) -> None:
    assert parse_media_type(value) is None


@pytest.mark.parametrize(
    ("value", "is_json", "is_xml", "is_form"),
    [
        (b"application/json", True, False, False),
        (b"application/problem+json", True, False, False),
        (b"application/soap+xml", False, True, False),
        (b"text/xml", False, True, False),
        (b"application/x-www-form-urlencoded", False, False, True),
        (b"application/jsonp", False, False, False),
    ],
)
def test_families(value: bytes, is_json: bool, is_xml: bool, is_form: bool) -> None:
    media_type = parse_media_type(value)
    assert media_type is not None
    assert (media_type.is_json, media_type.is_xml, media_type.is_form) == (is_json, is_xml, is_form)


def test_a_hostile_value_takes_no_time() -> None:
    begin = time.process_time()
    assert parse_media_type(b"text/plain" + b"; " * 8000 + b'a="' + b"\\a" * 8000) is None
    assert time.process_time() - begin < 0.5
