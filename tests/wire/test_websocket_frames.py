"""Borders of frames: whatever the chunks, they are found; what breaks the framing goes no further."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toolkit.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame, said
from wsproto.frame_protocol import FrameProtocol

from apigateway.wire.websocket_frames import FrameFollower, close_frame

SIZES = (0, 1, 125, 126, 127, 65535, 65536)
LENGTHS_126 = b"\x82\x7e"
LENGTHS_127 = b"\x82\x7f"


def client(extended: bool = False) -> FrameFollower:
    return FrameFollower(True, extended)


def server(extended: bool = False) -> FrameFollower:
    return FrameFollower(False, extended)


def fed(follower: FrameFollower, *chunks: bytes) -> bytes:
    return b"".join(follower.feed(chunk) for chunk in chunks)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("masked", [True, False])
def test_a_frame_ends_where_its_length_says(size: int, masked: bool) -> None:
    follower = FrameFollower(masked, False)
    octets = frame(b"x" * size, key=b"abcd" if masked else None)
    assert follower.feed(octets) == octets
    assert (follower.left, follower.closed, follower.fragmented, follower.violation) == (0, False, False, "")
    if size:
        assert follower.feed(octets[:-1]) == octets[:-1]
        assert follower.left == 1


def test_what_is_inside_of_a_payload_is_passed_on_as_the_same_object() -> None:
    follower = server()
    follower.feed(LENGTHS_127 + (1 << 40).to_bytes(8, "big"))
    chunk = bytes(65536)
    assert follower.feed(chunk) is chunk
    assert follower.left == (1 << 40) - 65536


def test_the_largest_length_there_is() -> None:
    follower = client()
    assert follower.feed(b"\x82\xff\x7f" + b"\xff" * 7) != b""
    assert (follower.left, follower.violation) == ((1 << 63) - 1 + 4, "")


@pytest.mark.parametrize("size", [0, 200, 70000])
def test_a_header_is_passed_on_when_it_is_whole(size: int) -> None:
    octets = said(b"x" * size)
    whole = {0: 2, 200: 4, 70000: 10}[size]  # the masking key is counted with the payload: nothing is decided by it
    for cut in range(1, whole):
        follower = client()
        assert follower.feed(octets[:cut]) == b""
        assert follower.left == 0, "nothing of the frame was passed on: a frame of ours may still be put in"
        assert follower.feed(octets[cut:whole]) == octets[:whole]
        assert follower.left == size + 4


def frames(masked: bool) -> st.SearchStrategy[list[bytes]]:
    """Messages, some in fragments with control frames in between."""
    payload = st.sampled_from((0, 1, 5, 125, 126, 300, 65535, 65536)).map(lambda size: b"p" * size)
    key = st.binary(min_size=4, max_size=4) if masked else st.none()

    @st.composite
    def message(draw: st.DrawFn) -> list[bytes]:
        opcode = draw(st.sampled_from((TEXT, BINARY)))
        count = draw(st.integers(1, 3))
        made = []
        for number in range(count):
            if draw(st.booleans()):
                made.append(frame(b"c" * draw(st.integers(0, 125)), draw(st.sampled_from((PING, PONG))), key=draw(key)))
            fin = number == count - 1
            made.append(frame(draw(payload), CONTINUATION if number else opcode, fin=fin, key=draw(key)))
        return made

    return st.lists(message(), max_size=3).map(lambda messages: [*chain.from_iterable(messages)])


@given(data=st.data(), masked=st.booleans())
def test_any_chunks_give_the_same_octets_and_the_same_borders(data: st.DataObject, masked: bool) -> None:
    sent = data.draw(frames(masked))
    stream = b"".join(sent)
    borders = {0}
    for one in sent:
        borders.add(max(borders) + len(one))
    cuts = sorted(set(data.draw(st.lists(st.integers(0, len(stream)), max_size=12))))
    follower = FrameFollower(masked, False)
    passed = b""
    for begin, end in pairwise([0, *cuts, len(stream)]):
        passed += follower.feed(stream[begin:end])
        assert follower.violation == ""
        assert stream.startswith(passed)
        assert (follower.left == 0) == (len(passed) in borders)
        if follower.left:
            assert len(passed) + follower.left in borders
        assert end - len(passed) < 10, "no more than a header is kept"
    assert passed == stream
    assert not follower.fragmented


@given(octets=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5), masked=st.booleans(),
       extended=st.booleans())  # fmt: skip
def test_any_octets_are_followed_or_refused(
    octets: bytes, cuts: list[int], masked: bool, extended: bool
) -> None:
    whole, pieces = FrameFollower(masked, extended), FrameFollower(masked, extended)
    passed = whole.feed(octets)
    parts = [octets[begin:end] for begin, end in pairwise([0, *sorted(min(cut, len(octets)) for cut in cuts), None])]
    assert fed(pieces, *parts) == passed
    assert octets.startswith(passed)
    for name in ("left", "closed", "fragmented", "violation"):
        assert getattr(pieces, name) == getattr(whole, name), name
    if whole.violation:
        assert (whole.left, whole.feed(b"more")) == (0, b"")


def test_a_message_in_fragments_is_told_and_lets_control_frames_between() -> None:
    follower = client()
    seen = []
    for octets in (
        said(b"one", TEXT, fin=False), said(b"?", PING), said(b"two", CONTINUATION, fin=False),
        said(b"three", CONTINUATION), said(b"four", TEXT),
    ):  # fmt: skip
        assert follower.feed(octets) == octets
        seen.append((follower.left, follower.fragmented))
    assert seen == [(0, True), (0, True), (0, True), (0, False), (0, False)]


VIOLATIONS = [
    pytest.param(client, frame(b"x"), "not masked", id="unmasked-from-a-client"),
    pytest.param(server, said(b"x"), "is masked", id="masked-from-a-server"),
    pytest.param(server, b"\xc2\x00", "reserved bits", id="rsv1"),
    pytest.param(server, b"\xa2\x00", "reserved bits", id="rsv2"),
    pytest.param(server, b"\x92\x00", "reserved bits", id="rsv3"),
    *(pytest.param(server, bytes((0x80 | code, 0)), "reserved opcode", id=f"opcode-{code}")
      for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    pytest.param(server, b"\x09\x00", "in fragments", id="ping-in-fragments"),
    pytest.param(server, b"\x08\x00", "in fragments", id="close-in-fragments"),
    pytest.param(server, frame(b"x" * 126, PING), "more than 125", id="long-ping"),
    pytest.param(server, frame(b"x" * 70000, CLOSE), "more than 125", id="very-long-close"),
    pytest.param(server, LENGTHS_127 + b"\x80" + bytes(7), "64 bits", id="the-top-bit"),
    pytest.param(server, LENGTHS_127 + b"\xff" * 8, "64 bits", id="all-bits"),
    pytest.param(server, LENGTHS_126 + (125).to_bytes(2, "big"), "shortest", id="125-in-16-bits"),
    pytest.param(server, LENGTHS_127 + (65535).to_bytes(8, "big"), "shortest", id="65535-in-64-bits"),
    pytest.param(server, frame(b"x", CONTINUATION), "continuation of no", id="a-continuation-alone"),
]  # fmt: skip


@pytest.mark.parametrize(("sender", "octets", "why"), VIOLATIONS)
def test_what_breaks_the_framing_goes_no_further(
    sender: Callable[[], FrameFollower], octets: bytes, why: str
) -> None:
    follower = sender()
    good = said(b"good") if sender is client else frame(b"good")
    assert follower.feed(good + octets) == good
    assert why in follower.violation
    assert follower.left == 0
    assert follower.feed(good) == b""


def test_a_message_begins_only_after_the_one_before() -> None:
    follower = server()
    first = frame(b"one", TEXT, fin=False)
    assert follower.feed(first + frame(b"two", TEXT)) == first
    assert "inside of another" in follower.violation


def test_an_extension_may_give_reserved_bits_and_opcodes_a_meaning_and_nothing_else() -> None:
    octets = b"\xc2\x01x" + b"\x83\x01y" + b"\x8b\x00"
    follower = server(extended=True)
    assert (follower.feed(octets), follower.violation) == (octets, "")
    assert server(extended=True).feed(b"\x0b\x00") == b"", "whatever it means, a control frame is whole"
    assert client(extended=True).feed(b"\xc2\x01x") == b""


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe8" + b"r" * 123])
def test_nothing_passes_behind_a_close(payload: bytes) -> None:
    close = said(payload, CLOSE)
    for cut in range(len(close)):
        follower = client()
        passed = follower.feed(said(b"one") + close[:cut])
        assert follower.closed == (cut > 1)
        assert passed + follower.feed(close[cut:] + said(b"two")) == said(b"one") + close
        assert (follower.closed, follower.left, follower.violation) == (True, 0, "")
        assert follower.feed(frame(b"\xff" * 200)) == b""
        assert follower.violation == ""


@pytest.mark.parametrize("code", [1001, 1002, 1011])
@pytest.mark.parametrize("key", [b"", b"\x01\xfe\x55\xaa"])
def test_a_close_of_ours_is_one_that_others_read(code: int, key: bytes) -> None:
    reader = FrameProtocol(client=not key, extensions=[])
    reader.receive_bytes(close_frame(code, key))
    [read] = reader.received_frames()
    assert (int(read.opcode), read.frame_finished, read.payload) == (CLOSE, True, (code, ""))
    follower = FrameFollower(bool(key), False)
    assert follower.feed(close_frame(code, key)) == close_frame(code, key)
    assert follower.closed
