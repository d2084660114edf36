"""The words of a CEL expression, and what stands inside what."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MACROS = frozenset({"all", "exists", "exists_one", "existsOne"})
# These copy what they have made so far at each item: 2000 items took minutes.
REFUSED_MACROS = frozenset({"map", "filter"})

# The lexis of the CEL specification. No alternative overlaps another, so it is read in linear time.
_TOKEN = re.compile(
    r"""
    (?P<space>[\t\n\f\r ]+|//[^\n]*)
  | (?P<string>(?:[bB]?[rR]|[rR][bB])(?:\"{3}(?s:.*?)\"{3}|'{3}(?s:.*?)'{3}|"[^"\r\n]*"|'[^'\r\n]*')
      |[bB]?(?:\"{3}(?s:\\.|[^\\])*?\"{3}|'{3}(?s:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\\r\n])*"|'(?:\\.|[^'\\\r\n])*'))
  | (?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+|\.[0-9]+|[0-9]+)(?:[eE][+-]?[0-9]+)?[uU]?)
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<op>&&|\|\||==|!=|<=|>=|[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_CLOSES = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Token:
    """One word. kind: "name", "string", "number" or "op"; start: where it begins in the source."""

    kind: str
    text: str
    start: int


END = Token("end", "", -1)


@dataclass(frozen=True, slots=True)
class Scope:
    """A macro's brackets, as indices of tokens, and the name that it binds between them."""

    opens: int
    closes: int
    name: str


def next_token(source: str, at: int) -> tuple[Token | None, int]:
    """The word at a place (None for white space), and the place after it. ValueError where no word begins."""
    match = _TOKEN.match(source, at)
    if match is None:
        raise ValueError(f"unexpected {source[at : at + 1]!r} at character {at + 1}")
    kind = match.lastgroup or ""
    return (None if kind == "space" else Token(kind, match[0], at)), match.end()


def tokenize(source: str) -> list[Token]:
    """All words of an expression. ValueError where something is none."""
    tokens = []
    at = 0
    while at < len(source):
        token, at = next_token(source, at)
        if token is not None:
            tokens.append(token)
    return tokens


def match_brackets(tokens: Sequence[Token]) -> dict[int, int]:
    """Index of each opening bracket to the index of the one that closes it. ValueError where they do not pair."""
    pairs: dict[int, int] = {}
    waiting: list[int] = []
    for index, token in enumerate(tokens):
        if token.kind != "op":
            continue
        if token.text in _CLOSES:
            waiting.append(index)
        elif token.text in _CLOSES.values():
            if not waiting or _CLOSES[tokens[waiting[-1]].text] != token.text:
                raise ValueError(f"unexpected {token.text!r} at character {token.start + 1}")
            pairs[waiting.pop()] = index
    if waiting:
        opened = tokens[waiting[-1]]
        raise ValueError(f"{opened.text!r} at character {opened.start + 1} is never closed")
    return pairs


def find_scopes(tokens: Sequence[Token], pairs: dict[int, int]) -> list[Scope]:
    """The macros, `list.exists(name, ...)` and the like, in the order written."""
    scopes = []
    for index in range(1, len(tokens) - 3):
        dot, macro, bracket, name, comma = (tokens[index - 1], *tokens[index : index + 4])
        is_macro = dot.text == "." and macro.text in MACROS and bracket.text == "("
        if is_macro and name.kind == "name" and comma.text == ",":
            scopes.append(Scope(index + 1, pairs[index + 1], name.text))
    return scopes
