"""What pydantic found wrong, in the words of who wrote the configuration.

A value is never repeated, for it may be a secret; keys and what would have been right are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from apigateway.config.document import pointer_to
from apigateway.config.fields import PATTERNS, key_of, models_in
from apigateway.errors import Problem
from apigateway.text import nearest


def problems_of(
    error: ValidationError, model: type[BaseModel], value: object, pointer: str = ""
) -> list[Problem]:
    """Every error as a Problem, with the nearest known name as hint.

    model: what was validated; value: what it was given, to tell places from pydantic's own notes in their
    location; pointer: where that value stands in the configuration.
    """
    found = []
    for detail in error.errors(include_url=False):
        if _follows_from_others(detail):
            continue
        place = _place(detail, value)
        found.append(
            Problem(pointer + pointer_to(*place), _message(detail), hint=_hint(detail, model, place))
        )
    return found


def _follows_from_others(detail: ErrorDetails) -> bool:
    # A list whose items were refused is counted without them, and called too short.
    least = detail.get("ctx", {}).get("min_length", 0)
    given = detail["input"]
    return detail["type"] == "too_short" and isinstance(given, list | tuple) and len(given) >= least


def _place(detail: ErrorDetails, value: object) -> list[str | int]:
    place: list[str | int] = []
    for part in detail["loc"]:
        within = _within(value, part)
        if within is not _NOTHING:
            value = within
        elif not (detail["type"] == "missing" and part == detail["loc"][-1]):
            continue  # which form of several was tried, or "[key]"
        place.append(part)
    return place


_NOTHING = object()


def _within(value: object, part: str | int) -> object:
    if isinstance(value, Mapping):
        return value.get(part, _NOTHING)
    inside = isinstance(value, list | tuple) and isinstance(part, int) and part < len(value)
    return value[part] if inside else _NOTHING  # type: ignore[index]


def _message(detail: ErrorDetails) -> str:
    words = _WORDS.get(detail["type"])
    return words(detail) if words else _MARKER.sub("", detail["msg"])


_MARKER = re.compile(r"^(Value|Assertion) error, ")


def _expected(what: str) -> Callable[[ErrorDetails], str]:
    def words(detail: ErrorDetails) -> str:
        given = detail["input"]
        if given is None:
            return f"there is no value here: expected {what}"
        quoting = what == "text" and isinstance(given, bool | int | float)
        return f"expected {what}: put it in quotes" if quoting else f"expected {what}"

    return words


def _bound(words: str, key: str) -> Callable[[ErrorDetails], str]:
    return lambda detail: words.format(_plain(detail["ctx"][key]))


def _plain(number: object) -> str:
    return f"{number:g}" if isinstance(number, float) else str(number)


def _pattern(detail: ErrorDetails) -> str:
    pattern = str(detail["ctx"]["pattern"])
    return PATTERNS.get(pattern, f"the text has to match {pattern}")


def _one_of(detail: ErrorDetails) -> str:
    expected = str(detail["ctx"]["expected"]).replace("'", '"').replace(" or ", ", ")
    number = isinstance(detail["input"], int | float) and '"' in expected
    one_of = "one of " if ", " in expected else ""
    return f"expected {one_of}{expected}" + (": put it in quotes" if number else "")


_WORDS: dict[str, Callable[[ErrorDetails], str]] = {
    "missing": lambda detail: f'"{detail["loc"][-1]}" is missing',
    "extra_forbidden": lambda detail: f'"{detail["loc"][-1]}" is not known here',
    "string_type": _expected("text"),
    "string_sub_type": _expected("text"),
    "string_unicode": _expected("text"),
    "string_pattern_mismatch": _pattern,
    "string_too_short": _bound("expected at least {} character(s)", "min_length"),
    "string_too_long": _bound("expected at most {} characters", "max_length"),
    "too_short": _bound("expected at least {} of them", "min_length"),
    "too_long": _bound("expected at most {} of them", "max_length"),
    "int_type": _expected("a whole number"),
    "int_parsing": _expected("a whole number"),
    "int_from_float": _expected("a whole number"),
    "int_parsing_size": _expected("a smaller number"),
    "float_type": _expected("a number"),
    "float_parsing": _expected("a number"),
    "finite_number": _expected("a finite number"),
    "bool_type": _expected("true or false"),
    "bool_parsing": _expected("true or false"),
    "greater_than": _bound("has to be more than {}", "gt"),
    "greater_than_equal": _bound("has to be at least {}", "ge"),
    "less_than": _bound("has to be less than {}", "lt"),
    "less_than_equal": _bound("has to be at most {}", "le"),
    "literal_error": _one_of,
    "enum": _one_of,
    "model_type": _expected("a mapping of keys to values"),
    "model_attributes_type": _expected("a mapping of keys to values"),
    "dict_type": _expected("a mapping of keys to values"),
    "mapping_type": _expected("a mapping of keys to values"),
    "tuple_type": _expected("a list"),
    "list_type": _expected("a list"),
    "set_type": _expected("a list"),
    "frozen_set_type": _expected("a list"),
}


def _hint(detail: ErrorDetails, model: type[BaseModel], place: list[str | int]) -> str:
    if detail["type"] == "extra_forbidden":
        return nearest(str(place[-1]), known_keys(model, place[:-1]))
    if detail["type"] in ("literal_error", "enum") and isinstance(detail["input"], str):
        return nearest(detail["input"], re.findall(r"'([^']*)'", str(detail["ctx"]["expected"])))
    return ""


def known_keys(model: type[BaseModel], place: Iterable[str | int]) -> list[str]:
    """The keys that a file may write at a place inside of a model."""
    models = [model]
    for part in place:
        if isinstance(part, str):
            fields = [field for each in models for key, field in _keys(each).items() if key == part]
            models = [each for field in fields for each in models_in(field.annotation)]
    return [key for each in models for key in _keys(each)]


def _keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {key_of(name, field): field for name, field in model.model_fields.items()}
