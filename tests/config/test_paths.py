"""Paths: made absolute, and looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from apigateway.config.fields import FilePath, Settings
from apigateway.config.load import load_file
from apigateway.config.paths import absolute, check_files

from .builders import configuration

EXAMPLE = Path(__file__).with_name("example.yaml")


class Rule(Settings):
    schema_file: FilePath | None = None
    rules: tuple[Rule, ...] = ()
    text: str = "stays"


def test_every_path_of_the_example_becomes_absolute() -> None:
    written = load_file(EXAMPLE).configuration
    moved = absolute(written, "/etc/gateway")
    tls = moved.listeners[1].tls
    assert tls is not None
    assert (tls.certificates[0].cert, tls.certificates[0].key) == (
        "/etc/gateway/certs/a.pem",
        "/etc/gateway/certs/a.key",
    )
    assert (tls.client_auth.ca, tls.client_auth.crl) == (
        "/etc/gateway/certs/ca.pem",
        "/etc/gateway/certs/ca.crl",
    )
    assert (moved.data_dir, moved.policy_paths) == ("/etc/gateway/data", ("/etc/gateway/policies",))
    assert moved.references.files == ("/etc/gateway/secrets",)
    assert (moved.logs.access, moved.logs.error) == ("-", "-")
    assert moved.listeners[0].address == "127.0.0.1:8080"
    assert moved.apis is written.apis
    assert absolute(moved, "/elsewhere") == moved


@pytest.mark.parametrize(
    ("pointer", "value", "read"),
    [
        ("/logs/access", "logs/a.log", lambda c: c.logs.access == "/b/logs/a.log"),
        ("/logs/access", "off", lambda c: c.logs.access == "off"),
        ("/logs/error", "../e.log", lambda c: c.logs.error == "/e.log"),
        ("/listeners/0/address", "unix:run/a.sock", lambda c: c.listeners[0].address == "unix:/b/run/a.sock"),
        ("/data_dir", None, lambda c: c.data_dir is None),
        (
            "/upstreams/0/tls",
            {"certificate": {"cert": "c", "key": "k"}},
            lambda c: c.upstreams[0].tls.certificate.key == "/b/k",
        ),
        ("/certificates", [{"cert": "c", "key": "/k"}], lambda c: c.certificates[0].key == "/k"),
    ],
)
def test_paths_one_by_one(pointer: str, value: object, read: object) -> None:
    assert callable(read)
    assert read(absolute(configuration(pointer, value), "/b"))


def test_settings_of_a_policy_may_hold_themselves() -> None:
    moved = absolute(Rule(rules=(Rule(schema_file="a.json"),)), Path("/b"))
    assert moved.rules[0].schema_file == "/b/a.json"
    assert moved.text == "stays"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "a.pem").write_text("")
    (tmp_path / "certs" / "a.key").mkdir()
    (tmp_path / "policies").write_text("")
    problems = check_files(load_file(EXAMPLE).configuration, tmp_path)
    assert {problem.pointer: problem.message for problem in problems} == {
        "/listeners/1/tls/certificates/0/key": f"{tmp_path}/certs/a.key is not a file",
        "/listeners/1/tls/client_auth/ca": f"there is no {tmp_path}/certs/ca.pem",
        "/listeners/1/tls/client_auth/crl": f"there is no {tmp_path}/certs/ca.crl",
        "/policy_paths/0": f"{tmp_path}/policies is not a folder",
        "/references/files/0": f"there is no {tmp_path}/secrets",
    }


def test_what_is_written_needs_its_folder_only(tmp_path: Path) -> None:
    assert check_files(configuration("/logs/access", "access.log"), tmp_path) == ()
    [problem] = check_files(configuration("/logs/access", "logs/access.log"), tmp_path)
    assert (problem.pointer, problem.message) == ("/logs/access", f"there is no folder {tmp_path}/logs")
    assert list(tmp_path.iterdir()) == []
