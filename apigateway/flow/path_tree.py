"""Paths as a tree of segments: templates are put in, and a request's segments lead to what was put there.

A segment is what stands between two slashes, decoded; "/a/" has the segments "a" and "", "/" has one, "".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Any, Final, Generic, TypeVar
from urllib.parse import unquote

T = TypeVar("T")

_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(\*?)\}")

Shape = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A path as configured.

    shape: a literal (decoded) per segment, None for a parameter. names: parameter and its place. tail: name
    of the parameter that takes the rest, "" for none. exact: False where everything below matches too.
    """

    shape: Shape
    names: tuple[tuple[str, int], ...]
    tail: str
    exact: bool


def exact_template(base: str, path: str) -> list[Template]:
    """The templates of an exact path below a base path.

    Two of them where the path is "/": "/users" and "/users/" are both the root of an Api under "/users".
    ValueError with a sentence for the reader.
    """
    front, segments = _prefix_segments(base), _segments(path)
    if segments == [""] and front:
        return [_template(front, exact=True), _template([*front, ""], exact=True)]
    return [_template([*front, *segments], exact=True)]


def prefix_template(base: str, prefix: str) -> Template:
    """The template of a prefix below a base path; a slash at its end says nothing more. ValueError as
    above."""
    return _template([*_prefix_segments(base), *_prefix_segments(prefix)], exact=False)


def base_length(base: str) -> int:
    """How many segments of a path its base path covers."""
    return len(_prefix_segments(base))


def strip_prefix(raw_path: bytes, count: int) -> bytes:
    """A path without its first `count` segments, every octet of the rest kept; b"/" where nothing is left.

    A path of fewer segments gives b"/" too.
    """
    start = 0
    for _ in range(count):
        start = raw_path.find(b"/", start + 1)
        if start < 0:
            return b"/"
    return raw_path[start:] or b"/"


def _segments(path: str) -> list[str]:
    if not path.startswith("/"):
        raise ValueError(f'a path starts with "/": {path!r}')
    return path[1:].split("/")


def _prefix_segments(path: str) -> list[str]:
    segments = _segments(path)
    return segments[:-1] if segments[-1] == "" else segments


def _template(segments: list[str], *, exact: bool) -> Template:
    shape: list[str | None] = []
    names: list[tuple[str, int]] = []
    tail = ""
    for place, segment in enumerate(segments):
        parameter = _PARAMETER.fullmatch(segment)
        if parameter is None:
            shape.append(_literal(segment))
        elif not parameter[2]:
            shape.append(None)
            names.append((parameter[1], place))
        elif exact and place == len(segments) - 1:
            tail = parameter[1]
        else:
            raise ValueError(f"{segment} takes the rest: it stands at the end of an exact path, nowhere else")
    known = [name for name, _ in names] + [tail] * bool(tail)
    if len(set(known)) != len(known):
        raise ValueError("two parameters of one path have the same name")
    return Template(tuple(shape), _shared(tuple(names)), tail, exact and not tail)


@lru_cache(maxsize=4096)
def _shared(names: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    return names


def _literal(segment: str) -> str:
    if "{" in segment or "}" in segment:
        raise ValueError(f'{segment!r}: a parameter is a whole segment, "{{name}}"; a brace is %7B or %7D')
    return intern(unquote(segment, errors="surrogateescape"))


# Of a node without any: shared, since most are, and what is shared is in the processor's cache already. So
# are equal parts of templates (_shared): in a large table a match costs what memory costs that was not seen
# for long.
_NO_LITERALS: Final[dict[str, Any]] = {}


class Node(Generic[T]):
    """One place in the tree. exact: what ends here; prefix: what begins here and takes all below."""

    __slots__ = ("depth", "exact", "literals", "parameter", "prefix")

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self.literals: dict[str, Node[T]] = _NO_LITERALS
        self.parameter: Node[T] | None = None
        self.exact: T | None = None
        self.prefix: T | None = None

    def reach(self, shape: Shape) -> Node[T]:
        """The node at a shape; made where there is none."""
        node = self
        for literal in shape:
            node = node._child(literal)
        return node

    def _child(self, literal: str | None) -> Node[T]:
        child = self.parameter if literal is None else self.literals.get(literal)
        if child is None:
            child = Node(self.depth + 1)
            if literal is None:
                self.parameter = child
            elif self.literals:
                self.literals[literal] = child
            else:
                self.literals = {literal: child}
        return child


def walk(root: Node[T], segments: Sequence[str]) -> Iterator[T]:
    """What matches these segments, best first: exact ones, then prefixes from the longest.

    At each place a literal comes before a parameter. No node is visited twice, so that the work is bounded by
    the configuration whatever the request looks like. A parameter takes no empty segment. A literal is
    compared with the segment as it is, then without its ";parameters" (RFC 3986 3.3): servers that drop them
    would else show at "/admin;x" what is guarded at "/admin".
    """
    count = len(segments)
    prefixes: list[Node[T]] = []
    waiting: list[Node[T]] = []
    node = root
    while True:
        if node.prefix is not None:
            prefixes.append(node)
        depth = node.depth
        child: Node[T] | None = None
        if depth == count:
            if node.exact is not None:
                yield node.exact
        else:
            segment = segments[depth]
            child = node.literals.get(segment)
            if child is None and ";" in segment:
                child = node.literals.get(segment[: segment.index(";")])
            if node.parameter is not None and segment:
                if child is not None:
                    waiting.append(node.parameter)
                else:
                    child = node.parameter
        if child is not None:
            node = child
        elif waiting:
            node = waiting.pop()
        else:
            break
    # Stable: of two prefixes of one length, the one whose literal stands further left came first.
    prefixes.sort(key=_depth, reverse=True)
    for node in prefixes:
        yield node.prefix  # type: ignore[misc]


def _depth(node: Node[T]) -> int:
    return node.depth
