"""What has to be there once, or to be there at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from apigateway.errors import Problem


def doubles(values: Iterable[str], pointer: str, key: str, *, shown: bool = True) -> Iterator[Problem]:
    """A problem for every value of a list that stood there before.

    pointer: of the list; key: of the value in its items, "" for the item itself.
    shown: whether a message may repeat the value.
    """
    first: dict[str, int] = {}
    for i, value in enumerate(values):
        if first.setdefault(value, i) != i:
            what = f'"{value}" is' if shown else "this is"
            place = f"{pointer}/{i}/{key}" if key else f"{pointer}/{i}"
            yield Problem(place, f"{what} taken by {pointer}/{first[value]}")


def refusal(read: Callable[[str], object], text: str, pointer: str) -> Iterator[Problem]:
    """A problem when a reader refuses a text by ValueError."""
    try:
        read(text)
    except ValueError as error:
        yield Problem(pointer, str(error))
