"""The short ways of the scanner lead where the long ones do: events, marks and errors are those of ruamel.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from apigateway.config.yaml_scanning import parser_of_yaml

EXAMPLE = Path(__file__).with_name("example.yaml").read_text()

PIECES = (
    "a", "b1", "a/b.c-d", "é", "a:b", ".5", "0o7", "~", "null", ": ", ":", " ", "  ", "\n", "\n  ", "\n    ", "- ", "-",
    "[", "]", "{", "}", ", ", ",", '"x y"', '"a\\n"', '"', "'q'", "''''", "'", "#c", " # c\n", "&a ", "*a", "!t ", "? ",
    "?", "|\n  t\n", ">\n  t\n", "---\n", "--- ", "...\n", "%YAML 1.1\n", "\t", "\r\n", "\r", "\x85", "\u2028",
    "\ufeff", "<<", "@", "`", "%", "=", "y" * 1030,
)


def told(parser: YAML, text: str) -> list[object]:
    """All that a parser tells of a text, the error that ends it among it."""
    found: list[object] = []
    try:
        for event in parser.parse(text):
            found.append((type(event), _values(event), _place(event.start_mark), _place(event.end_mark)))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        found.append((type(error), error.context, error.problem, mark and _place(mark)))
    except (YAMLError, ValueError) as error:
        found.append((type(error), str(error)))
    return found


def _values(event: Any) -> list[str]:
    names = ("anchor", "tag", "value", "style", "implicit", "explicit", "version", "flow_style")
    return [str(getattr(event, name, None)) for name in names]


def _place(mark: Any) -> tuple[int, int, int]:
    return mark.index, mark.line, mark.column


def same(text: str) -> None:
    assert told(parser_of_yaml(), text) == told(YAML(typ="safe", pure=True), text)


@pytest.mark.parametrize("text", [
    EXAMPLE, "", "a: b", "a: [b, c/d: e, 'f''g', \"h i\"]\n", "a: word\n  goes on\n", "a: {b}\n", "'it''s': 1\n",
    "a: \"two\n  lines\"\n", f"{'y' * 1030}: 1\n", f"{{{'y' * 1030}: 1}}\n", "[a\n: b]", "a: b: c\n", "a\nb: c\n",
    "\ufeffa: b\n", "%YAML 1.1\n---\na: 0o7\n", "a:\n- b\n-  c\n \n\n# d\n-\te\n", "a: [b\tc ,\td]\n", "[a, b", "a: ]",
])
def test_known_texts(text: str) -> None:
    same(text)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_text_of_these_pieces(text: str) -> None:
    same(text)


@given(st.integers(0, len(EXAMPLE)), st.integers(0, 3), st.sampled_from(("", *PIECES)))
def test_the_example_damaged_anywhere(place: int, lost: int, put: str) -> None:
    same(EXAMPLE[:place] + put + EXAMPLE[place + lost:])
