"""Python in the documentation runs; policy files are found and keep what their examples say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from doc_pages import Block, blocks

from apigateway.flow.registry import discover
from apigateway.testing import conformance, run_examples

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python(block: Block, tmp_path: Path) -> None:
    (role,) = block.classes & {"policy", "file", "run"} or {""}
    assert role, "a block of Python says by its class what it is: tests/docs/README.md"
    file = tmp_path / Path(block.caption or "block.py").name
    file.write_text(block.text)
    if role == "run":
        command = [sys.executable, str(file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    else:
        compile(block.text, str(file), "exec")


@pytest.mark.parametrize("block", [block for block in blocks("python") if "policy" in block.classes], ids=str)
def test_policy(block: Block, tmp_path: Path) -> None:
    file = tmp_path / Path(block.caption).name
    file.write_text(block.text)
    registry = discover([str(file)])
    assert not registry.problems
    (registered,) = [
        each for name in registry.names() if (each := registry.get(name)) and each.source == str(file)
    ]
    assert [failure for result in run_examples(registered) for failure in result.failures] == []
    assert list(conformance(registered)) == []
