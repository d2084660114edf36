"""JSON that keeps the digits of its numbers (RFC 8259)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any, Self

from apigateway.body.error import MAX_DEPTH, BodyError, check_size

# What a number may cost whoever reckons with it: int(Decimal("1e999999999")) would take all memory.
MAX_DIGITS = 1000

_OPEN_OR_CLOSE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


class JsonDecimal(Decimal):
    """A number with a fraction or an exponent: a Decimal that knows how it was written ("1e2", "0.10", "-0")."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Self:
        made = super().__new__(cls, text)
        made.text = text
        return made


def parse_json(data: bytes, charset: str = "") -> Any:
    """The value of a JSON text: dict, list, str, bool, None, int of any size, JsonDecimal.

    Refused with a BodyError: what RFC 8259 does not allow (NaN, a byte order mark, any encoding but UTF-8), and what
    two readers may understand differently or pay for dearly: names given twice, lone surrogates, more than 64 levels,
    numbers of more than 1000 digits, more than MAX_PARSED octets.
    """
    check_size(data)
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise BodyError("JSON is written in UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise BodyError("the body is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise BodyError("a JSON text does not begin with a byte order mark")
    _check_depth(text)
    try:
        value = _DECODER.decode(text)
    except BodyError:
        raise
    except (ValueError, ArithmeticError, RecursionError):
        raise BodyError("the body is not valid JSON") from None
    if "\\u" in text:
        _check_text(value)
    return value


def write_json(value: Any) -> bytes:
    """A value of parse_json as JSON text in UTF-8, every number with the digits it came with. No float is taken."""
    return "".join(_written(value)).encode()


def _written(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield encode_basestring(value)
    elif value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, JsonDecimal):
        yield value.text
    elif isinstance(value, int):
        yield str(value)
    elif isinstance(value, dict):
        for index, (name, member) in enumerate(value.items()):
            yield f"{',' if index else '{'}{encode_basestring(name)}:"
            yield from _written(member)
        yield "}" if value else "{}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield "," if index else "["
            yield from _written(item)
        yield "]" if value else "[]"
    else:
        raise TypeError(f"no value of a JSON text: {type(value).__name__}")


def _check_depth(text: str) -> None:
    # Few brackets cannot nest deeply: most bodies are done here.
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _OPEN_OR_CLOSE.finditer(text):
        first = text[match.start()]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise BodyError(f"JSON nested more than {MAX_DEPTH} levels deep")
        elif first in "]}":
            depth -= 1


def _check_text(value: Any) -> None:
    # RFC 8259 8.2: half of a surrogate pair is no character, and cannot be written as UTF-8.
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise BodyError("the body names half of a surrogate pair")
    elif isinstance(value, dict):
        for name, member in value.items():
            _check_text(name)
            _check_text(member)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BodyError("a member name is given twice")
    return members


def _integer(text: str) -> int | JsonDecimal:
    if len(text) > MAX_DIGITS:
        raise BodyError(f"a number of more than {MAX_DIGITS} digits")
    return JsonDecimal(text) if text == "-0" else int(text)


def _decimal(text: str) -> JsonDecimal:
    number = JsonDecimal(text) if len(text) <= MAX_DIGITS else None
    if number is None or abs(number.adjusted()) > MAX_DIGITS:
        raise BodyError(f"a number of more than {MAX_DIGITS} digits")
    return number


def _constant(name: str) -> Any:
    raise BodyError(f"{name} is no JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_members, parse_int=_integer, parse_float=_decimal, parse_constant=_constant
)
