"""JSON: strict, with lines."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.config.document import MAX_DEPTH
from apigateway.config.json_text import read_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON, st.sampled_from([None, 1, "\t"]))
def test_it_reads_what_the_standard_library_writes(value: object, indent: int | str | None) -> None:
    read = read_json(json.dumps(value, indent=indent), "f.json")
    assert (read.value, read.problems) == (value, [])


@given(st.text())
def test_it_refuses_what_the_standard_library_refuses(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        assert read_json(text, "f.json").problems != []


def test_every_node_has_its_line() -> None:
    read = read_json('{\n "a": [1,\n  {"b/": 2}],\n\n "c":\n 3}\n', "f.json")
    assert read.lines == {"": 1, "/a": 2, "/a/0": 2, "/a/1": 3, "/a/1/b~1": 3, "/c": 5}


@pytest.mark.parametrize(
    ("text", "pointer", "line", "message"),
    [
        ("", "", 1, "not JSON: "),
        ('{"a": 1,\n}', "", 2, "not JSON: a key has to be text in quotes"),
        ('{"a" 1}', "", 1, 'not JSON: expected ":"'),
        ('{"a": 1\n "b": 2}', "", 2, 'not JSON: expected "," or "}"'),
        ("[1 2]", "", 1, 'not JSON: expected "," or "]"'),
        ("[1,]", "", 1, "not JSON: "),
        ("{}\n{}", "", 2, "not JSON: nothing may follow the value"),
        ('{"a": 1,\n "a": 2}', "/a", 2, "the key is written twice; first in line 1"),
        ('{"a": NaN}', "", 1, "not JSON: NaN is no number"),
        ('{"a": 1e999}', "/a", 1, "a number has to be finite"),
        ('{"a": "\\ud800"}', "/a", 1, "a \\u escape that is half of a character"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "", 1, f"not JSON: nested deeper than {MAX_DEPTH}"),
        ("{'a': 1}", "", 1, "not JSON: a key has to be text in quotes"),
        ("// note\n1", "", 1, "not JSON: "),
    ],
)
def test_what_is_refused_is_refused_at_its_place(text: str, pointer: str, line: int, message: str) -> None:
    [problem] = read_json(text, "f.json").problems
    assert (problem.file, problem.pointer, problem.line) == ("f.json", pointer, line)
    assert problem.message.startswith(message)
