"""The JSON Schema says what the model says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel

from apigateway.config import model
from apigateway.config.load import load_file
from apigateway.config.revision import plain
from apigateway.config.schema import configuration_schema

from .builders import changed, document

EXAMPLE = load_file(Path(__file__).with_name("example.yaml"))

RATE_LIMIT = {
    "type": "object",
    "properties": {"limit": {"$ref": "#/$defs/Positive"}},
    "required": ["limit"],
    "$defs": {"Positive": {"type": "integer", "minimum": 1}},
}


def validator(schema: dict[str, Any]) -> Any:
    def refuse(uri: str) -> Any:
        raise AssertionError(f"the schema points outside: {uri}")

    return jsonschema_rs.validator_for(schema, retriever=refuse)


PLAIN = validator(configuration_schema())
WITH_KINDS = validator(configuration_schema({"rate-limit": RATE_LIMIT, "maintenance": {"type": "object"}}))


def test_the_schema_is_valid_json_schema() -> None:
    schema = configuration_schema({"rate-limit": RATE_LIMIT})
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.meta.validate(json.loads(json.dumps(schema)))


@pytest.mark.parametrize("values", [EXAMPLE.document.value, plain(EXAMPLE.configuration), document()])
def test_good_configurations_fit(values: object) -> None:
    assert [error.message for error in PLAIN.iter_errors(values)] == []


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/zzz", 1),
        ("/version", 2),
        ("/watch", "on"),
        ("/drain/notice", 2),
        ("/upstreams/0/targets/0/weight", -1),
        ("/upstreams/0/balance", "fastest"),
        ("/apis/0/routes/0/upstream", 3),
        ("/apis/0/routes/0/match/methods", ["get"]),
        ("/listeners", []),
    ],
)
def test_bad_configurations_do_not(pointer: str, value: object) -> None:
    assert not PLAIN.is_valid(changed(pointer, value))


@pytest.mark.parametrize(
    ("step", "fits"),
    [
        ({"policy": "rate-limit", "with": {"limit": 1}}, True),
        ({"policy": "rate-limit", "with": {"limit": 0}}, False),
        ({"policy": "rate-limit", "with": {}}, False),
        ({"policy": "rate-limit"}, False),
        ({"policy": "maintenance"}, True),
        ({"policy": "rate-limt", "with": {"limit": 1}}, False),
    ],
)
def test_settings_fit_their_kind(step: object, fits: bool) -> None:
    assert WITH_KINDS.is_valid(changed("/pre_flow/request", [step])) is fits


def test_every_setting_has_its_sentence() -> None:
    models = [each for each in vars(model).values() if isinstance(each, type) and issubclass(each, BaseModel)]
    silent = [
        f"{each.__name__}.{name}"
        for each in models
        for name, f in each.model_fields.items()
        if not f.description
    ]
    assert silent == []
    assert [each.__name__ for each in models if not each.__doc__] == []
    assert len(models) > 30


def test_defaults_are_written_with_their_units() -> None:
    timeouts = configuration_schema()["$defs"]["Timeouts"]["properties"]
    assert timeouts["connect"]["default"] == "2s"
