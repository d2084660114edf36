"""What a program makes of its state: every worker has its link, serves without it, and operators see which it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer
from supervised import Program, program_in, until

PASSWORD = "p@ss/w:rd"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer("--requirepass", PASSWORD, admin=("default", PASSWORD)) as made:
        yield made


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    with program_in(tmp_path) as program:
        yield program


def by_reference(program: Program, server: RedisServer) -> str:
    """A url whose password stands in a file."""
    (program.folder / "secret").write_text(f"{PASSWORD}\n")
    return server.url.replace("redis://", "redis://:${file:secret}@")


def write(program: Program, server: RedisServer, workers: int, **more: Any) -> None:
    references = {"files": ["secret"]}
    program.write(workers, state=by_reference(program, server), references=references, **more)


def state(program: Program) -> dict[str, Any]:
    found: dict[str, Any] = program.get("status")["state"]
    return found


def all_connected(program: Program) -> Callable[[], bool]:
    return lambda: bool(state(program)["connected"])


@pytest.mark.parametrize("workers", [1, 2])
def test_it_serves_before_its_state_is_there(program: Program, server: RedisServer, workers: int) -> None:
    server.kill()
    write(program, server, workers)
    program.start()
    assert program.call("GET", "/readyz")[0] == 200
    assert program.ask()[0]
    shown = state(program)
    assert (shown["kind"], shown["connected"]) == ("redis", False)
    assert "cannot be reached" in shown["why_not"]
    until(lambda: len(program.events("the shared state does not answer")) == workers, program.events)
    assert program.metric("store_connected") == 0

    server.start()
    until(all_connected(program), lambda: state(program))
    until(lambda: program.metric("store_connected") == workers, "figures are told")
    until(lambda: len(program.events("the shared state answers again")) == workers, program.events)
    clients = server.command("CLIENT", "LIST")
    assert clients.count(b"name=apigateway:default ") == workers

    server.kill()
    until(lambda: not state(program)["connected"], lambda: state(program))
    assert program.call("GET", "/readyz")[0] == 200
    assert program.ask()[0]
    until(lambda: program.metric("store_circuit_opened_total") == workers, "figures are told")
    # The outages are within one interval, so that nothing more is said.
    assert len(program.events("the shared state does not answer")) == workers


def test_a_password_is_shown_nowhere(program: Program, server: RedisServer) -> None:
    write(program, server, 2)
    program.start()
    until(all_connected(program), lambda: state(program))
    shown = json.dumps([program.get("status"), program.get("config")])
    assert PASSWORD not in shown
    assert "secret}" not in shown
    assert program.get("config")["state"]["password"] == "***"
    assert PASSWORD not in (program.folder / "error.log").read_text()
    stored = program.folder / "data/last-good.json"
    until(stored.exists, "the revision is stored")
    kept = stored.read_text()
    assert PASSWORD not in kept
    assert "${file:secret}" in kept


def test_another_state_needs_a_restart(program: Program, server: RedisServer) -> None:
    write(program, server, 2)
    program.start()
    program.write(2, state="memory:")
    status, outcome = program.reload()
    assert not outcome["taken"], status
    assert "/state: a change of this needs a restart" in "\n".join(outcome["problems"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("redis://h:99999", "/state/url: a port is a number"),
        ("redis://:${env:NOT_ALLOWED}@h", '/state/password: references.env does not allow the variable "NOT_ALLOWED"'),
        ({"url": "rediss://h", "ca": "missing.pem"}, "/state/ca: there is no "),
        ({"url": "rediss://h", "ca": "gateway.json"}, "/state/ca: "),
        ({"url": "redis://h", "timeout": "2s"}, "/state/timeout: every request may have to wait"),
    ],
)
def test_a_check_refuses_what_could_not_be_reached(program: Program, settings: Any, expected: str) -> None:
    program.write(1, state=settings)
    command = [sys.executable, "-m", "apigateway.cli", "check", str(program.file)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 1
    assert expected in checked.stdout + checked.stderr
