"""JSON (RFC 8259) to plain values; strict, with the line of every value."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from typing import NoReturn

from apigateway.config.document import MAX_DEPTH, Document, pointer_to, text_fault
from apigateway.errors import ConfigurationRefused

_SPACE = re.compile(r"[ \t\r\n]*")


def read_json(text: str, file: str) -> Document:
    """The value of a text. What is wrong is in its problems; nothing is raised."""
    document = Document(file)
    reader = _Reader(document, text)
    try:
        document.value = reader.value("", 1)
        if reader.at < len(text):
            reader.refuse("nothing may follow the value")
    except json.JSONDecodeError as error:
        document.note("", error.lineno, f"not JSON: {error.msg}")
    except ConfigurationRefused:
        pass  # too many problems: those that were noted will do
    except ValueError as error:
        document.note("", reader.line(), f"not JSON: {error}")
    return document


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


class _Reader:
    """A cursor over the text; scalars are read by the standard library, structure here, for the lines."""

    def __init__(self, document: Document, text: str) -> None:
        self.document = document
        self.text = text
        self.at = 0
        self.newlines = [match.start() for match in re.finditer("\n", text)]
        self.scalars = json.JSONDecoder(parse_constant=_no_constant)
        self.skip()

    def line(self) -> int:
        return bisect_right(self.newlines, self.at - 1) + 1

    def skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        self.at = match.end() if match else self.at

    def refuse(self, message: str) -> NoReturn:
        raise json.JSONDecodeError(message, self.text, self.at)

    def takes(self, sign: str) -> bool:
        if not self.text.startswith(sign, self.at):
            return False
        self.at += 1
        self.skip()
        return True

    def value(self, pointer: str, depth: int) -> object:
        self.document.lines.setdefault(pointer, self.line())
        if depth > MAX_DEPTH and self.text.startswith(("{", "["), self.at):
            self.refuse(f"nested deeper than {MAX_DEPTH}")
        if self.takes("{"):
            return self.members(pointer, depth)
        if self.takes("["):
            return self.items(pointer, depth)
        return self.scalar(pointer)

    def scalar(self, pointer: str) -> object:
        line = self.line()
        value, self.at = self.scalars.raw_decode(self.text, self.at)
        self.skip()
        if isinstance(value, str) and (fault := text_fault(value)):
            self.document.note(pointer, line, fault)
        if isinstance(value, float) and not math.isfinite(value):
            self.document.note(pointer, line, "a number has to be finite")
        return value

    def items(self, pointer: str, depth: int) -> list[object]:
        values: list[object] = []
        if self.takes("]"):
            return values
        while True:
            values.append(self.value(f"{pointer}/{len(values)}", depth + 1))
            if self.takes("]"):
                return values
            if not self.takes(","):
                self.refuse('expected "," or "]"')

    def members(self, pointer: str, depth: int) -> dict[str, object]:
        values: dict[str, object] = {}
        if self.takes("}"):
            return values
        while True:
            self.member(values, pointer, depth)
            if self.takes("}"):
                return values
            if not self.takes(","):
                self.refuse('expected "," or "}"')

    def member(self, values: dict[str, object], pointer: str, depth: int) -> None:
        line = self.line()
        if not self.text.startswith('"', self.at):
            self.refuse("a key has to be text in quotes")
        key = str(self.scalar(pointer))
        place = pointer + pointer_to(key)
        if not self.takes(":"):
            self.refuse('expected ":"')
        if key in values:
            first = self.document.lines[place]
            self.document.note(place, line, f"the key is written twice; first in line {first}")
            self.value(place, depth + 1)
            return
        self.document.lines[place] = line
        values[key] = self.value(place, depth + 1)
