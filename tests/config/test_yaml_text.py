"""YAML: scalars of the core schema, lines, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.config.document import MAX_DEPTH, MAX_PROBLEMS
from apigateway.config.yaml_text import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("no", "no"),
        ("yes", "yes"),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("2027-06-30", "2027-06-30"),
        ("20%", "20%"),
        ("64KiB", "64KiB"),
        ("=", "="),
        (".", "."),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("~", None),
        ("", None),
        ("Null", None),
        ("12", 12),
        ("+12", 12),
        ("-0", 0),
        ("012", 12),
        ("0o14", 12),
        ("0xC", 12),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("'12'", "12"),
        ('"true"', "true"),
        ("''", ""),
        ("1.2.3", "1.2.3"),
        ("1e", "1e"),
    ],
)
def test_scalars_are_what_the_core_schema_says(text: str, value: object) -> None:
    read = read_yaml(f"key: {text}\n", "f.yaml")
    assert read.problems == []
    assert read.value == {"key": value}
    assert isinstance(read.value, dict) and type(read.value["key"]) is type(value)


def test_keys_are_their_text() -> None:
    assert read_yaml("on: 1\n12: 2\nnull: 3\n'true': 4\n", "f").value == {
        "on": 1,
        "12": 2,
        "null": 3,
        "true": 4,
    }


def test_block_scalars_are_text() -> None:
    assert read_yaml("a: |\n  12\nb: >-\n  true\n", "f").value == {"a": "12\n", "b": "true"}


def test_every_node_has_its_line() -> None:
    read = read_yaml("a:\n  b: [x,\n      y]\nc/d~: {e: 1}\n", "f.yaml")
    assert read.lines == {"": 1, "/a": 1, "/a/b": 2, "/a/b/0": 2, "/a/b/1": 3, "/c~1d~0": 4, "/c~1d~0/e": 4}
    assert read.line_of("/a/b/1/not/there") == 3


@pytest.mark.parametrize(
    ("text", "pointer", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "/a", 3, "the key is written twice; first in line 1"),
        ("a: {b: 1, b: 2}\n", "/a/b", 1, "the key is written twice; first in line 1"),
        ("a: &x 1\n", "/a", 1, "an anchor (&x) is refused: aliases are not read"),
        ("a: 1\nb: *x\n", "/b", 2, "an alias (*x) is refused: write the value out"),
        ("a:\n  <<: {b: 1}\n", "/a", 2, "a merge key (<<) is refused: write the values out"),
        ("a: !!str 1\n", "/a", 1, "a tag (!) is refused: values are what they look like"),
        ("a: !env X\n", "/a", 1, "a tag (!) is refused: values are what they look like"),
        (
            "a: !!python/object:os.system {}\n",
            "/a",
            1,
            "a tag (!) is refused: values are what they look like",
        ),
        ("[1]: 2\n", "", 1, "a key has to be text"),
        ("a: 1\n---\nb: 2\n", "", 2, "a file holds one document; another begins here"),
        ("%YAML 1.1\n---\na: on\n", "", 2, "the file is read as YAML 1.2, and says otherwise"),
        ("a: .inf\n", "/a", 1, "a number has to be finite"),
        ("a: .NaN\n", "/a", 1, "a number has to be finite"),
        ("a: 1e999\n", "/a", 1, "a number has to be finite"),
        ('a: "\\ud800"\n', "/a", 1, "a \\u escape that is half of a character"),
        ("a: [1\nb: 2\n", "", 2, "not YAML: "),
        ("a: 1\n\tb: 2\n", "", 2, "not YAML: "),
        ("a: \x07\n", "", 0, "not YAML: "),
        (
            "a: [" + "[" * MAX_DEPTH + "]" * MAX_DEPTH + "]",
            "",
            1,
            f"not YAML: nested deeper than {MAX_DEPTH}",
        ),
    ],
)
def test_what_is_refused_is_refused_at_its_place(text: str, pointer: str, line: int, message: str) -> None:
    [problem] = read_yaml(text, "f.yaml").problems
    assert (problem.file, problem.pointer, problem.line) == ("f.yaml", pointer, line)
    assert problem.message.startswith(message)


def test_all_are_told_at_once() -> None:
    read = read_yaml("a: &x 1\nb: *x\na: 2\nc: !t 3\n", "f.yaml")
    assert [problem.line for problem in read.problems] == [1, 2, 3, 4]


def test_a_flood_of_problems_ends() -> None:
    assert len(read_yaml("- &a 1\n" * 1000, "f.yaml").problems) == MAX_PROBLEMS


def test_aliases_cannot_grow() -> None:
    bomb = "a: &a [x,x]\n" + "".join(
        f"{new}: &{new} [*{old},*{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert read_yaml(bomb, "f.yaml").problems != []


@given(st.text())
def test_any_text_is_read_or_told_why_not(text: str) -> None:
    read = read_yaml(text, "f.yaml")
    assert all(problem.message for problem in read.problems)


@given(st.text(alphabet="abc:{}[]&*!|>-?#%@`'\"\\ \n\t,01.~<="))
def test_any_text_of_signs_is_read_or_told_why_not(text: str) -> None:
    read = read_yaml(text, "f.yaml")
    assert all(problem.message for problem in read.problems)
