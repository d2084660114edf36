"""Canonical text, digests, and what is shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.config.fields import format_percent, parse_percent
from apigateway.config.load import configuration_of, load_file, load_text
from apigateway.config.model import Retry, RevisionSettings, Timeouts
from apigateway.config.revision import canonical, digest, plain, short_digest, withheld

from .builders import KEY_HASH, TOKEN_HASH, changed, configuration, document

EXAMPLE = load_file(Path(__file__).with_name("example.yaml")).configuration


@pytest.mark.parametrize("defaults", [True, False])
def test_what_is_written_reads_the_same(defaults: bool) -> None:
    assert configuration_of(json.loads(json.dumps(plain(EXAMPLE, defaults=defaults)))) == EXAMPLE
    again = load_text(json.dumps(plain(EXAMPLE, defaults=defaults)), name="f.json", format="json")
    assert again.configuration == EXAMPLE


def test_a_revision_reads_the_same_from_its_canonical_text() -> None:
    again = RevisionSettings.model_validate(json.loads(canonical(EXAMPLE.revision)))
    assert again == EXAMPLE.revision
    assert canonical(again) == canonical(EXAMPLE.revision)


def test_units_are_kept() -> None:
    written = plain(configuration("/upstreams/0/timeouts", {"connect": "1500ms"}), defaults=False)
    assert written["upstreams"][0]["timeouts"] == {"connect": "1500ms"}
    assert Timeouts.model_validate(Timeouts().model_dump()) == Timeouts()


@given(st.decimals(min_value=0, max_value=100, places=6))
def test_a_percentage_reads_the_same(percent: object) -> None:
    share = parse_percent(f"{percent:f}%")
    assert parse_percent(format_percent(share)) == share


def test_a_percentage_is_written_plainly() -> None:
    assert Retry().model_dump()["budget"] == "20%"


def test_the_digest_is_of_what_is_meant() -> None:
    same = document()
    same["upstreams"][0]["balance"] = "round-robin"
    same["upstreams"][0]["timeouts"] = {"connect": "2000ms"}
    same["apis"][0] = dict(reversed(same["apis"][0].items()))
    same["listeners"][0]["address"] = "127.0.0.1:9999"
    assert digest(configuration_of(same).revision) == digest(configuration().revision)
    other = changed("/upstreams/0/timeouts/connect", "2001ms")
    assert digest(configuration_of(other).revision) != digest(configuration().revision)


def test_the_digest_is_known() -> None:
    name = digest(EXAMPLE.revision)
    assert len(name) == 64 and set(name) <= set("0123456789abcdef")
    assert short_digest(EXAMPLE.revision) == name[:16]
    empty = RevisionSettings()
    assert canonical(empty) == "{}"
    assert short_digest(empty) == "44136fa355b3678a"  # of "{}", by sha256sum


def test_hashes_are_withheld_and_the_rest_is_shown() -> None:
    shown = withheld(EXAMPLE)
    assert shown["consumers"][0] == {
        "name": "acme",
        "api_keys": [{"sha256": "***", "expires": None}],
        "roles": ["partner"],
        "scopes": [],
    }
    text = json.dumps(shown)
    assert KEY_HASH not in text and TOKEN_HASH not in text
    assert shown["listeners"][1]["tls"]["certificates"][0]["key"] == "certs/a.key"
    assert shown["upstreams"][0]["timeouts"]["total"] == "1m"
    assert shown["apis"][0]["pre_flow"]["request"][0]["with"] == {"header": "X-API-Key"}


def test_what_is_named_like_a_secret_is_withheld_in_settings_of_steps() -> None:
    settings = {
        "client_secret": "a-secret",
        "Password": 12345,
        "key": "k-secret",
        "set": {"Authorization": "Bearer b-secret", "X-Api-Key": "c-secret", "X-Tier": "gold"},
        "tokens": [{"value": "d-secret", "active": True}],
        "key_header": "X-Key",
    }
    step = {"policy": "set-headers", "with": settings}
    for pointer in ("/pre_flow/request", "/error_flow", "/apis/0/routes/0/post_flow/response"):
        shown = json.dumps(withheld(configuration(pointer, [step])))
        assert 'secret"' not in shown.replace('"client_secret"', "") and "12345" not in shown
        assert '"X-Tier": "gold"' in shown and '"key_header": "X-Key"' in shown and '"active": true' in shown
