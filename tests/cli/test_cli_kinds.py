"""`apigateway schema`, `docs`, `new-policy` and `test-policy`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import jsonschema_rs
import pytest
from click.testing import Result
from files import SHOP, written

from apigateway.config.load import load_text
from apigateway.config.yaml_text import read_yaml
from apigateway.flow.registry import discover

Call = Callable[..., Result]
KINDS = list(discover(entry_points=False).names())
LISTENERS = 'version: 1\nlisteners: [{name: a, address: "127.0.0.1:1"}]\n'

# ---- schema


def test_schema_of_everything_takes_a_good_file_and_no_other(call: Call) -> None:
    result = call("schema")
    assert result.exit_code == 0
    schema = jsonschema_rs.validator_for(json.loads(result.stdout))
    value = read_yaml(SHOP, "shop.yaml").value
    assert schema.is_valid(value)
    assert not schema.is_valid(read_yaml(SHOP.replace("limit: 2", "limit: two"), "shop.yaml").value)
    assert not schema.is_valid(read_yaml(SHOP.replace("policy: maintenance", "policy: mantenance"), "shop.yaml").value)


@pytest.mark.parametrize("kind", KINDS)
def test_schema_of_a_kind_takes_its_examples(call: Call, kind: str) -> None:
    result = call("schema", kind)
    assert result.exit_code == 0
    schema = jsonschema_rs.validator_for(json.loads(result.stdout))
    registered = discover(entry_points=False).get(kind)
    assert registered is not None
    for example in registered.examples:
        assert schema.is_valid(json.loads(json.dumps(dict(example.settings)))), example.title


def test_schema_of_an_unknown_kind(call: Call) -> None:
    result = call("schema", "rate-limits")
    assert (result.exit_code, result.stderr) == (3, "there is no policy 'rate-limits' (did you mean 'rate-limit'?)\n")


# ---- docs


def test_docs_has_a_page_for_every_kind_and_is_the_same_each_time(call: Call, tmp_path: Path) -> None:
    assert call("docs", tmp_path / "a").exit_code == 0
    assert call("docs", tmp_path / "b").exit_code == 0
    first, second = (pages(tmp_path / name) for name in ("a", "b"))
    assert first == second
    names = {"index.md", "configuration.md", "command-line.md", *(f"policies/{kind}.md" for kind in KINDS)}
    assert set(first) == names


def pages(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*.md")}


def test_docs_check_tells_what_is_out_of_date(call: Call, tmp_path: Path) -> None:
    assert call("docs", tmp_path).exit_code == 0
    assert call("docs", tmp_path, "--check").exit_code == 0
    (tmp_path / "policies/cors.md").write_text("edited\n")
    (tmp_path / "configuration.md").unlink()
    generated = (tmp_path / "index.md").read_text()
    written(tmp_path / "policies", generated, "gone.md")
    written(tmp_path, "# By hand\n", "notes.md")
    stale = call("docs", tmp_path, "--check")
    assert stale.exit_code == 1
    named = [Path(line.partition(":")[0]).name for line in stale.stderr.splitlines()]
    assert sorted(named) == ["configuration.md", "cors.md", "gone.md"]
    assert "3 changed" in call("docs", tmp_path).stdout
    assert call("docs", tmp_path, "--check").exit_code == 0
    assert (tmp_path / "notes.md").exists() and not (tmp_path / "policies/gone.md").exists()


def test_docs_examples_are_parts_of_a_configuration(call: Call, tmp_path: Path) -> None:
    call("docs", tmp_path)
    parts = [
        part
        for page in (tmp_path / "policies").glob("*.md")
        for part in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)
    ]
    assert len(parts) > len(KINDS)
    for part in parts:
        assert load_text(LISTENERS + part, name="part").configuration.version == 1


def test_docs_name_every_setting(call: Call, tmp_path: Path) -> None:
    call("docs", tmp_path)
    page = (tmp_path / "policies/rate-limit.md").read_text()
    for key in ("limit", "per", "by", "rules", "algorithm", "cost", "scope", "headers", "on_store_failure"):
        assert f"| `{key}` |" in page
    assert "### Rule" in page and "duration" in page
    configuration = (tmp_path / "configuration.md").read_text()
    assert "## ListenerTls" in configuration and '`"75s"`' in configuration


# ---- new-policy and test-policy


def test_a_new_policy_passes_and_is_found(call: Call, tmp_path: Path) -> None:
    made = call("new-policy", "check-ticket", tmp_path)
    file = tmp_path / "check_ticket.py"
    assert (made.exit_code, file.exists()) == (0, True)
    tested = call("test-policy", file)
    assert (tested.exit_code, tested.stdout.splitlines()[-1]) == (0, "check-ticket: 1 example, all fine")
    served = written(tmp_path, SHOP.replace("security-headers", "check-ticket") + "policy_paths: [.]\n")
    assert call("check", served).exit_code == 0
    assert call("docs", tmp_path / "docs", "--policies", tmp_path).exit_code == 0
    assert "X-Ticket" in (tmp_path / "docs/policies/check-ticket.md").read_text()
    assert json.loads(call("schema", "check-ticket", "--policies", tmp_path).stdout)["properties"]["header"]


@pytest.mark.parametrize("name", ["Check", "check_ticket", "-a", "1a", "cors", "../x"])
def test_a_policy_needs_a_name_of_its_own(call: Call, tmp_path: Path, name: str) -> None:
    result = call("new-policy", "--", name, tmp_path)
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])


def test_a_policy_file_is_not_written_over(call: Call, tmp_path: Path) -> None:
    file = written(tmp_path, "mine\n", "check_ticket.py")
    assert call("new-policy", "check-ticket", tmp_path).exit_code == 2
    assert file.read_text() == "mine\n"


def test_a_policy_whose_example_does_not_hold_fails(call: Call, tmp_path: Path) -> None:
    call("new-policy", "check-ticket", tmp_path)
    file = tmp_path / "check_ticket.py"
    file.write_text(file.read_text().replace("status=400", "status=403"))
    result = call("test-policy", file)
    assert result.exit_code == 1
    assert "FAILED  A ticket is required" in result.stdout and "403" in result.stdout
    told = json.loads(call("test-policy", file, "--json").stdout)
    assert (told["kind"], told["ok"], told["examples"][0]["ok"]) == ("check-ticket", False, False)


def test_a_policy_of_the_package_can_be_tested_by_its_file(call: Call) -> None:
    registered = discover(entry_points=False).get("set-headers")
    assert registered is not None
    assert call("test-policy", registered.source).exit_code == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [("KIND = 1 / 0\n", "ZeroDivisionError"), ("", "is not a policy file"), ("KIND = 1\n", "no KIND = kind(...)")],
)
def test_what_is_no_policy_is_told(call: Call, tmp_path: Path, text: str, told: str) -> None:
    result = call("test-policy", written(tmp_path, text, "some.py"))
    assert result.exit_code == 1
    assert told in result.stderr
