"""A control channel, and what is done again and again: a failure ends neither."""

from __future__ import annotations

import socket
from typing import Any

from pytest_twisted import ensureDeferred
from toolkit.waiting import reactor, until
from twisted.internet.defer import Deferred, fail

from apigateway.supervisor.channel import Channel, open_channel
from apigateway.supervisor.messages import Abort, Accept, Failed, Message, encode
from apigateway.supervisor.repeating import repeating
from apigateway.transport.reactor import loop_of


class End:
    """Notes what comes."""

    def __init__(self) -> None:
        self.came: list[Message] = []
        self.lost = False
        self.channel: Channel = None  # type: ignore[assignment]

    def received(self, message: Message) -> None:
        self.came.append(message)
        if isinstance(message, Accept):
            raise OSError(24, "Too many open files")

    def is_lost(self) -> None:
        self.lost = True

    async def open(self, end: socket.socket) -> None:
        self.channel = await open_channel(loop_of(reactor), end, Channel(self.received, self.is_lost))


async def pair() -> tuple[End, End]:
    ends = End(), End()
    for end, one in zip(ends, socket.socketpair(), strict=True):
        await end.open(one)
    return ends


@ensureDeferred
async def test_a_message_that_fails_is_logged_and_the_next_one_is_read(failures: list[Any]) -> None:
    one, other = await pair()
    one.channel.send(Accept([1]))
    one.channel.send(Abort())
    await until(lambda: len(other.came) == 2, "both come")
    assert [type(error) for error in failures] == [OSError]
    one.channel.close()
    await until(lambda: one.lost and other.lost, "both are told of the end")


@ensureDeferred
async def test_who_does_not_understand_still_says_what_it_had_to() -> None:
    one, other = await pair()
    other.channel.send(Failed(["no"]))
    other.channel.data_received(encode(Abort())[:-3] + b"xxx")
    await until(lambda: one.lost and other.lost, "both are told of the end")
    assert one.came == [Failed(["no"])] and other.came == []


@ensureDeferred
async def test_what_fails_once_is_done_again(failures: list[Any]) -> None:
    calls = 0

    def call() -> Deferred[None] | None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("now")
        return fail(OSError("later")) if calls == 2 else None

    loop = repeating(call)
    loop.start(0.01)
    await until(lambda: calls > 3, "it goes on")
    loop.stop()
    assert [str(error) for error in failures] == ["now", "later"]
