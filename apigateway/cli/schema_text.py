"""JSON Schema of settings as tables for a reference page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

# The units of text that mean something, by the end of their pattern (config/fields.py).
_UNITS = {"(ms|s|m|h|d)$": "duration", "(B|KiB|MiB|GiB|kB|MB|GB)$": "size", "%$": "percentage"}
_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
}


def settings_tables(schema: Schema, level: int = 2) -> Iterator[str]:
    """Lines of Markdown: a table of the fields, then a section for each part, in the order they are named in.

    level: of the sections' headings.
    """
    definitions = schema.get("$defs", {})
    yield from _table(schema, definitions)
    waiting, seen = list(_named(schema)), set[str]()
    while waiting:
        name = waiting.pop(0)
        if name in seen:
            continue
        seen.add(name)
        part = definitions[name]
        yield from ("", f"{'#' * level} {name}", "", *str(part.get("description", "")).splitlines(), "")
        yield from _table(part, definitions)
        waiting.extend(_named(part))


def _named(schema: Schema) -> Iterator[str]:
    """The parts that a schema refers to, in order."""
    for field in schema.get("properties", {}).values():
        yield from _references(field)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("$ref"), str):
            yield _last(value["$ref"])
        for inner in value.values():
            yield from _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def _table(schema: Schema, definitions: Schema) -> Iterator[str]:
    required = schema.get("required", ())
    fields = schema.get("properties", {})
    if not fields:
        yield "It has no settings."
        return
    yield "| key | value | unless given | what it is for |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        default = "required" if name in required and "default" not in field else _default(field)
        cells = (f"`{name}`", _type_and_bounds(field), default, _description(field, definitions))
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _description(field: Schema, definitions: Schema) -> str:
    """A field's sentence; the one of its part where it says the same, which pydantic leaves out."""
    part = definitions.get(_last(field.get("$ref", "")), {})
    return str(field.get("description") or part.get("description", "")).partition("\n\n")[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _default(field: Schema) -> str:
    if "default" not in field:
        return ""
    default = field["default"]
    if default is None:
        return "none"
    if isinstance(default, dict) and "$ref" in field:
        return "as its parts say"
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _type_and_bounds(field: Schema) -> str:
    bounds = [words.format(field[key]) for key, words in _BOUNDS.items() if key in field and not _unit(field)]
    return ", ".join((type_text(field), *bounds))


def type_text(field: Schema) -> str:
    """What a value may be, in words."""
    if "$ref" in field:
        return f"[{_last(field['$ref'])}](#{_last(field['$ref']).lower()})"
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(type_text(each) for each in field[key] if each.get("type") != "null")
    if "allOf" in field:
        return type_text(field["allOf"][0])
    if field.get("type") == "array":
        return f"list of {type_text(field.get('items', {}))}"
    if field.get("type") == "object":
        inner = field.get("additionalProperties")
        return f"mapping to {type_text(inner)}" if isinstance(inner, dict) and inner else "mapping"
    names = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return _unit(field) or names.get(str(field.get("type")), "any value")


def _unit(field: Schema) -> str:
    pattern = str(field.get("pattern", ""))
    return next((name for end, name in _UNITS.items() if pattern.endswith(end)), "")


def _last(reference: str) -> str:
    return reference.rpartition("/")[2]
