"""The documentation builds without a warning."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from doc_pages import DOCS
from fault_table import kinds


def test_build(tmp_path: Path) -> None:
    pages, html = tmp_path / "docs", tmp_path / "html"
    # A copy with a reference of its own, so that nothing here depends on whether the one beside it was generated.
    pages.mkdir()
    for path in DOCS.iterdir():
        if path.is_file() and path.suffix in (".md", ".py"):
            (pages / path.name).write_bytes(path.read_bytes())
    shutil.copytree(DOCS / "benchmarks", pages / "benchmarks")
    said = run(tmp_path, "apigateway.cli", "docs", str(pages / "reference"), "--package-only")
    said += run(tmp_path, "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(pages), str(html))
    assert (html / "reference" / "policies" / "api-key.html").exists(), said
    errors = (html / "errors.html").read_text()
    assert [kind.slug for kind in kinds() if f">{kind.slug}<" not in errors] == []


def run(folder: Path, module: str, *arguments: str) -> str:
    """Run a module of Python's; an assertion with what it said where it fails."""
    root = str(DOCS.parent)
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=folder, env={"PYTHONPATH": root, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
