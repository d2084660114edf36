"""A revision is taken by all workers, or by none."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from supervised import PATIENCE, RUN, Load, Program, limited, until


def marks(program: Program) -> set[str]:
    """What the workers say: some answers are of each of them."""
    return {program.ask()[1] for _ in range(30)}


def test_reloads_across_all_under_load_fail_nothing(program: Program) -> None:
    program.write(2, mark="v0")
    program.start()
    pids = program.pids()
    with Load(program) as load:
        for number in range(1, 6):
            program.write(2, mark=f"v{number}")
            status, result = program.reload()
            assert (status, result["taken"]) == (200, True)
            until(lambda: all(worker["up_to_date"] for worker in program.workers()), "all have it")
            assert marks(program) == {f"v{number}"}
            load.more()
    assert load.lost == []
    assert program.pids() == pids
    assert program.metric("reloads_total", result="taken") == 6  # with the first one
    stored = program.folder / "data/last-good.json"
    until(lambda: "v5" in stored.read_text(), "the last revision is stored")


def test_a_hup_reloads_and_reopens_the_logs_of_all(program: Program) -> None:
    program.write(2, mark="old")
    program.start()
    program.ask()
    until(lambda: (program.folder / "access.log").stat().st_size, "a line is written")
    (program.folder / "access.log").rename(program.folder / "access.log.1")
    program.write(2, mark="new")
    program.signal(signal.SIGHUP)
    until(lambda: marks(program) == {"new"}, "all have it")
    lines = until(lambda: (program.folder / "access.log").read_text().splitlines(), "lines go to the new file")
    assert json.loads(lines[0])["status"] == 200
    program.ask()
    before = (program.folder / "access.log.1").stat().st_size
    assert marks(program) == {"new"}
    assert (program.folder / "access.log.1").stat().st_size == before


def test_a_broken_file_changes_nothing_and_a_respawned_worker_gets_what_runs(program: Program) -> None:
    program.write(2, mark="good")
    program.start()
    program.put('{"version": 1, "listeners": []}')
    status, result = program.reload()
    assert status == 422
    assert any("/listeners" in problem for problem in result["problems"])
    with Load(program) as load:
        first = program.pids()[0]
        program.call("GET", "/v1/worker/status")
        load.more(10)
    assert load.lost == []
    try:
        program.ask({"X-Die": "1"})
    except (OSError, subprocess.SubprocessError):
        pass
    except Exception as error:
        assert "Disconnected" in type(error).__name__
    until(lambda: program.metric("worker_restarts_total") == 1, "it is begun again")
    program.wait_workers()
    assert marks(program) == {"good"}
    assert first > 0


def test_what_one_worker_refuses_is_taken_by_none(program: Program) -> None:
    program.write(2, mark="good")
    program.start()
    pids = program.pids()
    program.write(2, mark="worse", once=str(program.folder / "once"))
    status, result = program.reload()
    assert status == 422
    assert any("/apis/0/routes/0/pre_flow/request/1" in problem for problem in result["problems"])
    assert (program.folder / "once").exists()  # one could
    assert marks(program) == {"good"}
    assert program.pids() == pids and all(worker["up_to_date"] for worker in program.workers())
    stored = program.folder / "data/last-good.json"
    until(stored.exists, "the revision is stored")
    assert "worse" not in stored.read_text()
    # The next one is taken: nothing of the other was left behind.
    program.write(2, mark="next")
    assert program.reload()[0] == 200
    assert marks(program) == {"next"}


def test_a_start_that_cannot_be_provisioned_ends_with_1(program: Program) -> None:
    (program.folder / "once").touch()
    program.write(2, once=str(program.folder / "once"))
    done = subprocess.run([*RUN, str(program.file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "/apis/0/routes/0/pre_flow/request/1" in done.stderr


def test_an_address_that_is_taken_is_told(program: Program) -> None:
    program.write(2)
    program.start()
    done = subprocess.run([*RUN, str(program.file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"cannot listen at {program.public}: Address already in use" in done.stderr


@pytest.mark.parametrize("to_all", [False, True])
def test_term_under_load_fails_nothing(program: Program, to_all: bool) -> None:
    program.write(2, drain={"notice": "3s", "timeout": "5s"})
    program.start()
    pids = program.pids() if to_all else []
    with Load(program) as load:
        load.closing = True
        program.signal(signal.SIGTERM)
        until(lambda: program.call("GET", "/readyz")[0] == 503, "it is not ready")
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        assert program.process.wait(30) == 0
    assert load.lost == []
    assert program.events("stopped")


def test_a_second_term_ends_now(program: Program) -> None:
    program.write(2, drain={"notice": "30s", "timeout": "60s"})
    program.start()
    pids = program.pids()
    program.signal(signal.SIGTERM)
    until(lambda: program.call("GET", "/readyz")[0] == 503, "it drains")
    program.signal(signal.SIGTERM)
    assert program.process.wait(30) == 0
    assert pids


@pytest.mark.parametrize("workers", [1, 2])
def test_a_term_before_the_loop_runs_ends_it(program: Program, workers: int) -> None:
    program.write(workers)
    command = limited(
        "import os, signal; from twisted.internet.asyncioreactor import AsyncioSelectorReactor as R; "
        "start = R.startRunning; "
        "R.startRunning = lambda *a, **k: (start(*a, **k), os.kill(os.getpid(), signal.SIGTERM))"
    )
    # Twisted's own answer to the signal: what it has begun ends, then it dies of it.
    assert subprocess.run([*command, str(program.file)], timeout=PATIENCE).returncode == -signal.SIGTERM
    assert [event["message"] for event in program.events()] == ["stopped"]


def test_a_hup_before_the_start_is_over_is_done_after_it(program: Program) -> None:
    program.write(2, mark="old")
    program.mood("hang")
    program.begin()
    children = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children")
    pids = until(lambda: len(found := children.read_text().split()) == 2 and found, "workers are begun")
    program.write(2, mark="new")
    program.signal(signal.SIGHUP)
    program.mood("well")
    for pid in map(int, pids):
        os.kill(pid, signal.SIGKILL)
    program.wait_ready()
    until(lambda: marks(program) == {"new"}, "it is taken")
    assert program.events("refused") == []


@pytest.mark.parametrize("workers", [1, 2])
def test_a_storm_of_hups_is_one_reload_more(program: Program, workers: int) -> None:
    program.write(workers)
    program.start()
    program.mood("hang")
    for number in range(20):
        program.signal(signal.SIGHUP)
        program.get("status")  # so that none is merged with another on its way
        if number == 0:
            until(lambda: list(program.folder.glob("hangs-*")), "it is under way")
    program.write(workers, mark="new")
    program.mood("well")
    assert program.reload()[0] == 200
    taken = "revision taken by all workers" if workers > 1 else "revision taken"
    until(lambda: len(program.events(taken)) == 3, lambda: program.events())
    assert marks(program) == {"new"}
    assert len(program.events(taken)) == 3


def test_a_hup_while_the_state_is_waited_for_is_done_after_the_start(program: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        state = {"url": f"redis://127.0.0.1:{mute.getsockname()[1]}"}
        program.write(1, mark="old", state=state)
        program.begin()
        mute.settimeout(PATIENCE)
        with mute.accept()[0]:
            program.write(1, mark="new", state=state)
            program.signal(signal.SIGHUP)
            program.wait_ready()
            until(lambda: marks(program) == {"new"}, "it is taken")
            program.signal(signal.SIGTERM)
            assert program.process.wait(PATIENCE) == 0


MEDDLES = """
from pathlib import Path
folder = Path(__file__).parent.parent
if (folder / "next.json").exists():
    (folder / "next.json").replace(folder / "gateway.json")
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_watched_file_that_changes_after_it_was_read_is_taken(program: Program, workers: int) -> None:
    program.write(workers, mark="new", watch=True)
    program.file.rename(program.folder / "next.json")
    program.write(workers, mark="old", watch=True)
    with (program.folder / "policies/who.py").open("a") as policy:
        policy.write(MEDDLES)  # when it is loaded for what was read
    program.start()
    until(lambda: marks(program) == {"new"}, "it is taken")
