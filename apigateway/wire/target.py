"""Paths and queries as they were sent: split once, decoded once, never written anew without need."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

from apigateway.wire.message import Refusal

_ESCAPED: Final = re.compile(rb"(?:[^%]|%[0-9A-Fa-f]{2})*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class PathRules:
    """What to do with paths that two programs may read differently.

    dot_segments: "." and "..", in whatever spelling. encoded_slashes: %2F and %5C inside a segment.
    empty_segments: "//", and "/;x/", which is that for who drops parameters. Refusing is a 400;
    "normalise" and "merge" rewrite the path for everybody.
    """

    dot_segments: Literal["refuse", "normalise"] = "refuse"
    encoded_slashes: Literal["keep", "refuse"] = "keep"
    empty_segments: Literal["keep", "refuse", "merge"] = "refuse"


DEFAULT_RULES: Final = PathRules()


def split_path(path: bytes, rules: PathRules = DEFAULT_RULES) -> tuple[bytes, list[str]] | Refusal:
    """(raw path, its segments decoded), or the Refusal(400) to answer with.

    The segments are split at the literal "/" and percent-decoded once after (RFC 3986 2.2, 2.4): an
    encoded slash is a character of its segment. A trailing slash is a last segment ""; "/" is [""].
    The raw path is the one given, byte for byte, unless "normalise" or "merge" had something to change:
    match, rules and upstream have to see that one form.
    """
    if path[:1] != b"/":
        return _refused("The path does not begin with a slash.", "RFC 9112 3.2.1")
    text = path.decode("latin-1")  # searched as text, which is quicker than as bytes
    if "%" in text or "/." in text or "//" in text or "/;" in text or "\\" in text or not text.isascii():
        return _split_carefully(path, rules)
    return path, text[1:].split("/")


def _split_carefully(path: bytes, rules: PathRules) -> tuple[bytes, list[str]] | Refusal:
    if b"\\" in path:
        return _refused("The path holds a backslash.", "RFC 3986 2")
    if _ESCAPED.fullmatch(path) is None:
        return _refused("The path holds a percent sign that escapes nothing.", "RFC 3986 2.1")
    raws = path[1:].split(b"/")
    segments = []
    for raw in raws:
        try:
            text = unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError:
            return _refused("The path is not UTF-8.", "RFC 3986 2.5")
        if _CONTROL.search(text) is not None or not raw.isascii():
            return _refused("The path holds a control or an unescaped character.", "RFC 3986 2")
        if ("/" in text or "\\" in text) and _slash_refused(text, rules):
            return _refused("The path holds an encoded slash.", "RFC 3986 2.2")
        segments.append((raw, text))
    return _normalised(path, segments, rules)


def _normalised(
    path: bytes, segments: list[tuple[bytes, str]], rules: PathRules
) -> tuple[bytes, list[str]] | Refusal:
    """Apply the rules to empty and dot segments (RFC 3986 5.2.4, 6.2.2.3)."""
    kept: list[tuple[bytes, str]] = []
    last = len(segments) - 1
    for index, (raw, text) in enumerate(segments):
        if text[:1] in ("", ";") and index != last and rules.empty_segments != "keep":
            if rules.empty_segments == "refuse":
                return _refused("The path holds an empty segment.", "RFC 3986 3.3")
        elif _is_dots(text):
            # "..;x" is the parent for some servers and a name for others: nothing can make those two agree.
            if rules.dot_segments == "refuse" or text not in (".", "..") or (text == ".." and not kept):
                return _refused("The path holds a dot segment.", "RFC 3986 5.2.4")
            if text == "..":
                kept.pop()
            if index == last:
                kept.append((b"", ""))
        else:
            kept.append((raw, text))
    if kept != segments:
        path = b"/" + b"/".join([raw for raw, _ in kept])
    return path, [text for _, text in kept]


def _slash_refused(text: str, rules: PathRules) -> bool:
    """Dot segments behind encoded slashes are never kept: the upstream may decode them and climb."""
    return rules.encoded_slashes == "refuse" or any(map(_is_dots, re.split(r"[/\\]", text)))


def _is_dots(text: str) -> bool:
    return text[:1] == "." and text.partition(";")[0] in (".", "..")


def _refused(detail: str, section: str) -> Refusal:
    return Refusal(400, detail, section)


def remove_query_pair(target: bytes, name: str) -> bytes:
    """The target without the query pairs of this name, each with one "&"; every other byte stays.

    The "?" goes with the last pair.
    """
    path, mark, query = target.partition(b"?")
    if not mark:
        return target
    pairs = query.split(b"&")
    kept = [pair for pair in pairs if _name_of(pair) != name]
    if len(kept) == len(pairs):
        return target
    return path + mark + b"&".join(kept) if kept else path


def query_values(query: bytes | None, name: str) -> list[str]:
    """Every value of a name in a query, decoded as forms are ("+" is a space, UTF-8); "" for a bare name."""
    if not query:
        return []
    return [_decoded(pair.partition(b"=")[2]) for pair in query.split(b"&") if _name_of(pair) == name]


def _name_of(pair: bytes) -> str | None:
    return _decoded(pair.partition(b"=")[0]) if pair else None


def _decoded(text: bytes) -> str:
    return unquote_to_bytes(text.replace(b"+", b" ")).decode("utf-8", "replace")
