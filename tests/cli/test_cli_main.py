"""The command as a whole: its list, its help, completion, and that nothing loads what it does not need."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

from apigateway import __version__
from apigateway.cli.main import COMMANDS

Call = Callable[..., Result]


def test_every_command_is_listed_with_its_help(call: Call) -> None:
    result = call("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout
        own = call(name, "--help")
        assert own.exit_code == 0 and "Usage:" in own.stdout


def test_the_version_is_the_packages(call: Call) -> None:
    assert call("--version").stdout == f"apigateway, version {__version__}\n"


@pytest.mark.parametrize(
    "arguments", [("no-such",), ("check",), ("plan", "a"), ("schema", "--no"), ("completion", "sh")]
)
def test_a_bad_command_line_ends_with_2(call: Call, arguments: tuple[str, ...]) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(call: Call, shell: str) -> None:
    result = call("completion", shell)
    assert result.exit_code == 0
    assert f"_APIGATEWAY_COMPLETE={shell}_complete" in result.stdout.replace("env ", "")


def test_completion_completes(monkeypatch: pytest.MonkeyPatch) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from apigateway.cli.main import main; main(prog_name='apigateway')"],
        env={**os.environ, "_APIGATEWAY_COMPLETE": "bash_complete", "COMP_WORDS": "apigateway hash", "COMP_CWORD": "1"},
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["plain,hash-key", "plain,hash-password"]


@pytest.mark.parametrize("module", ["tap", "cli.main", "cli.run", "transport.parsers"])
def test_imports_are_silent_and_leave_the_reactor_to_be_chosen(module: str) -> None:
    check = f"import sys, apigateway.{module}; sys.exit('twisted.internet.reactor' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", check], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
