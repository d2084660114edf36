"""Inputs out of valid ones: a script of octets says what becomes of a seed, so that what finds something can shrink."""

from __future__ import annotations

from collections.abc import Callable, Sequence

LONGEST = 64 * 1024
# What parsers tend to stumble on: ends of lines, of strings and of ranges.
_ODD = b'\x00\t\n\r \x7f\x80\xff"%\\,;:=/[]{}()<>-+.*#@~09azAZ'
_NUMBERS = (b"0", b"-1", b"00", b"255", b"256", b"65536", b"4294967296", b"18446744073709551616", b"1e999", b"9" * 400)
_MANY = (2, 3, 17, 65, 129, 1030)


class _Script:
    """Octets read one after the other; zeros once they are used up."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    @property
    def over(self) -> bool:
        return self._at >= len(self._octets)

    def octet(self) -> int:
        self._at += 1
        return self._octets[self._at - 1] if self._at <= len(self._octets) else 0

    def below(self, count: int) -> int:
        """A number from 0 to count - 1; 0 where there is none."""
        return (self.octet() << 8 | self.octet()) % count if count > 0 else 0

    def piece(self, data: bytes | bytearray) -> tuple[int, int]:
        """Where a short piece of the data begins and ends."""
        begin = self.below(len(data) + 1)
        return begin, min(len(data), begin + 1 + self.octet() % 64)


def mutated(seeds: Sequence[bytes], words: Sequence[bytes], script: bytes) -> bytes:
    """A seed after everything that the script does to it; an empty script leaves the first as it is.

    words: what the grammar is made of, to be put anywhere. At most LONGEST octets.
    """
    reader = _Script(script)
    data = bytearray(seeds[reader.octet() % len(seeds)])
    while not reader.over:
        _STEPS[reader.octet() % len(_STEPS)](data, reader, seeds, words)
        del data[LONGEST:]
    return bytes(data)


Step = Callable[[bytearray, _Script, Sequence[bytes], Sequence[bytes]], None]


def _flip(data: bytearray, script: _Script, *_: Sequence[bytes]) -> None:
    if data:
        data[script.below(len(data))] ^= 1 << script.octet() % 8


def _replace(data: bytearray, script: _Script, *_: Sequence[bytes]) -> None:
    if data:
        data[script.below(len(data))] = _ODD[script.octet() % len(_ODD)]


def _insert_odd(data: bytearray, script: _Script, *_: Sequence[bytes]) -> None:
    at = script.below(len(data) + 1)
    data[at:at] = _ODD[(choice := script.octet() % len(_ODD)) : choice + 1]


def _insert_word(data: bytearray, script: _Script, _: Sequence[bytes], words: Sequence[bytes]) -> None:
    if words:
        at = script.below(len(data) + 1)
        data[at:at] = words[script.octet() % len(words)]


def _delete(data: bytearray, script: _Script, *_: Sequence[bytes]) -> None:
    begin, end = script.piece(data)
    del data[begin:end]


def _cut_off(data: bytearray, script: _Script, *_: Sequence[bytes]) -> None:
    del data[script.below(len(data) + 1) :]


def _repeat(data: bytearray, script: _Script, *_: Sequence[bytes]) -> None:
    begin, end = script.piece(data)
    data[end:end] = data[begin:end] * _MANY[script.octet() % len(_MANY)]


def _move(data: bytearray, script: _Script, *_: Sequence[bytes]) -> None:
    begin, end = script.piece(data)
    piece = data[begin:end]
    del data[begin:end]
    at = script.below(len(data) + 1)
    data[at:at] = piece


def _splice(data: bytearray, script: _Script, seeds: Sequence[bytes], _: Sequence[bytes]) -> None:
    other = seeds[script.octet() % len(seeds)]
    data[script.below(len(data) + 1) :] = other[script.below(len(other) + 1) :]


def _append(data: bytearray, script: _Script, seeds: Sequence[bytes], _: Sequence[bytes]) -> None:
    data += seeds[script.octet() % len(seeds)]


def _number(data: bytearray, script: _Script, *_: Sequence[bytes]) -> None:
    """Another number in the place of the first digits from somewhere on."""
    begin = script.below(len(data))
    while begin < len(data) and not 0x30 <= data[begin] <= 0x39:
        begin += 1
    end = begin
    while end < len(data) and 0x30 <= data[end] <= 0x39:
        end += 1
    data[begin:end] = _NUMBERS[script.octet() % len(_NUMBERS)]


_STEPS: tuple[Step, ...] = (
    _flip, _replace, _insert_odd, _insert_word, _insert_word, _delete, _cut_off, _repeat, _move, _splice, _append,
    _number,
)  # fmt: skip
