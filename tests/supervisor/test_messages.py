"""What is said on a control channel, through the wire."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apigateway.supervisor import messages
from apigateway.supervisor.messages import BadFrame, Decoder, Message, encode

EACH: list[Message] = [
    messages.Begin(1, 2, "/f", {"127.0.0.1:80": [3, 4]}, [0, 1], [["up", "one"]], b"\x00body\xff"),
    messages.Hello("1.0", "abc"),
    messages.Prepare(3, 2, b"{}"),
    messages.Commit(3),
    messages.Discard(3),
    messages.Accept([0, 2]),
    messages.Drained([["up", "one"]]),
    messages.Ask(7, "explain", ["GET", "/", [["a", "b"]]]),
    messages.Drain(handed_over=True),
    messages.Abort(),
    messages.Reopen(),
    messages.Ready(1, "abc"),
    messages.Failed(["one", "two"]),
    messages.Prepared(3),
    messages.Refused(3, ["/apis: no"]),
    messages.Committed(3, 2, "abc"),
    messages.Answer(7, {"a": [1, None, True]}),
    messages.Answer(8, missing="it"),
    messages.Alive(1, "abc"),
    messages.Figures(b"x" * 100_000),
    messages.Leaving(),
]


def test_every_kind_is_tried_here() -> None:
    assert {type(one) for one in EACH} == set(messages._KINDS.values())


@given(st.lists(st.integers(1, 3000), min_size=1))
def test_messages_come_through_in_any_pieces(sizes: list[int]) -> None:
    stream, decoder, came = b"".join(map(encode, EACH)), Decoder(), []
    turn = 0
    while stream:
        size = sizes[turn % len(sizes)] if turn < len(sizes) else 10_000
        came += decoder.feed(stream[:size])
        stream, turn = stream[size:], turn + 1
    assert came == EACH


@pytest.mark.parametrize(
    "octets",
    [
        struct.pack("!II", messages.MAX_HEAD + 1, 0),
        struct.pack("!II", 2, messages.MAX_BODY + 1),
        struct.pack("!II", 2, 0) + b"{}",
        struct.pack("!II", 2, 0) + b"[]",
        struct.pack("!II", 2, 0) + b"{x",
        struct.pack("!II", 16, 0) + b'{"kind": "Nope"}',
        struct.pack("!II", 18, 0) + b'{"kind": "Commit"}',
        struct.pack("!II", 17, 1) + b'{"kind": "Abort"}x',
    ],
)
def test_what_is_no_message_is_told(octets: bytes) -> None:
    with pytest.raises(BadFrame):
        list(Decoder().feed(octets))


def test_what_is_too_large_is_not_sent() -> None:
    with pytest.raises(BadFrame, match="too large"):
        encode(messages.Answer(1, "x" * messages.MAX_HEAD))
