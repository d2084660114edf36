"""Discovery in four places, and what is said of a policy file that does not keep the contract."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent

import pytest
from pydantic import BaseModel

import twisted.plugins
from apigateway.flow.registry import Registry, discover

OWN = {
    "api-key",
    "client-ban",
    "concurrency-limit",
    "cors",
    "idempotency",
    "ip-filter",
    "maintenance",
    "message-size",
    "mock",
    "problem-details",
    "quota",
    "rate-limit",
    "redirect",
    "rewrite-path",
    "security-headers",
    "set-headers",
}

POLICY = '''
    """Stamps requests."""

    from __future__ import annotations

    from pydantic import Field
    from zope.interface import implementer

    from apigateway.config.model import Settings
    from apigateway.flow.interfaces import IOnRequest
    from apigateway.flow.kinds import WATCH, Call, Example, kind


    class Inner(Settings):
        """Inside."""

        depth: int = Field(default=1, ge=0, description="How deep.")


    class Config(Settings):
        """What is stamped."""

        text: str = Field(default="here", description="The text.")
        inner: Inner = Field(default=Inner(), description="More of it.")


    @implementer(IOnRequest)
    class Stamp:
        """Stamps requests."""

        def __init__(self, config: Config) -> None:
            self.config = config

        def provision(self, services):
            """Nothing."""

        def close(self):
            """Nothing."""

        def on_request(self, exchange):
            """Stamp."""
            exchange.request.headers.set(b"x-stamp", self.config.text.encode())


    KIND = kind("stamp", config=Config, policy=Stamp)

    EXAMPLES = (Example("A stamp", {}, (Call(sent_fields={"x-stamp": "here"}),)),)
'''


def write(folder: Path, text: str = POLICY, name: str = "stamp.py") -> Path:
    path = folder / name
    path.write_text(dedent(text).lstrip("\n"))
    return path


def found(*folders: Path, entry_points: bool = False) -> Registry:
    return discover([str(folder) for folder in folders], entry_points=entry_points)


def test_our_own_are_found_and_keep_the_contract():
    registry = discover()
    assert registry.problems == ()
    assert set(registry.names()) >= OWN
    for name in OWN:
        registered = registry.get(name)
        assert registered is not None and registered.origin == "package"
        assert Path(registered.source).name == name.replace("-", "_") + ".py"
        assert len(registered.examples) >= 3, name
        assert len(registered.about) > 100, name


def test_every_example_of_ours_has_settings_that_are_taken():
    registry = found()
    for name in OWN:
        registered = registry.get(name)
        assert registered is not None
        for example in registered.examples:
            config, problems = registry.settings(name, example.settings, "")
            assert config is not None, (name, example.title, problems)
            assert registered.kind.policy(config) is not None
            assert example.place in registered.kind.places
            for step in (*example.then, *example.before):
                assert registry.settings(step["policy"], step.get("with", {}), "")[1] == []


# ---- the other three places


def test_a_file_in_policy_paths(tmp_path):
    path = write(tmp_path)
    write(tmp_path, "raise ValueError", "_not_a_policy.py")
    registry = found(tmp_path)
    assert registry.problems == ()
    registered = registry.get("stamp")
    assert registered is not None
    assert (registered.source, registered.origin, registered.about) == (str(path), "path", "Stamps requests.")
    assert registered.examples[0].title == "A stamp"
    assert found(path).names() == registry.names()


def test_no_bytecode_is_written(tmp_path):
    write(tmp_path)
    found(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["stamp.py"]


def test_an_edit_takes_effect_at_the_next_discovery_and_not_before(tmp_path):
    write(tmp_path)
    before = found(tmp_path)
    modules = set(sys.modules)
    # The same second and the same length: what bytecode caches do not see.
    write(tmp_path, POLICY.replace('"here"', '"gone"'))
    after = found(tmp_path)
    config = [registry.settings("stamp", {}, "")[0] for registry in (before, after)]
    assert [getattr(each, "text", None) for each in config] == ["here", "gone"]
    assert before.kind("stamp").policy is not after.kind("stamp").policy
    assert set(sys.modules) == modules


def test_an_edit_that_breaks_leaves_the_elder_to_work(tmp_path):
    write(tmp_path)
    before = found(tmp_path)
    write(tmp_path, "import nowhere_at_all")
    (problem,) = found(tmp_path).problems
    assert "No module named 'nowhere_at_all'" in problem.message
    policy = before.kind("stamp").policy
    assert policy.__module__ in sys.modules
    assert policy(before.settings("stamp", {"text": "x"}, "")[0]).config.text == "x"


def test_a_module_among_twisted_plugins(tmp_path, monkeypatch):
    monkeypatch.setattr(
        twisted.plugins, "__path__", [*twisted.plugins.__path__, str(tmp_path), str(tmp_path)]
    )
    path = write(tmp_path)
    write(tmp_path, "raise RuntimeError('run by mistake')", "somebody_elses_plugin.py")
    registry = found()
    assert registry.problems == ()
    registered = registry.get("stamp")
    assert registered is not None and (registered.origin, registered.source) == ("plugins", str(path))


def test_a_broken_module_among_twisted_plugins_is_not_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(twisted.plugins, "__path__", [str(tmp_path)])
    path = write(tmp_path, "import nowhere_at_all\nKIND = None")
    (problem,) = found().problems
    assert problem.file == str(path)
    assert (
        "Traceback" in problem.message and "nowhere_at_all" in problem.message and "line 1" in problem.message
    )


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a distribution of one module with an entry point."""

    def install(text: str, value: str) -> Path:
        path = write(tmp_path, text, "installed_stamp.py")
        folder = tmp_path / "stamp-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: stamp\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[apigateway.policies]\nstamp = {value}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        return path

    yield install
    sys.modules.pop("installed_stamp", None)


@pytest.mark.parametrize("value", ["installed_stamp", "installed_stamp:KIND"])
def test_an_entry_point(installed, value):
    path = installed(POLICY, value)
    registry = found(entry_points=True)
    assert registry.problems == ()
    registered = registry.get("stamp")
    assert registered is not None
    assert (registered.module, registered.source, registered.origin) == (
        "installed_stamp",
        str(path),
        "entry-point",
    )
    assert found(entry_points=False).get("stamp") is None


def test_a_broken_entry_point_is_not_skipped(installed):
    installed("1 / 0", "installed_stamp")
    (problem,) = found(entry_points=True).problems
    assert "entry point stamp = installed_stamp" in problem.message
    assert "ZeroDivisionError" in problem.message


# ---- what is wrong


@pytest.mark.parametrize(
    ("text", "within"),
    [
        ("def broken(:\n    pass", "SyntaxError"),
        ("raise SystemError('at import')", "at import"),
        ("\x00", "null bytes"),
        ("raise SystemExit(3)", "SystemExit"),
    ],
)
def test_a_file_that_does_not_load(tmp_path, text, within):
    path = write(tmp_path, text)
    registry = found(tmp_path)
    (problem,) = registry.problems
    assert (problem.pointer, problem.file) == ("/policy_paths/0", str(path))
    assert "Traceback" in problem.message and within in problem.message
    assert set(registry.names()) >= OWN


CONFIG_BASE = "class Config(Settings):"
DECLARED = "@implementer(IOnRequest)"
EXAMPLE = "EXAMPLES = (Example("


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"""Stamps requests."""\n\n    from', "from", "no docstring"),
        ("KIND = kind(", "KIND = dict(name=", "no KIND"),
        ('kind("stamp"', 'kind("Stamp Me"', "lower case with dashes"),
        (EXAMPLE, "OTHER = (Example(", "no EXAMPLES"),
        (EXAMPLE, "EXAMPLES = () and (Example(", "no EXAMPLES"),
        ('description="The text."', 'title="The text."', "Config.text has no description"),
        ('description="How deep."', 'title="How deep."', "Inner.depth has no description"),
        (CONFIG_BASE, "class Config(Settings, frozen=False):", "Config is not frozen"),
        (CONFIG_BASE, 'class Config(Settings, extra="ignore"):', "Config takes unknown keys"),
        ("config=Config", "config=dict", "not a pydantic model"),
        ("policy=Stamp", "policy=print", "policy is not a class"),
        (DECLARED, "", "implements no hook"),
        ("def close(self):", "def shut(self):", "close"),
        ("def on_request(self, exchange):", "def on_request(self):", "does not keep its promise"),
        ("def on_request(self, exchange):", "def on_requests(self, exchange):", "does not keep its promise"),
        (
            "def close(self):",
            "def on_log(self, exchange):\n            pass\n\n        def close(self):",
            "has on_log but does not declare IOnLog",
        ),
        ("policy=Stamp)", "policy=Stamp, request_body=WATCH)", "does not declare IOnRequestBody"),
        ("policy=Stamp)", 'policy=Stamp, response_body="all")', "neither a BodyNeed nor a function"),
        ("policy=Stamp)", 'policy=Stamp, places=("request", "response"))', "under response"),
        ("policy=Stamp)", 'policy=Stamp, places=("error",))', "error flow"),
        ("policy=Stamp)", 'policy=Stamp, places=("anywhere",))', "places are"),
    ],
)
def test_a_file_that_does_not_keep_the_contract(tmp_path, old, new, message):
    assert POLICY.count(old) >= 1
    path = write(tmp_path, POLICY.replace(old, new, 1))
    registry = found(tmp_path)
    assert any(message in problem.message for problem in registry.problems), registry.problems
    assert {problem.file for problem in registry.problems} == {str(path)}
    assert registry.get("stamp") is None


def test_everything_wrong_with_a_file_is_told_at_once(tmp_path):
    text = POLICY.replace('description="The text."', 'title="x"').replace(EXAMPLE, "OTHER = (Example(")
    write(tmp_path, text.replace(CONFIG_BASE, "class Config(Settings, frozen=False):"))
    assert len(found(tmp_path).problems) == 3


def test_two_files_with_one_kind(tmp_path):
    first, second = write(tmp_path, name="a.py"), write(tmp_path, name="b.py")
    (problem,) = found(tmp_path).problems
    assert problem.file == str(second)
    assert "two policies 'stamp'" in problem.message and str(first) in problem.message


def test_a_file_cannot_take_the_place_of_one_of_ours(tmp_path):
    write(tmp_path, POLICY.replace('kind("stamp"', 'kind("ip-filter"'))
    registry = found(tmp_path)
    assert "two policies 'ip-filter'" in registry.problems[0].message
    registered = registry.get("ip-filter")
    assert registered is not None and registered.origin == "package"


def test_a_folder_that_is_not_there(tmp_path):
    write(tmp_path)
    (problem,) = found(tmp_path, tmp_path / "nowhere").problems
    assert problem.pointer == "/policy_paths/1"
    assert "nowhere" in problem.message


# ---- settings


@pytest.fixture(scope="module")
def registry() -> Registry:
    return found()


def test_names_and_hints(registry):
    assert registry.names() == tuple(sorted(OWN))
    assert registry.get("no-such") is None and registry.kind("no-such") is None
    assert registry.nearest("rate_limits") == "rate-limit"
    assert registry.nearest("zzz") == ""


def test_settings_that_are_fine(registry):
    config, problems = registry.settings("message-size", {"max": "64KiB"}, "/x")
    assert isinstance(config, BaseModel) and problems == []
    assert getattr(config, "max", None) == 65536


def test_settings_with_every_error(registry):
    config, problems = registry.settings(
        "mock", {"statsu": 1, "status": 900, "delay": 5, "headers": []}, "/a/with"
    )
    assert config is None
    assert {problem.pointer: problem.hint for problem in problems} == {
        "/a/with/statsu": "status",
        "/a/with/status": "",
        "/a/with/delay": "",
        "/a/with/headers": "",
    }


def test_settings_of_a_kind_nobody_knows(registry):
    config, (problem,) = registry.settings("api_key", {}, "/a/with")
    assert config is None
    assert (problem.pointer, problem.hint) == ("/a/with", "api-key")


def test_settings_are_written_by_their_alias(registry):
    window = {"begin": "2026-05-01T02:00:00Z", "end": "2026-05-01T04:00:00Z"}
    assert registry.settings("maintenance", {"windows": [window]}, "")[0] is None
