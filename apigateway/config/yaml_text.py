"""YAML 1.2 (core schema) to plain values.

Read from the parser's events, so that scalars are what the core schema says and nothing else (YAML 1.2.2,
10.3.2: `on`, `no`, `12:30` and dates are text), and so that what makes a text mean more than it shows
(aliases, merge keys, tags) is refused where it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from apigateway.config.document import MAX_DEPTH, Document, pointer_to, text_fault
from apigateway.config.yaml_scanning import let_go_of, parser_of_yaml
from apigateway.errors import ConfigurationRefused

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_BEGINS_NUMBER = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?[0-9]{1,100}")
_BASED = re.compile(r"0o[0-7]{1,100}|0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]{1,100}|[0-9]{1,100}(?:\.[0-9]{0,100})?)(?:[eE][-+]?[0-9]{1,10})?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def read_yaml(text: str, file: str) -> Document:
    """The one document of a text. What is wrong is in its problems; nothing is raised."""
    document = Document(file)
    parser = parser_of_yaml()
    try:
        _Reader(document, parser.parse(text)).read()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.note("", mark.line + 1 if mark else 0, f"not YAML: {error.problem or error.context}")
    except ConfigurationRefused:
        pass  # too many problems: those that were noted will do
    except (YAMLError, ValueError, OverflowError) as error:
        document.note("", 0, f"not YAML: {str(error).splitlines()[0]}")
    finally:
        let_go_of(parser)
    return document


def core_scalar(text: str) -> object:
    """A plain scalar by the core schema. Raises ValueError for what JSON has no number for."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _BEGINS_NUMBER:
        return text
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _NOT_FINITE.fullmatch(text) or (_FLOAT.fullmatch(text) and not math.isfinite(float(text))):
        raise ValueError("a number has to be finite")
    return float(text) if _FLOAT.fullmatch(text) else text


class _Reader:
    """Values of a stream of events; one method for each shape of node."""

    def __init__(self, document: Document, events: Iterator[Any]) -> None:
        self.document = document
        self.events = events

    def read(self) -> None:
        documents = 0
        for event in self.events:
            if not isinstance(event, DocumentStartEvent):
                continue
            documents += 1
            if documents > 1:
                self.note(event, "", "a file holds one document; another begins here")
                return
            if event.version not in (None, (1, 2)):
                self.note(event, "", "the file is read as YAML 1.2, and says otherwise")
            first = next(self.events)
            self.document.lines[""] = first.start_mark.line + 1
            self.document.value = self.node(first, "", 1)

    def node(self, event: Any, pointer: str, depth: int) -> object:
        if isinstance(event, AliasEvent):
            self.note(event, pointer, f"an alias (*{event.anchor}) is refused: write the value out")
            return None
        if event.anchor is not None:
            self.note(event, pointer, f"an anchor (&{event.anchor}) is refused: aliases are not read")
        if event.tag is not None:
            self.note(event, pointer, "a tag (!) is refused: values are what they look like")
        if isinstance(event, ScalarEvent):
            return self.scalar(event, pointer)
        if depth > MAX_DEPTH:
            raise MarkedYAMLError(problem=f"nested deeper than {MAX_DEPTH}", problem_mark=event.start_mark)
        if isinstance(event, MappingStartEvent):
            return self.mapping(pointer, depth)
        return self.sequence(pointer, depth)

    def scalar(self, event: Any, pointer: str) -> object:
        text: str = event.value
        if fault := text_fault(text):
            self.note(event, pointer, fault)
            return None
        if event.style is not None:  # quoted or a block: text
            return text
        try:
            return core_scalar(text)
        except ValueError as refusal:
            self.note(event, pointer, str(refusal))
            return None

    def sequence(self, pointer: str, depth: int) -> list[object]:
        values: list[object] = []
        for event in self.events:
            if isinstance(event, SequenceEndEvent):
                break
            place = f"{pointer}/{len(values)}"
            self.document.lines[place] = event.start_mark.line + 1
            values.append(self.node(event, place, depth + 1))
        return values

    def mapping(self, pointer: str, depth: int) -> dict[str, object]:
        values: dict[str, object] = {}
        for event in self.events:
            if isinstance(event, MappingEndEvent):
                break
            key = self.key(event, pointer, depth)
            place = pointer + pointer_to(key)
            value_event = next(self.events)
            if key in values:
                first = self.document.lines[place]
                self.note(event, place, f"the key is written twice; first in line {first}")
                self.node(value_event, place, depth + 1)
                continue
            self.document.lines[place] = event.start_mark.line + 1
            values[key] = self.node(value_event, place, depth + 1)
        return values

    def key(self, event: Any, pointer: str, depth: int) -> str:
        if not isinstance(event, ScalarEvent):
            self.note(event, pointer, "a key has to be text")
            self.node(event, pointer, depth + 1)
            return ""
        self.node(event, pointer, depth + 1)  # for what is refused of any node
        if event.value == "<<" and event.style is None:
            self.note(event, pointer, "a merge key (<<) is refused: write the values out")
        return str(event.value)

    def note(self, event: Any, pointer: str, message: str) -> None:
        self.document.note(pointer, event.start_mark.line + 1, message)
