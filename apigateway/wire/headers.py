"""Field lines of a message, in order, repeated ones kept apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

# RFC 9110 5.6.2 (token, lower case only: names are folded when they are read) and 5.5
# (a field value holds no CR, LF or NUL; nor any other control but HTAB here).
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_BAD_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_UNDERSCORE: Final = 0x5F


class Headers:
    """Field lines as (name, value) pairs of bytes; names are lower-case.

    `lines` is the list itself, for whoever walks all of it. The parser fills it with what it
    has already checked; everybody else goes through `set` and `add`, which refuse what would
    split a message (ValueError), so no policy can write a second field by way of a value.
    """

    __slots__ = ("lines",)

    def __init__(self, lines: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self.lines: list[tuple[bytes, bytes]] = list(lines)

    def get(self, name: bytes) -> bytes | None:
        """The first value of a field, or None."""
        for key, value in self.lines:
            if key == name:
                return value
        return None

    def get_all(self, name: bytes) -> list[bytes]:
        """Every value of a field, in order."""
        return [value for key, value in self.lines if key == name]

    def text(self, name: bytes, default: str = "") -> str:
        """The first value as text (ISO 8859-1, so that any byte survives), or the default."""
        value = self.get(name)
        return default if value is None else value.decode("latin-1")

    def set(self, name: bytes, value: bytes) -> None:
        """Leave one field of this name, at the place of the first, or at the end."""
        checked(name, value)
        for index, line in enumerate(self.lines):
            if line[0] == name:
                rest = [other for other in self.lines[index + 1 :] if other[0] != name]
                self.lines[index:] = [(name, value), *rest]
                return
        self.lines.append((name, value))

    def add(self, name: bytes, value: bytes) -> None:
        """Append a field line, whatever is there already."""
        checked(name, value)
        self.lines.append((name, value))

    def remove(self, name: bytes) -> bool:
        """Drop every field of this name; tells whether there was one."""
        kept = [line for line in self.lines if line[0] != name]
        found = len(kept) != len(self.lines)
        if found:
            self.lines[:] = kept
        return found

    def drop(self, names: frozenset[bytes]) -> None:
        """Drop every field under these names, each as `folded` gives it, however its dashes are spelt."""
        # Asking for the octet is quicker than asking for b"_", and than folding every name.
        self.lines[:] = [
            line
            for line in self.lines
            if (folded(line[0]) if _UNDERSCORE in line[0] else line[0]) not in names
        ]

    def copy(self) -> Headers:
        return Headers(self.lines)

    def __contains__(self, name: bytes) -> bool:
        return any(key == name for key, _ in self.lines)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.lines == other.lines

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Headers({self.lines!r})"


def folded(name: bytes) -> bytes:
    """The one spelling of all names that CGI and its heirs take for the same: "-" for "_" (RFC 3875 4.1.18)."""
    return name.replace(b"_", b"-")


def checked(name: bytes, value: bytes) -> None:
    """Raise ValueError for a field that could not be written as one line."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"not a lower-case field name: {name!r}")
    if _BAD_VALUE.search(value) is not None:
        raise ValueError(f"control character in the value of field {name.decode('latin-1')!r}")
