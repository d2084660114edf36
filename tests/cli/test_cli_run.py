"""`apigateway run` and `twistd apigateway`: real processes on real sockets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from files import MOCK, free_address, written

from apigateway.cli.demo_processes import Processes
from apigateway.config.addresses import TcpAddress

RUN = (sys.executable, "-m", "apigateway.cli", "run")
TWISTD_ALONE = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
TWISTD = (*TWISTD_ALONE, "--nodaemon", "--pidfile=", "apigateway", "--config")
WHICH_LOOP = """
import sys
from apigateway import tap
from apigateway.transport.reactor import loop_of
options = tap.Options()
options.parseOptions(["--config", sys.argv[1]])
tap.makeService(options)
from twisted.internet import reactor
print(type(loop_of(reactor)).__module__)
"""
BROKEN = "version: 1\nlisteners: []\napi: []\n"


def hello(address: TcpAddress) -> str:
    connection = http.client.HTTPConnection(address.host, address.port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def finished(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=30, check=False
    )


def wait_until_gone(pid: int) -> None:
    """For a process that is no child of ours: ask until nobody answers to its id, 20 s at most."""
    pause = threading.Event()
    for _ in range(1000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        pause.wait(0.02)
    raise AssertionError(f"process {pid} does not end")


@pytest.fixture
def address() -> TcpAddress:
    return free_address()


@pytest.fixture
def file(tmp_path: Path, address: TcpAddress) -> Path:
    return written(tmp_path, MOCK.format(address=address, body="hello"))


@pytest.mark.parametrize("command", [RUN, TWISTD], ids=["run", "twistd"])
def test_it_serves_until_it_is_told_to_end(
    processes: Processes, file: Path, address: TcpAddress, command: tuple[str, ...]
) -> None:
    process = processes.begin([*command, str(file)], address, stdout=subprocess.PIPE)
    assert hello(address) == "hello"
    process.terminate()
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    exchanges = [line for line in out.splitlines() if '"duration_ms"' in line]
    assert [json.loads(line)["status"] for line in exchanges] == [200]


def test_run_logs_to_standard_error_and_leaves_standard_output_to_the_gateway(file: Path) -> None:
    process = subprocess.Popen(
        [*RUN, str(file), f"--pidfile={file}.pid"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["message"] == "serving"
        assert int(Path(f"{file}.pid").read_text()) == process.pid
        process.terminate()
        out, errors = process.communicate(timeout=20)
    finally:
        process.kill()
    assert "starting up" in errors
    assert all(line.startswith("{") for line in out.splitlines())


@pytest.mark.parametrize("command", [RUN, TWISTD], ids=["run", "twistd"])
def test_a_broken_file_is_told_whole_and_ends_with_1(tmp_path: Path, command: tuple[str, ...]) -> None:
    file = written(tmp_path, BROKEN)
    done = finished(*command, file)
    assert done.returncode == 1
    assert f"{file}:2: /listeners" in done.stderr and f"{file}:3: /api" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [RUN, TWISTD], ids=["run", "twistd"])
def test_last_good_serves_what_served_before(
    processes: Processes, tmp_path: Path, file: Path, address: TcpAddress, command: tuple[str, ...]
) -> None:
    first = processes.begin([*command, str(file)], address, stdout=subprocess.PIPE)
    assert hello(address) == "hello"
    first.terminate()
    first.communicate(timeout=20)
    assert (tmp_path / "data/last-good.json").exists()
    file.write_text(BROKEN)
    assert finished(*command, file).returncode == 1
    processes.begin([*command, str(file), "--last-good"], address, stdout=subprocess.PIPE)
    assert hello(address) == "hello"


def test_an_address_that_is_taken_is_named(processes: Processes, file: Path, address: TcpAddress) -> None:
    processes.begin([*RUN, str(file)], address, stdout=subprocess.PIPE)
    second = finished(*RUN, file)
    assert second.returncode == 1
    assert f"Error: cannot listen at {address}: Address already in use" in second.stderr


def test_a_hup_reloads(processes: Processes, file: Path, address: TcpAddress) -> None:
    process = processes.begin([*RUN, str(file)], address, stdout=subprocess.PIPE)
    assert hello(address) == "hello"
    file.write_text(MOCK.format(address=address, body="changed"))
    process.send_signal(signal.SIGHUP)
    assert any(hello(address) == "changed" for _ in range(2000))


def test_twistd_goes_to_the_background_and_leaves_its_pid(
    processes: Processes, file: Path, address: TcpAddress
) -> None:
    pidfile, log = Path(f"{file}.pid"), Path(f"{file}.log")
    text = file.read_text() + f'logs: {{access: "{log}", error: "{log}"}}\n'
    file.write_text(text)
    # The parent ends as soon as the child listens, so that a script can go on.
    own = (f"--pidfile={pidfile}", f"--logfile={log}.twistd")
    done = finished(*TWISTD_ALONE, *own, "apigateway", "--config", file)
    assert done.returncode == 0, done
    pid = int(pidfile.read_text())
    try:
        assert hello(address) == "hello"
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until_gone(pid)  # only then is every line written
    assert '"serving"' in log.read_text()


def test_twistd_without_a_file_says_what_is_missing() -> None:
    done = finished(*TWISTD[:-1])
    assert done.returncode == 1
    assert "give --config FILE" in done.stdout


def test_twistd_chooses_our_reactor_and_refuses_one_that_cannot_serve(file: Path) -> None:
    assert finished(sys.executable, "-c", WHICH_LOOP, file).stdout == "uvloop\n"
    done = finished(*TWISTD_ALONE, "--reactor=select", *TWISTD[3:], file)
    assert done.returncode == 1
    assert "native transports need an asyncio reactor (twistd --reactor=uvloop)" in done.stderr
