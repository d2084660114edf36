"""Several workers under a supervisor: real processes on real sockets."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from supervised import Load, Program, gone, until


def test_two_workers_share_connections(program: Program) -> None:
    program.write(2)
    program.start()
    pids = program.pids()
    assert len(set(pids)) == 2 and program.process.pid not in pids
    until(lambda: {program.ask()[0] for _ in range(10)} == set(pids), "both answer")
    assert [worker["state"] for worker in program.workers()] == ["ready", "ready"]
    assert {program.ask({"X-Collects": "?"})[1] for _ in range(10)} == {"True"}  # off only while they start


def test_auto_is_one_for_each_processor(program: Program) -> None:
    program.write("auto")
    program.start()
    allowed = len(os.sched_getaffinity(0))
    if allowed > 1:
        assert len(program.pids()) == allowed
    else:
        assert "workers" not in program.get("status")


def test_what_is_shown_is_of_all(program: Program) -> None:
    upstream = {"name": "up", "targets": [{"name": "one", "url": f"http://{program.management}"}]}
    route = {"name": "up", "match": {"path_prefix": "/up"}, "upstream": "up"}
    program.write(2, upstreams=[upstream], apis=[{"name": "a", "routes": [route]}])
    program.start()
    status = program.get("status")
    assert status["ready"] and status["last_reload"]["taken"]
    assert {worker["revision"] for worker in status["workers"]} == {status["revision"]}
    assert all(worker["up_to_date"] for worker in status["workers"])
    assert program.get("config")["workers"] == 2
    body = {"method": "GET", "url": "/up"}
    assert json.loads(program.call("POST", "/v1/worker/explain", body)[1])["route"] == "up"  # any of them says it
    target = "/v1/worker/upstreams/up/targets/one"
    assert program.call("POST", f"{target}s/drain")[0] == 404
    assert program.call("POST", "/v1/worker/upstreams/up/targets/two/drain")[0] == 404
    assert program.call("POST", f"{target}/drain")[0] == 200

    def shown() -> Any:
        return program.get("upstreams")["upstreams"][0]["targets"][0]

    assert (shown()["draining"], shown()["usable"], len(shown()["workers"])) == (True, False, 2)
    # It is remembered for who comes later.
    os.kill(program.pids()[0], signal.SIGKILL)
    until(lambda: program.metric("worker_restarts_total") == 1, "it is begun again")
    program.wait_workers()
    assert [worker["usable"] for worker in shown()["workers"]] == [False, False]
    assert program.call("POST", f"{target}/undrain")[0] == 200
    assert (shown()["draining"], shown()["usable"]) == (False, True)


def test_kill_9_fails_only_what_was_in_flight_there(program: Program) -> None:
    program.write(2)
    program.start()
    first, second = program.pids()
    with Load(program, 16) as load:  # kept: all with one worker once in 32768 times
        until(lambda: {first, second} <= load.answers.keys(), "both answer")
        before = program.metric("requests_total")
        os.kill(first, signal.SIGKILL)
        load.more(100)
        program.wait_workers()
        again = program.pids()[0]
        assert again != first and program.pids()[1] == second
        until(lambda: program.ask()[0] == again, "the new one answers")
        load.more(100)
    assert {pid for pid, _ in load.lost} <= {first, 0} and len(load.lost) <= 16, load.lost
    assert program.events("worker ended")[0]["again_in"] == 0.0
    # What the dead one last told still counts, and what came since.
    assert program.metric("requests_total") >= before
    assert program.metric("workers", state="ready") == 2


def unserved(pid: int) -> float:
    """Seconds that a process was ready to run, and the processors ran others (proc_pid_schedstat)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def test_who_died_is_back_within_two_seconds(program: Program) -> None:
    program.write(2)
    program.start()
    took = []
    for slot, pid in enumerate(program.pids()):  # each for the first time, so that nothing is backed off
        began = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: gone(pid) and pid not in program.pids(), "it is begun again")  # type: ignore[misc]
        program.wait_workers()
        took.append(time.monotonic() - began - unserved(program.pids()[slot]))
    # The quicker of two: whatever else this machine does only adds to them.
    assert min(took) < 2.0, took


def test_a_stopped_worker_is_covered(program: Program) -> None:
    program.write(2)
    program.start()
    stopped, other = program.pids()
    os.kill(stopped, signal.SIGSTOP)
    try:
        until(lambda: program.workers()[0]["state"] == "silent", "it is told")
        until(lambda: program.workers()[1]["accepts_for"] == [1, 0], "it is covered")
        assert {program.ask()[0] for _ in range(30)} == {other}
        assert program.call("GET", "/readyz")[0] == 200
        assert program.metric("workers", state="silent") == 1
        # A reload is taken by who is there, and by the other one when it is back.
        program.write(2, mark="new")
        assert program.reload()[0] == 200
        assert program.ask()[1] == "new"
        assert [worker["up_to_date"] for worker in program.workers()] == [False, True]
    finally:
        os.kill(stopped, signal.SIGCONT)
    until(lambda: all(worker["up_to_date"] for worker in program.workers()), "it is brought to the revision")
    assert program.pids() == [stopped, other]
    until(lambda: {program.ask() for _ in range(10)} == {(stopped, "new"), (other, "new")}, "both answer again")


def test_a_crash_loop_is_backed_off(program: Program) -> None:
    program.write(2)
    program.start()
    for number in range(1, 4):
        os.kill(program.pids()[0], signal.SIGKILL)
        until(lambda wanted=number: len(program.events("worker ended")) == wanted, "it is told")  # type: ignore[misc]
        program.wait_workers()
    assert [event["again_in"] for event in program.events("worker ended")] == [0.0, 0.5, 1.0]
    assert program.workers()[0]["restarts"] == 3


def test_all_of_them_die_and_come_back(program: Program) -> None:
    program.write(2)
    program.start()
    for pid in program.pids():
        os.kill(pid, signal.SIGKILL)
    # Whoever connects meanwhile waits for the first one that is back.
    assert program.ask()[0] not in [event["pid"] for event in program.events("worker ended")]
    program.wait_workers()


def test_term_to_one_worker_ends_it_gently(program: Program) -> None:
    program.write(2)
    program.start()
    first, second = program.pids()
    with Load(program) as load:
        os.kill(first, signal.SIGTERM)
        until(lambda: gone(first), "it ends")
        load.more()
        program.wait_workers()
    assert load.lost == []
    assert program.events("worker ended")[0]["status"] == 0
    assert program.pids()[1] == second


def test_term_to_all_workers_leaves_nobody_waiting_until_they_have_drained(program: Program) -> None:
    program.write(2, drain={"notice": "1h", "timeout": "1h"})
    program.start()
    first = program.pids()
    for pid in first:
        os.kill(pid, signal.SIGTERM)
    until(lambda: program.metric("workers", state="ready") == 2, lambda: program.workers())
    second = program.pids()
    assert second[2:] == first and len(set(second)) == 4
    until(lambda: {program.ask()[0] for _ in range(10)} <= set(second[:2]), "only those answer")
    assert [worker["state"] for worker in program.workers()] == ["ready", "ready", "leaving", "leaving"]
    # There are no more than two in a place: the third begins when the first has ended.
    os.kill(second[0], signal.SIGTERM)
    until(lambda: program.workers()[0]["state"] == "leaving", "it drains")
    until(lambda: {program.ask()[0] for _ in range(10)} == {second[1]}, "it is covered")
    assert len(program.pids()) == 4
    os.kill(first[0], signal.SIGTERM)  # the second one ends at once
    until(lambda: program.metric("workers", state="ready") == 2, lambda: program.workers())
    assert program.pids()[2:] == [second[0], first[1]]
    program.signal(signal.SIGTERM)
    until(lambda: program.call("GET", "/readyz")[0] == 503, "it drains")
    program.signal(signal.SIGTERM)
    assert program.process.wait(60) == 0
    assert all(gone(pid) for pid in (*first, *second))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
def test_what_a_terminal_sends_to_workers_ends_none(program: Program, number: int) -> None:
    program.write(2)
    program.start()
    pids = program.pids()
    for pid in pids:
        os.kill(pid, number)
    assert program.ask()[0] in pids
    assert program.pids() == pids


def test_workers_end_with_their_supervisor(program: Program) -> None:
    program.write(2)
    program.start()
    pids = program.pids()
    program.signal(signal.SIGKILL)
    until(lambda: all(gone(pid) for pid in pids), "they end")


def test_a_unix_socket_is_shared(program: Program) -> None:
    listeners = [{"name": "public", "address": str(program.public)}, {"name": "local", "address": "unix:local.sock"}]
    program.write(2, listeners=listeners)
    program.start()
    assert (program.folder / "local.sock").is_socket()
    assert [listener["name"] for listener in program.get("status")["listeners"]] == ["public", "local"]
    program.signal(signal.SIGTERM)
    assert program.process.wait(30) == 0
    assert not (program.folder / "local.sock").exists()
