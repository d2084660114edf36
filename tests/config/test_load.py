"""From a text to a valid configuration, or to everything that is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from apigateway.config.check import check
from apigateway.config.document import MAX_SIZE
from apigateway.config.load import load_file, load_text
from apigateway.config.model import Match, Step
from apigateway.errors import ConfigurationRefused, Problem

from .builders import document

EXAMPLE = Path(__file__).with_name("example.yaml")

BASE = """\
version: 1
listeners:
  - {name: public, address: "127.0.0.1:8080"}
upstreams:
  - name: users
    targets: [{url: "http://127.0.0.1:9001"}]
apis:
  - name: users
    routes:
      - {name: all, upstream: users}
"""


def refused(text: str) -> list[tuple[str, int, str, str]]:
    with pytest.raises(ConfigurationRefused) as refusal:
        load_text(text, name="f.yaml")
    assert all(problem.file == "f.yaml" for problem in refusal.value.problems)
    return [(each.pointer, each.line, each.message, each.hint) for each in refusal.value.problems]


def test_the_example_loads_and_nothing_is_odd_about_it() -> None:
    loaded = load_file(EXAMPLE)
    assert check(loaded.configuration) == ()
    users = loaded.configuration.upstreams[0]
    assert users.retry.retry_on == ("connect-failure", "reset-before-response", "502", "503")
    assert (users.retry.budget, users.retry.buffer, users.timeouts.connect) == (0.2, 65536, 2.0)
    api = loaded.configuration.apis[0]
    assert api.pre_flow.request[1] == Step(
        policy="rate-limit", settings={"limit": 100, "per": "1m", "by": "consumer"}
    )
    assert loaded.configuration.listeners[0].limits.max_target == 8192


def test_json_and_yaml_are_one_model(tmp_path: Path) -> None:
    as_json = tmp_path / "gateway.json"
    loaded = load_file(EXAMPLE)
    as_json.write_text(json.dumps(loaded.document.value))
    assert load_file(as_json).configuration == loaded.configuration


def test_defaults() -> None:
    configuration = load_text(BASE, name="f.yaml").configuration
    assert configuration.apis[0].routes[0].match == Match(path_prefix="/")
    assert configuration.management is None
    assert configuration.environment == "default"


def test_the_revision_is_its_half() -> None:
    configuration = load_file(EXAMPLE).configuration
    revision = configuration.revision
    assert revision.apis is configuration.apis
    assert not hasattr(revision, "listeners")


@pytest.mark.parametrize(
    ("text", "pointer", "line", "message", "hint"),
    [
        ("lisseners: []\n" + BASE, "/lisseners", 1, '"lisseners" is not known here', "listeners"),
        (BASE + "zzz: 1\n", "/zzz", 11, '"zzz" is not known here', ""),
        (
            BASE.replace("url:", "wieght: 1, url:"),
            "/upstreams/0/targets/0/wieght",
            6,
            '"wieght" is not known here',
            "weight",
        ),
        (BASE.replace("version: 1\n", ""), "/version", 1, '"version" is missing', ""),
        (BASE.replace("version: 1", "version: 2"), "/version", 1, "expected 1", ""),
        (BASE.replace("name: all, ", ""), "/apis/0/routes/0/name", 10, '"name" is missing', ""),
        (
            BASE.replace("upstream: users}", "upstream: 3}"),
            "/apis/0/routes/0/upstream",
            10,
            "expected the name of an upstream, or a list of {when, upstream}",
            "",
        ),
        (
            BASE.replace("upstream: users}", "upstream: {a: b}}"),
            "/apis/0/routes/0/upstream",
            10,
            "expected the name of an upstream, or a list of {when, upstream}",
            "",
        ),
        (
            BASE.replace("upstream: users}", "upstream: []}"),
            "/apis/0/routes/0/upstream",
            10,
            "expected at least 1 of them",
            "",
        ),
        (
            BASE.replace("upstream: users}", "upstream: [{wen: a, upstream: users}]}"),
            "/apis/0/routes/0/upstream/0/wen",
            10,
            '"wen" is not known here',
            "when",
        ),
        (
            BASE.replace("upstream: users}", "upstream: a b}"),
            "/apis/0/routes/0/upstream",
            10,
            "a name begins with a letter or digit, and goes on with letters, digits and . _ : -",
            "",
        ),
        (BASE + "watch: on\n", "/watch", 11, "expected true or false", ""),
        (BASE + "drain:\n", "/drain", 11, "there is no value here: expected a mapping of keys to values", ""),
        (BASE + "workers: 0\n", "/workers", 11, 'expected a number from 1 to 256, or "auto"', ""),
        (BASE + "policy_paths: policies\n", "/policy_paths", 11, "expected a list", ""),
        (
            BASE + "drain: {notice: 2}\n",
            "/drain/notice",
            11,
            'a duration needs its unit: write "2s" if that is what is meant; units are ms, s, m, h or d',
            "",
        ),
        (BASE + "drain: {notice: 0s}\n", "/drain/notice", 11, "has to be more than 0", ""),
        (
            BASE.replace("url:", "weight: '1', url:"),
            "/upstreams/0/targets/0/weight",
            6,
            "expected a whole number",
            "",
        ),
        (
            BASE.replace("url:", "weight: true, url:"),
            "/upstreams/0/targets/0/weight",
            6,
            "expected a whole number",
            "",
        ),
        (
            BASE.replace("url:", "weight: -1, url:"),
            "/upstreams/0/targets/0/weight",
            6,
            "has to be at least 0",
            "",
        ),
        (
            BASE.replace("url:", "role: failovr, url:"),
            "/upstreams/0/targets/0/role",
            6,
            'expected one of "primary", "failover", "canary", "mirror"',
            "failover",
        ),
        (
            BASE.replace("    targets", "    balance: fastest\n    targets"),
            "/upstreams/0/balance",
            6,
            'expected one of "round-robin", "least-connections", "least-recently-used", "random", '
            '"consistent-hash", "ewma"',
            "",
        ),
        (
            BASE.replace("    targets", "    retry: {budget: 20}\n    targets"),
            "/upstreams/0/retry/budget",
            6,
            'expected a percentage, as in "20%"',
            "",
        ),
        (
            BASE.replace("    targets", "    retry: {budget: 120%}\n    targets"),
            "/upstreams/0/retry/budget",
            6,
            "has to be at most 1",
            "",
        ),
        (
            BASE.replace("    targets", "    fuse: {}\n    targets"),
            "/upstreams/0/fuse",
            6,
            '"fuse" is not known here',
            "",
        ),
        (
            BASE.replace("- name: users\n    routes", "- name: users\n    api_version: 1\n    routes"),
            "/apis/0/api_version",
            9,
            "expected text: put it in quotes",
            "",
        ),
        (
            BASE.replace("{name: all,", "{name: all, match: {methods: [get]},"),
            "/apis/0/routes/0/match/methods/0",
            10,
            "a method is written in capitals, as in GET",
            "",
        ),
        (
            BASE.replace("{name: all,", "{name: all, match: {path: /, headers: {x-a: 1}},"),
            "/apis/0/routes/0/match/headers/x-a",
            10,
            "expected text: put it in quotes",
            "",
        ),
        (
            BASE.replace("{name: all,", "{name: all, pre_flow: {request: [{policy: a, settings: {}}]},"),
            "/apis/0/routes/0/pre_flow/request/0/settings",
            10,
            '"settings" is not known here',
            "",
        ),
        (
            BASE.replace("{name: all,", "{name: all, pre_flow: {request: [{policy: a, wiht: {}}]},"),
            "/apis/0/routes/0/pre_flow/request/0/wiht",
            10,
            '"wiht" is not known here',
            "with",
        ),
        (
            BASE.replace('8080"}', '8080", tls: {min_version: 1.3}}'),
            "/listeners/0/tls/min_version",
            3,
            'expected one of "1.2", "1.3": put it in quotes',
            "",
        ),
        ("- a\n", "", 1, "expected a mapping of keys to values", ""),
        ("", "", 0, "there is nothing in it", ""),
    ],
)
def test_one_thing_wrong(text: str, pointer: str, line: int, message: str, hint: str) -> None:
    assert refused(text) == [(pointer, line, message, hint)]


def test_all_errors_at_once_in_the_order_of_the_file() -> None:
    text = "watch: on\n" + BASE.replace("name: all, ", "").replace("url:", "weight: 1.5, url:") + "zzz: 1\n"
    assert [line for _, line, _, _ in refused(text)] == [1, 7, 11, 12]


def test_a_value_is_never_repeated() -> None:
    secret = "hunter2-of-the-house"
    text = BASE + (
        f"management: {{tokens: [{{name: ops, sha256: {secret}}}], address: [{secret}]}}\n"
        f"watch: {secret}\ndrain: {{notice: {secret}}}\nworkers: {secret}\n"
    )
    with pytest.raises(ConfigurationRefused) as refusal:
        load_text(text, name="f.yaml")
    assert len(refusal.value.problems) == 5
    assert secret not in str(refusal.value)
    assert "pydantic" not in str(refusal.value)


def test_what_is_broken_yaml_is_not_validated_as_well() -> None:
    assert refused("a: 1\na: 2\n") == [("/a", 2, "the key is written twice; first in line 1", "")]


def test_a_later_problem_finds_its_line() -> None:
    loaded = load_text(BASE, name="f.yaml")
    [first, second] = loaded.located(
        [Problem("/apis/0/routes/0/match/path", "m"), Problem("/upstreams/0/name", "m")]
    )
    assert (first.line, second.line) == (5, 10)
    assert str(first) == "f.yaml:5: /upstreams/0/name: m"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    not_text = tmp_path / "latin.yaml"
    not_text.write_bytes(b"version: 1\nenvironment: \xe9\n")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (MAX_SIZE + 1))
    cases = {
        tmp_path / "missing.yaml": (0, "cannot be read: No such file or directory"),
        tmp_path: (0, "cannot be read: Is a directory"),
        not_text: (2, "not UTF-8"),
        large: (0, "larger than 32 MiB"),
    }
    for path, expected in cases.items():
        with pytest.raises(ConfigurationRefused) as refusal:
            load_file(path)
        [problem] = refusal.value.problems
        assert (problem.file, problem.line, problem.message) == (str(path), *expected)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(document()).encode())
    assert load_file(path).configuration.version == 1
