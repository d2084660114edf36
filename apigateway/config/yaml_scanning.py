"""The scanner of ruamel.yaml, with short ways through what most of a configuration is made of.

It reads a thousand Apis of ten routes in less than half the time. Each short way does what the long one does with the
same text, and everything else goes the long one: tests compare the two, token by token.
"""

from __future__ import annotations

import re
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import StringMark
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import Reader
from ruamel.yaml.scanner import Scanner
from ruamel.yaml.tokens import ScalarToken

# In each of these, nothing but a line feed ends a line, and every character is one column.
_BLANKS = re.compile(r" *(?:\n *)*")
_GO_ON_AFTER_BLANKS = frozenset("\t#\r\x85\u2028\u2029\ufeff")
# A word, and what ends a plain scalar for certain: in any context, and inside of brackets.
_WORD = re.compile(r"[A-Za-z0-9_./-]+(?=: )")
_WORD_IN_FLOW = re.compile(r"[A-Za-z0-9_./-]+(?=[],}]|: )")
# Without escapes, in one line.
_QUOTED: Final = {'"': re.compile(r'"([ !#-\[\]-~]*)"'), "'": re.compile(r"'([ -&(-~]*)'(?!')")}
_FETCH: Final = {
    **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/", Scanner.fetch_plain),
    "[": Scanner.fetch_flow_sequence_start, "]": Scanner.fetch_flow_sequence_end,
    "{": Scanner.fetch_flow_mapping_start, "}": Scanner.fetch_flow_mapping_end,
    ",": Scanner.fetch_flow_entry, '"': Scanner.fetch_double, "'": Scanner.fetch_single,
}


def parser_of_yaml() -> YAML:
    """What parses a text to events: as `YAML(typ="safe", pure=True)` does."""
    made = YAML(typ="safe", pure=True)
    made.Reader, made.Scanner, made.Parser = _Reader, _Scanner, _Parser
    return made


def let_go_of(made: YAML) -> None:
    """It is not needed any more. Its parts refer to it, and the parser to itself: with them the text would stay, for
    the collector to find."""
    parts = [part for part in vars(made).values() if isinstance(part, _Reader | _Scanner | _Parser)]
    for one in (made, *parts):
        vars(one).clear()


class _Reader(Reader):
    """Of a str, which is there as a whole."""

    def get_mark(self) -> StringMark:
        return StringMark(self.name, self.index, self.line, self.column, self.buffer, self.pointer)

    def pass_by(self, length: int) -> None:
        """Go on over characters of one line."""
        self.pointer += length
        self.index += length
        self.column += length


class _Scanner(Scanner):
    """`settled`: the token in front is final, and is until it is taken."""

    reader: _Reader = None  # type: ignore[assignment]  # a property there, asked a hundred times for each token

    def __init__(self, loader: Any = None) -> None:
        self.reader = loader.reader
        self.settled = False
        super().__init__(loader)

    def _settle(self) -> None:
        while self.need_more_tokens():
            self.fetch_more_tokens()
        self.settled = True

    def check_token(self, *choices: Any) -> bool:
        if not self.settled:
            self._settle()
        return bool(self.tokens) and (not choices or isinstance(self.tokens[0], choices))

    def peek_token(self) -> Any:
        if not self.settled:
            self._settle()
        return self.tokens[0] if self.tokens else None

    def get_token(self) -> Any:
        if not self.settled:
            self._settle()
        self.settled = False
        if not self.tokens:
            return None
        self.tokens_taken += 1
        return self.tokens.pop(0)

    def stale_possible_simple_keys(self) -> None:
        reader = self.reader
        for key in self.possible_simple_keys.values():
            if key.line != reader.line or reader.index - key.index > 1024:
                super().stale_possible_simple_keys()
                return

    def fetch_more_tokens(self) -> Any:
        self.scan_to_next_token()
        fetch = _FETCH.get(self.reader.peek())
        if fetch is None:
            return super().fetch_more_tokens()
        self.stale_possible_simple_keys()
        self.unwind_indent(self.reader.column)
        return fetch(self)

    def scan_to_next_token(self) -> Any:
        reader = self.reader
        blanks = _BLANKS.match(reader.buffer, reader.pointer)
        assert blanks is not None  # it matches nothing, too
        text = blanks[0]
        lines = text.count("\n")
        reader.pass_by(len(text))
        if lines:
            reader.line += lines
            reader.column = len(text) - text.rindex("\n") - 1
            if not self.flow_context:
                self.allow_simple_key = True
        return super().scan_to_next_token() if reader.peek() in _GO_ON_AFTER_BLANKS else None

    def scan_plain(self) -> Any:
        word = _WORD_IN_FLOW if self.flow_context else _WORD
        return self._scalar(word.match(self.reader.buffer, self.reader.pointer), None) or super().scan_plain()

    def scan_flow_scalar(self, style: str) -> Any:
        quoted = _QUOTED[style].match(self.reader.buffer, self.reader.pointer)
        return self._scalar(quoted, style) or super().scan_flow_scalar(style)

    def _scalar(self, found: re.Match[str] | None, style: str | None) -> ScalarToken | None:
        if found is None:
            return None
        self.allow_simple_key = False
        start = self.reader.get_mark()
        self.reader.pass_by(found.end() - found.start())
        return ScalarToken(found[found.lastindex or 0], style is None, start, self.reader.get_mark(), style)


class _Parser(Parser):
    """With its scanner at hand."""

    scanner: _Scanner = None  # type: ignore[assignment]

    def __init__(self, loader: Any) -> None:
        self.scanner = loader.scanner
        super().__init__(loader)
