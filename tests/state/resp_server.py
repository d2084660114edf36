"""A server of Redis' protocol that answers as it is told: for what a real one cannot easily be brought to say."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hiredis
from toolkit.waiting import event_loop, on_loop

Command = list[bytes]


class RespServer:
    """Listens on a port of the loopback.

    answer: what is sent for a command, as octets; None sends nothing. commands: all that came. delay: seconds that
    answers wait. connections: that stand.
    """

    def __init__(self) -> None:
        self.answer: Callable[[Command], bytes | None] = well
        self.delay = 0.0
        self.commands: list[Command] = []
        self.accepted = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._writers)

    def names(self) -> list[bytes]:
        """The commands without their arguments."""
        return [command[0] for command in self.commands]

    async def start(self) -> None:
        self._server = await on_loop(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self.port = self._server.sockets[0].getsockname()[1]

    def drop(self) -> None:
        """End every connection."""
        for writer in list(self._writers):
            writer.close()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.drop()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await on_loop(_waited(set(self._tasks)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.accepted += 1
        try:
            await self._answer_all(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _answer_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        commands, due = hiredis.Reader(), 0.0
        while data := await reader.read(64 * 1024):
            commands.feed(data)
            while (command := commands.gets()) is not False:
                self.commands.append(command)
                answer = self.answer(command)
                if answer is not None:
                    due = max(due, event_loop().time() + self.delay)  # one after the other, as they were asked
                    event_loop().call_at(due, _write, writer, answer)


def _write(writer: asyncio.StreamWriter, answer: bytes) -> None:
    if not writer.is_closing():
        with suppress(OSError):
            writer.write(answer)


async def _waited(tasks: set[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks)


def well(command: Command) -> bytes | None:
    """As a healthy server: OK, and 1 for a script."""
    return b":1\r\n" if command[0] in (b"EVALSHA", b"EVAL") else b"+OK\r\n"


def always(answer: bytes | None) -> Callable[[Command], bytes | None]:
    """The same for everything."""
    return lambda command: answer


def to(answers: dict[bytes, bytes | None]) -> Callable[[Command], bytes | None]:
    """For some commands so, else `well`."""
    return lambda command: answers[command[0]] if command[0] in answers else well(command)
