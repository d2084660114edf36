"""JSON Schema (2020-12) of the configuration, for editors and for who writes it by program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apigateway.config.model import Configuration

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def configuration_schema(kinds: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, Any]:
    """The schema of a whole file.

    kinds: kind of policy to the schema of its settings. Given, a step may name these kinds only, and its
    `with` has to fit its kind; not given, any kind and any settings pass.
    """
    # The two modes differ here in the defaults only: these are written with their units.
    schema = Configuration.model_json_schema(by_alias=True, mode="serialization")
    if kinds is not None:
        _add_kinds(schema["$defs"], kinds)
    return {"$schema": DIALECT, **schema, "title": "API gateway configuration"}


def _add_kinds(definitions: dict[str, Any], kinds: Mapping[str, Mapping[str, Any]]) -> None:
    step = definitions["Step"]
    step["properties"]["policy"]["enum"] = sorted(kinds)
    step["allOf"] = [
        {
            "if": {"properties": {"policy": {"const": kind}}},
            "then": {"properties": {"with": {"$ref": _name_of(kind)}}, **_needs_settings(kinds[kind])},
        }
        for kind in sorted(kinds)
    ]
    for kind, schema in kinds.items():
        # With an $id of its own, "#/$defs/..." inside of it means its own definitions (2020-12, 8.2.1).
        definitions[f"policy {kind}"] = {**schema, "$id": _name_of(kind)}


def _name_of(kind: str) -> str:
    return f"urn:apigateway:policy:{kind}"


def _needs_settings(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"required": ["with"]} if schema.get("required") else {}
