"""The demo's parts: its line of traffic, and its services."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import subprocess
import sys
from asyncio import IncompleteReadError
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from files import free_address
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred

from apigateway.cli.authority import Authority
from apigateway.cli.demo_processes import NotStarted, Processes
from apigateway.cli.demo_traffic import CLEAR, Traffic
from apigateway.cli.demo_websocket import TEXT, accept_value, frame, read_frame, send_and_receive

T = TypeVar("T")

RECORD: dict[str, Any] = {
    "method": "GET",
    "target": "/hello",
    "status": 200,
    "target_name": "one",
    "attempts": 1,
    "duration_ms": {"total": 3.14},
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "1 passed, last: GET /hello -> 200 from one, 3.1 ms"),
        ({"attempts": 2}, "1 passed, last: GET /hello -> 200 from one, 2 attempts, 3.1 ms"),
        (
            {"status": 401, "target_name": "", "attempts": 0, "fault": {"type": "unauthenticated"}},
            "1 passed, last: GET /hello -> 401, unauthenticated, 3.1 ms",
        ),
        ({"target": "/\x1b[2J"}, "1 passed, last: GET /?[2J -> 200 from one, 3.1 ms"),
    ],
)
def test_an_exchange_is_told_in_a_line(changes: dict[str, Any], told: str) -> None:
    stream = io.StringIO()
    Traffic(stream).take(json.dumps(RECORD | changes))
    assert stream.getvalue() == f"{told}\n"


def test_on_a_terminal_the_line_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    traffic = Traffic(stream)
    traffic.take(json.dumps(RECORD))
    traffic.take(json.dumps(RECORD))
    traffic.say("ending")
    assert stream.getvalue() == (
        f"{CLEAR}1 passed, last: GET /hello ->{CLEAR}2 passed, last: GET /hello ->{CLEAR}ending\n"
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"level": "warn", "message": "reload refused", "why": "x"}', "gateway: reload refused why=x\n"),
        ('{"level": "info", "message": "serving", "file": "f"}', "gateway: serving file=f\n"),
        ('{"level": "info", "message": "other"}', ""),
        ("Traceback", "Traceback\n"),
    ],
)
def test_events_stay_when_they_matter(line: str, told: str) -> None:
    stream = io.StringIO()
    Traffic(stream).take(line)
    assert stream.getvalue() == told


# ---- the service


def test_the_service_answers_on_one_connection(processes: Processes) -> None:
    address = free_address()
    processes.service("one", address)
    connection = http.client.HTTPConnection(address.host, address.port, timeout=10)

    def ask(method: str, target: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        connection.request(method, target, body, {name.replace("_", "-"): text for name, text in headers.items()})
        response = connection.getresponse()
        return response.status, response.read()

    assert ask("GET", "/hello") == (200, b'{"hello": "world", "service": "one"}\n')
    assert ask("HEAD", "/hello") == (200, b"")
    assert ask("GET", "/fail?status=418")[0] == 418
    assert ask("GET", "/fail?status=204") == (204, b"")
    assert ask("POST", "/hello", b"not read") == (200, b'{"hello": "world", "service": "one"}\n')
    assert ask("GET", "/nowhere")[0] == 404
    assert ask("GET", "/bytes?n=300000")[1] == (bytes(range(256)) * 1172)[:300000]
    assert json.loads(ask("POST", "/upload", iter([b"abc", b"def"]))[1])["octets"] == 6
    echoed = json.loads(ask("PUT", "/echo?x=%20", "tä".encode(), X_Any="1")[1])
    assert (echoed["method"], echoed["target"], echoed["body"]) == ("PUT", "/echo?x=%20", "tä")
    assert echoed["headers"]["x-any"] == "1"
    assert ask("GET", "/events?count=1")[1] == b"id: 1\ndata: event 1 of one\n\n"
    assert ask("GET", "/ws")[0] == 426
    connection.close()


def test_a_taken_port_is_told(processes: Processes) -> None:
    address = free_address()
    processes.service("one", address)
    done = subprocess.run(
        [sys.executable, "-m", "apigateway.cli.demo_service", "--port", str(address.port)],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert str(address) in done.stderr


def test_a_gateway_that_does_not_start_says_why(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(NotStarted, match="cannot be read"):
        processes.gateway(tmp_path / "none.yaml", free_address())


# ---- WebSocket


def done(coroutine: Coroutine[Any, Any, T]) -> Deferred[T]:
    """What comes of a coroutine of asyncio, on the loop under the reactor."""
    return Deferred.fromFuture(asyncio.ensure_future(coroutine))


def test_the_accept_value_is_the_one_of_the_rfc() -> None:
    assert accept_value("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455 1.3


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("mask", [b"", b"\x01\x02\x03\x04"])
@ensureDeferred
async def test_frames_are_read_as_they_were_written(length: int, mask: bytes) -> None:
    async def read() -> tuple[int, bytes]:
        reader = asyncio.StreamReader()
        reader.feed_data(frame(TEXT | 0x80, b"x" * length, mask))
        reader.feed_eof()
        return await read_frame(reader)

    assert await done(read()) == (TEXT | 0x80, b"x" * length)


@ensureDeferred
async def test_a_frame_that_is_too_long_is_not_read() -> None:
    async def read() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"\x82\x7f" + (1 << 40).to_bytes(8))
        with pytest.raises(IncompleteReadError):
            await read_frame(reader)

    await done(read())


@ensureDeferred
async def test_the_service_echoes_texts(processes: Processes) -> None:
    address = free_address()
    processes.service("one", address)
    assert await done(send_and_receive(f"ws://{address}/ws", "hällo")) == "hällo"
    with pytest.raises(ConnectionError, match="404"):
        await done(send_and_receive(f"ws://{address}/none", "x"))


def test_the_authority_refuses_keys_that_are_not_its_own(tmp_path: Path) -> None:
    Authority.of_folder(tmp_path)
    (tmp_path / "ca.key").write_bytes(b"no key")
    with pytest.raises(ValueError):
        Authority.of_folder(tmp_path)
