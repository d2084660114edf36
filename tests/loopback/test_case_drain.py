"""RC-O38: the end of a real gateway under traffic, with the durations of the case at three tenths. Nobody is cut off
who could be served to the end, and nobody waits for longer than the limit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import Client, request
from toolkit.origin import Asked, Origin
from toolkit.ports import free_port
from toolkit.program import Program
from toolkit.settings import Settings, simple
from toolkit.stage import Stage
from toolkit.waiting import reactor, together, turn, until
from toolkit.websocket import CLOSE, SWITCH, UPGRADE, frame, next_frame, said

from apigateway.cli.demo_processes import Processes

CLIENTS = 50
EVERY = 0.25
# In the case: 15 s, of which a download takes ten.
NOTICE, TIMEOUT, DOWNLOAD = 1.5, 3.0, 3.0
PIECES = 30
PIECE = b"p" * 10_000
PATIENCE = 30.0  # the machine may be busy

# The balancer in front asks so often, and sends nobody any more so long after it has heard.
ASKS_EVERY, NOTICES_AFTER = 0.05, NOTICE * 0.4


@pytest.fixture
def processes() -> Iterator[Processes]:
    """Ended after the test, whatever became of it."""
    processes = Processes(print)
    yield processes
    processes.end()


async def serve(asked: Asked) -> None:
    """A service: quick answers, a long download, one that gets nowhere, a WebSocket that echoes frames."""
    if asked.target == "/download":
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (PIECES * len(PIECE)))
        for _ in range(PIECES):
            asked.send(PIECE)
            await turn(DOWNLOAD / PIECES)
    elif asked.target == "/stall":
        asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
    elif asked.target == "/ws":
        asked.send(SWITCH)
        while True:
            heard = await next_frame(asked.connection, PATIENCE)
            asked.send(frame(heard.payload, heard.opcode))
            if heard.opcode == CLOSE:
                asked.connection.close()
                return
    else:
        asked.answer(200, b"ok")


class Ending:
    """A gateway in a process of its own, its balancer, and its clients."""

    def __init__(self, stage: Stage, program: Program, management: tuple[str, int]) -> None:
        self.stage, self.program, self.management = stage, program, management
        self.sends = True
        self.answers: list[tuple[float, str | None]] = []
        self.told = self.not_ready = 0.0

    async def client(self) -> Client:
        return await self.stage.client(self.program.address)

    async def ready(self) -> int:
        answer = await self.stage.ask("GET", "/readyz", place=self.management, within=PATIENCE)
        return answer.status

    def terminate(self) -> None:
        self.program.process.terminate()
        self.told = self.told or reactor.seconds()

    async def exited(self) -> int:
        """The exit status, once it has one."""
        process = self.program.process
        await until(lambda: process.poll() is not None, "the process ends", within=PATIENCE)
        return int(process.returncode)

    async def balance(self) -> None:
        """Send clients as long as the gateway is ready, and a little longer."""
        while (status := await self.ready()) == 200:
            await turn(ASKS_EVERY)
        assert status == 503
        self.not_ready = reactor.seconds()
        await turn(NOTICES_AFTER)
        self.sends = False

    async def ask_regularly(self) -> None:
        """A client: keeps its connection until it is told not to, and then connects anew."""
        while self.sends:
            client = await self.client()
            told = None
            while self.sends and told is None:
                answer = await client.ask("GET", "/", within=PATIENCE)
                assert (answer.status, answer.body) == (200, b"ok")
                told = answer.get("connection")
                self.answers.append((reactor.seconds(), told))
                await turn(EVERY)
            if told:
                await client.gone(PATIENCE)
            client.close()

    async def download(self) -> None:
        client = await self.client()
        answer = await client.ask("GET", "/download", within=PATIENCE)
        assert answer.body == PIECE * PIECES
        assert reactor.seconds() > self.told + NOTICE, "it was still running when the listener closed"
        await client.gone(PATIENCE)

    async def converse(self) -> float:
        """A WebSocket that is used to the last; when it was told that the gateway goes away."""
        client = await self.client()
        assert (await client.ask("GET", "/ws", *UPGRADE, within=PATIENCE)).status == 101
        while True:
            client.send(said(b"still there?"))
            heard = await next_frame(client, PATIENCE)
            if heard.opcode == CLOSE:
                assert heard.code == 1001
                when = float(reactor.seconds())
                client.send(said(heard.payload, CLOSE))
                assert await client.rest(PATIENCE) == b""
                return when
            await turn(0.05)


async def begin(stage: Stage, processes: Processes, workers: int, **drain: str) -> tuple[Ending, Origin]:
    """The gateway, serving."""
    origin = await stage.origin(serve)
    management = ("127.0.0.1", free_port())
    managed = {"address": f"127.0.0.1:{management[1]}"}
    settings: Settings = {"workers": workers, "drain": drain, "management": managed}
    program = Program(Path(stage.folder), lambda: simple(origin, **settings), processes, {})
    ending = Ending(stage, program, management)
    await wait_ready(ending)
    return ending, origin


async def wait_ready(ending: Ending) -> None:
    """Wait until the management listener, which comes last, says that it serves."""
    end = reactor.seconds() + PATIENCE
    while True:
        try:
            if await ending.ready() == 200:
                return
        except OSError:
            pass
        assert reactor.seconds() < end
        await turn(0.02)


@pytest.mark.parametrize("workers", [1, 2])
@ensureDeferred
async def test_rc_o38_a_drain_cuts_nobody_off(stage: Stage, processes: Processes, workers: int) -> None:
    ending, origin = await begin(stage, processes, workers, notice=f"{NOTICE}s", timeout=f"{TIMEOUT}s")
    idle = [await ending.client() for _ in range(5)]
    for one in idle:
        assert (await one.ask("GET", "/idle")).status == 200
    regular = together(ending.balance(), *(ending.ask_regularly() for _ in range(CLIENTS)))
    conversation = together(ending.converse())
    await until(lambda: len(ending.answers) > CLIENTS, within=PATIENCE)
    download = together(ending.download())
    await until(lambda: any(asked.target == "/download" for asked in origin.asked), within=PATIENCE)

    ending.terminate()
    await regular
    assert ending.not_ready - ending.told < NOTICE, "readiness turned while requests were still taken"
    last = [told for when, told in ending.answers if when > ending.not_ready]
    assert last and set(last) == {"close"}
    for one in idle:
        await one.gone(PATIENCE)
        assert (one.unread, one.reason) == (b"", None)
    await download
    [gone_away] = await conversation
    assert gone_away - ending.told > NOTICE + TIMEOUT - 0.05
    assert await ending.exited() == 0
    assert sorted({line["status"] for line in ending.program.logged()}) == [101, 200]
    assert len(ending.program.logged()) == len(ending.answers) + len(idle) + 2


@pytest.mark.parametrize("workers", [1, 2])
@ensureDeferred
async def test_rc_o38_a_second_signal_ends_it_fast(stage: Stage, processes: Processes, workers: int) -> None:
    ending, _ = await begin(stage, processes, workers, notice="100ms", timeout="100s")
    waiting, spoken = await ending.client(), await ending.client()
    waiting.send(request("GET", "/stall"))
    assert (await waiting.head()).status == 200
    assert (await spoken.ask("GET", "/ws", *UPGRADE)).status == 101
    ending.terminate()
    await until_refused(ending)
    assert ending.program.process.poll() is None
    spoken.send(said(b"one"))
    assert (await next_frame(spoken)).payload == b"one"
    ending.terminate()
    assert await ending.exited() == 0
    assert await waiting.rest() == b""
    assert await spoken.rest() == b"", "fast: without a word"


async def until_refused(ending: Ending) -> None:
    """Wait until the notice is over: nobody is let in any more."""
    end = reactor.seconds() + PATIENCE
    while reactor.seconds() < end:
        try:
            client: Any = await ending.client()
        except OSError:
            return
        client.close()
        await turn(0.02)
    raise AssertionError("it still listens")
