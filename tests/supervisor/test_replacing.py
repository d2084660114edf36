"""USR2: the program is replaced, and nobody who asks it notices."""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervised import PATIENCE, RUN, TWISTD, Load, Program, gone, until
from toolkit.ports import free_port

TERM_IS_CAUGHT = 1 << (signal.SIGTERM - 1)
COMMANDS = {"run": (*RUN,), "twistd": (*TWISTD, "--pidfile=gateway.pid", "apigateway", "--config")}


def new_programs(program: Program) -> Iterator[int]:
    """Processes that the program began with the same command."""
    command = Path(f"/proc/{program.process.pid}/cmdline").read_bytes()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == program.process.pid and (process / "cmdline").read_bytes() == command:
                yield int(process.name)
        except FileNotFoundError:
            continue


def new_program(program: Program) -> int:
    """The new program, once it has its sockets and hears signals: the reactor runs."""

    def hears() -> list[int]:
        return [pid for pid in new_programs(program) if _caught(pid) & TERM_IS_CAUGHT]

    return until(hears, lambda: program.events())[0]


def _caught(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("SigCgt")), 16)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("command", COMMANDS)
def test_usr2_under_load_fails_nothing(
    program: Program, command: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(program.folder)
    program.write(workers, mark="old")
    program.start(*COMMANDS[command])
    old = program.process.pid
    with Load(program) as load:
        program.write(workers, mark="new")
        program.signal(signal.SIGUSR2)
        assert program.process.wait(60) == 0
        new = program.event("replaced")["pid"]
        assert new != old and not gone(new)
        load.more()
        assert program.ask()[1] == "new"
    assert load.lost == []
    assert program.call("GET", "/readyz")[0] == 200
    if command == "twistd":
        assert int((program.folder / "gateway.pid").read_text()) == new
        assert not (program.folder / "gateway.pid.oldbin").exists()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_new_program_that_fails_leaves_the_old_one_serving(
    program: Program, command: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(program.folder)
    program.write(workers, mark="old")
    program.start(*COMMANDS[command])
    old = program.process.pid
    with Load(program) as load:
        program.put('{"version": 1, "listeners": []}')
        program.signal(signal.SIGUSR2)
        assert "/listeners" in program.event("the new program failed, this one goes on")["why"]
        load.more()
        assert program.ask()[1] == "old"
    assert load.lost == [] and program.process.poll() is None
    if command == "twistd":
        assert int((program.folder / "gateway.pid").read_text()) == old


@pytest.mark.parametrize("workers", [1, 2])
def test_a_header_of_a_balancer_that_comes_after_the_replacement_is_in_time(program: Program, workers: int) -> None:
    proxied = {"trusted": ["127.2.0.0/16"], "timeout": "30s"}
    public = {"name": "public", "address": str(program.public), "proxy_protocol": proxied}
    program.write(workers, listeners=[public], drain={"notice": "300ms", "timeout": "30s"})
    program.start()
    place, balancer = (program.public.host, program.public.port), ("127.2.0.1", 0)
    with socket.create_connection(place, timeout=PATIENCE, source_address=balancer) as connection:
        program.signal(signal.SIGUSR2)
        program.event("replaced")
        closed, _, _ = select.select([connection], [], [], 1.0)
        assert not closed
        assert program.process.poll() is None
        connection.sendall(b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert program.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_address_that_is_taken_is_told(program: Program, workers: int) -> None:
    program.write(workers)
    program.start()
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        more = {"name": "more", "address": f"127.0.0.1:{taken.getsockname()[1]}"}
        program.write(workers, listeners=[{"name": "public", "address": str(program.public)}, more])
        program.signal(signal.SIGUSR2)
        assert "in use" in program.event("the new program failed, this one goes on")["why"]
    assert program.ask()[0]
    # What was wrong has passed: the next one takes over.
    program.signal(signal.SIGUSR2)
    assert program.process.wait(60) == 0
    assert len(program.get("status")["listeners"]) == 2


@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 2), (2, 1)])
def test_the_number_of_workers_changes(program: Program, before: int, after: int) -> None:
    listeners = [{"name": "public", "address": str(program.public)}, {"name": "local", "address": "unix:local.sock"}]
    program.write(before, listeners=listeners)
    program.start()
    with Load(program) as load:
        program.write(after, listeners=listeners)
        program.signal(signal.SIGUSR2)
        assert program.process.wait(60) == 0
        load.more()
        assert {program.ask()[0] for _ in range(30)}
    assert load.lost == []
    if after > 1:
        assert len(program.pids()) == after
    assert (program.folder / "local.sock").is_socket()


def test_twice_in_a_row(program: Program) -> None:
    program.write(2)
    program.start()
    with Load(program) as load:
        program.signal(signal.SIGUSR2)
        first = program.event("replaced")["pid"]
        assert program.process.wait(60) == 0
        os.kill(first, signal.SIGUSR2)
        until(lambda: len(program.events("replaced")) == 2, lambda: program.events())
        until(lambda: gone(first), "it ends")
        load.more()
    assert load.lost == []


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 4)])
def test_more_workers_that_are_slow_and_then_fail_cost_nobody_anything(
    program: Program, before: int, after: int
) -> None:
    program.write(before, mark="old")
    program.start()
    program.mood("hang")
    with Load(program) as load:
        program.write(after, mark="new")
        program.signal(signal.SIGUSR2)
        new = new_program(program)
        # Each connection is another draw of the kernel's: none of them is for who does not accept yet.
        assert {program.ask()[1] for _ in range(50)} == {"old"}
        os.kill(new, signal.SIGKILL)
        program.event("the new program failed, this one goes on")
        load.more()
    assert load.lost == [] and program.process.poll() is None


@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_program_that_is_told_to_end_leaves_the_file_of_a_unix_socket(program: Program, workers: int) -> None:
    listeners = [{"name": "public", "address": str(program.public)}, {"name": "local", "address": "unix:local.sock"}]
    program.write(workers, listeners=listeners)
    program.start()
    program.mood("hang")
    program.signal(signal.SIGUSR2)
    new = new_program(program)
    os.kill(new, signal.SIGTERM)
    program.event("the new program failed, this one goes on")
    until(lambda: gone(new), "it ends")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(program.folder / "local.sock"))
    # Who was replaced leaves it, too, and who serves removes it.
    program.mood("well")
    program.signal(signal.SIGUSR2)
    assert program.process.wait(60) == 0
    assert (program.folder / "local.sock").is_socket()
    new = program.event("replaced")["pid"]
    os.kill(new, signal.SIGTERM)
    until(lambda: gone(new), "it ends")
    assert not (program.folder / "local.sock").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_removed_file_of_a_unix_socket_stops_no_worker_and_no_replacement(program: Program, workers: int) -> None:
    listeners = [{"name": "public", "address": str(program.public)}, {"name": "local", "address": "unix:local.sock"}]
    program.write(workers, listeners=listeners)
    program.start()
    (program.folder / "local.sock").unlink()
    if workers > 1:
        os.kill(program.pids()[0], signal.SIGKILL)
        until(lambda: program.metric("worker_restarts_total") == 1, "it is begun again")
        program.wait_workers()
    program.signal(signal.SIGUSR2)
    assert program.process.wait(60) == 0
    assert program.ask()[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_to_who_was_replaced_and_drains_cuts_nothing_short(program: Program, workers: int) -> None:
    program.write(workers, drain={"notice": "1h", "timeout": "1h"})
    program.start()
    program.write(workers)
    program.signal(signal.SIGUSR2)
    program.event("replaced")
    program.signal(signal.SIGTERM)
    program.event("it drains already")
    assert program.process.poll() is None and program.events("ending now") == []
    program.signal(signal.SIGTERM)
    assert program.process.wait(PATIENCE) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_signal_cuts_the_notice_short(program: Program, workers: int) -> None:
    program.write(workers, drain={"notice": "1h", "timeout": "1h"})
    program.start()
    program.signal(signal.SIGTERM)
    until(lambda: program.call("GET", "/readyz")[0] == 503, "it drains")
    assert program.process.poll() is None
    program.signal(signal.SIGTERM)
    assert program.process.wait(60) == 0
