"""JSON: digits kept, and what two readers may read differently refused."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.body import BodyError
from apigateway.body.json_view import JsonDecimal, parse_json, write_json


@pytest.mark.parametrize(
    "text",
    [
        "123456789012345678901234567890",
        "0.10",
        "1e2",
        "1.0E-10",
        "-0",
        "-0.0",
        "0.0000001",
        "3.141592653589793238462643383279",
        "[1,-2.50,[]]",
        '{"a":{},"b":[true,false,null]}',
        '"é\\n\\u0001 \\"/"',
        '"\U0001f600"',
    ],
)
def test_written_back_as_it_was(text: str) -> None:
    assert write_json(parse_json(text.encode())) == text.encode()


def test_a_decimal_is_a_number_to_reckon_with() -> None:
    value = parse_json(b"0.10")
    assert isinstance(value, JsonDecimal)
    assert value + 1 == Decimal("1.10")
    assert value.text == "0.10"


@pytest.mark.parametrize(
    ("data", "about"),
    [
        (b"", "not valid"),
        (b"{", "not valid"),
        (b"{} {}", "not valid"),
        (b"{'a': 1}", "not valid"),
        (b"[1,]", "not valid"),
        (b"01", "not valid"),
        (b"+1", "not valid"),
        (b"1.", "not valid"),
        (b'"\n"', "not valid"),
        ("[\u0663]".encode(), "not valid"),
        (b"NaN", "no JSON number"),
        (b"[-Infinity]", "no JSON number"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'"\xff"', "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        ('{"a":1}'.encode("utf-16-le"), "not valid"),
        (b'{"a":1,"\\u0061":2}', "given twice"),
        (b'{"x":{"b":1,"b":1}}', "given twice"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udc00":[1]}', "surrogate"),
        (b'[{"a":"\\ud83d"}]', "surrogate"),
        (b"1" * 1001, "1000 digits"),
        (b"0." + b"1" * 1001, "1000 digits"),
        (b"1e1001", "1000 digits"),
        (b"1e-99999999999999999999", ""),
        (b"1e999999999", "1000 digits"),
        (b"[" * 65 + b"]" * 65, "64 levels"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "64 levels"),
        (b"[" * 200_000, "64 levels"),
        (b'["' + b"[" * 100 + b'",' + b"[" * 64, "64 levels"),
    ],
)
def test_refused(data: bytes, about: str) -> None:
    with pytest.raises(BodyError) as caught:
        parse_json(data)
    assert about in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 64 + b"]" * 64,
        b'["' + b"[" * 100 + b'\\"[["]',
        b"[" + b",".join([b"[]"] * 1000) + b"]",
        b'"\\ud83d\\ude00"',
        b"1" * 1000,
        b" \t\r\n1 ",
    ],
)
def test_taken(data: bytes) -> None:
    assert parse_json(data) == json.loads(data)


def test_only_values_of_json_are_written() -> None:
    with pytest.raises(TypeError, match="float"):
        write_json([1.5])


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(_VALUES)
def test_round_trip(value: object) -> None:
    assert parse_json(write_json(value)) == value


@given(st.binary(max_size=80) | st.text('[]{}",:0123.eE-+truefalsnl\\ud8 ', max_size=40).map(str.encode))
def test_what_is_taken_is_what_others_read(data: bytes) -> None:
    try:
        value = parse_json(data)
    except BodyError:
        return
    assert json.loads(data) == json.loads(write_json(value))
