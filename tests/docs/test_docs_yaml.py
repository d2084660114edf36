"""Configurations in the documentation are fine, and those shown as wrong are refused as shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_pages import Block, blocks, blocks_of, pages
from doc_setting import ENVIRONMENT, around, furnish

from apigateway.checking import Checked, check_file

PLACES = frozenset({"in-file", "in-api", "in-route", "in-upstream", "in-listener"})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the configurations name."""
    path = tmp_path_factory.mktemp("docs")
    furnish(path)
    return path


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def checked(folder: Path, text: str) -> Checked:
    file = folder / "gateway.yaml"
    file.write_text(text)
    return check_file(str(file), strict=True)


@pytest.mark.parametrize("block", blocks("yaml", "yml"), ids=str)
def test_yaml(block: Block, folder: Path) -> None:
    (place,) = block.classes & {"whole", "refused", *PLACES} or {""}
    if place == "refused":
        assert not checked(folder, block.text).ok
    elif place == "whole":
        assert not checked(folder, block.text).problems
    else:
        assert place, "a block of YAML says by its class what it is a part of: tests/docs/README.md"
        problems = checked(folder, around(place, block.text)).problems
        assert not [problem for problem in problems if not problem.warning]


def refusals() -> list[tuple[Block, Block]]:
    """Configurations that are refused, each with what the page says of it."""
    found = []
    for path in pages():
        of_page = blocks_of(path)
        for number, block in enumerate(of_page):
            if "refused" in block.classes:
                found.append((block, of_page[number + 1]))
    return found


@pytest.mark.parametrize(("block", "said"), refusals(), ids=str)
def test_refusal(block: Block, said: Block, folder: Path) -> None:
    assert "problems" in said.classes
    problems = checked(folder, block.text).problems
    prefix = f"{folder}/"
    told = [("warning: " if each.warning else "") + str(each).replace(prefix, "") for each in problems]
    assert told == said.text.splitlines()
