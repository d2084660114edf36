"""The code blocks of the documentation, and what their classes ask of a test (README.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

DOCS = Path(__file__).parents[2] / "docs"
# What is generated is tested where it is made.
GENERATED = "reference"


@dataclass(frozen=True)
class Block:
    """A code block. page: its file's stem; line: of its first line there; caption: "" for none."""

    page: str
    line: int
    language: str
    classes: frozenset[str]
    caption: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.line}"


def pages() -> list[Path]:
    """The hand-written pages."""
    return sorted(path for path in DOCS.glob("*.md"))


def blocks(*languages: str) -> list[Block]:
    """All code blocks of these languages, by page and line."""
    return [block for path in pages() for block in blocks_of(path) if block.language in languages]


def blocks_of(path: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    return list(_blocks(path.stem, path.read_text(encoding="utf-8")))


def _blocks(page: str, text: str) -> Iterator[Block]:
    for token in MarkdownIt().parse(text):
        if token.type != "fence" or token.map is None:
            continue
        name, _, argument = token.info.strip().partition(" ")
        line = token.map[0] + 1
        if name == "{code-block}":
            options, content = _options(token.content)
            classes = frozenset(options.get("class", "").split())
            yield Block(page, line, argument.strip(), classes, options.get("caption", ""), content)
        elif not name.startswith("{"):
            yield Block(page, line, name, frozenset(), "", token.content)


def _options(content: str) -> tuple[dict[str, str], str]:
    lines = content.splitlines(keepends=True)
    options: dict[str, str] = {}
    while lines and lines[0].startswith(":"):
        name, _, value = lines.pop(0)[1:].partition(":")
        options[name] = value.strip()
    return options, "".join(lines).lstrip("\n")
