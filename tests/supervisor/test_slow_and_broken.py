"""Workers that take too long, or die, or cannot: who carries traffic goes on."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time

import pytest
from supervised import RUN, Load, Program, gone, limited, until

IMPATIENT = limited("from apigateway.supervisor import agreeing, crew; agreeing.PREPARE_WITHIN = 2.0")
SOON_KILLED = limited("from apigateway.supervisor import crew; crew.KILL_AFTER = 10.0")


def test_what_is_not_provisioned_in_time_is_refused_and_nobody_is_killed(program: Program) -> None:
    program.write(2, mark="old")
    program.start(*IMPATIENT)
    pids = program.pids()
    program.write(2, mark="new")
    with Load(program) as load:
        program.mood("hang")
        status, result = program.reload()
        assert status == 422 and "/: not provisioned within 2 s" in result["problems"][0]
        load.more()
        program.mood("well")
        until(lambda: program.reload()[0] == 200, "another one is taken")
        load.more()
    assert load.lost == [] and program.pids() == pids
    assert {program.ask()[1] for _ in range(20)} == {"new"}
    assert program.events("worker ended") == []
    until(lambda: {worker["revisions_in_use"] for worker in [program.get("status")]} == {1}, "nothing is left of it")


def test_who_never_comes_to_serve_is_killed_and_begun_again(program: Program) -> None:
    program.write(2)
    program.start(*SOON_KILLED)
    first, second = program.pids()
    program.mood("hang")
    os.kill(first, signal.SIGKILL)
    program.event("worker is killed, since it does not come to serve")
    program.mood("well")
    program.wait_workers()
    assert program.pids()[1] == second
    assert program.metric("worker_restarts_total") >= 2


def test_who_dies_at_the_first_start_ends_the_program(program: Program) -> None:
    program.write(2)
    program.mood("die")
    done = subprocess.run([*RUN, str(program.file)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "ended 3 times before it was ready, at last with status -9" in done.stderr


def test_who_cannot_start_ends_with_1_and_is_tried_again(program: Program) -> None:
    program.write(2)
    program.start()
    program.mood("fail")
    os.kill(program.pids()[0], signal.SIGKILL)
    assert "in no mood" in program.event("worker could not start")["problems"][0]
    until(lambda: 1 in [event["status"] for event in program.events("worker ended")], "its status says so")
    program.mood("well")
    program.wait_workers()


def test_term_is_no_crash_and_who_starts_may_be_ended(program: Program) -> None:
    program.write(2)
    program.start()
    for number in range(3):
        first = program.pids()[0]
        os.kill(first, signal.SIGTERM)
        until(lambda wanted=number + 1: len(program.events("worker ended")) == wanted, "it ends")  # type: ignore[misc]
        program.wait_workers()
    program.mood("hang")
    os.kill(program.pids()[0], signal.SIGTERM)
    starting = program.hangs(0)
    os.kill(starting, signal.SIGTERM)
    until(lambda: gone(starting), "it ends")
    program.mood("well")
    program.wait_workers()
    ends = [(event["status"], event["again_in"]) for event in program.events("worker ended")]
    assert ends == [(0, 0.0)] * 5
    assert starting not in [event["pid"] for event in program.events("worker is ready")]


def test_a_lack_of_descriptors_passes(program: Program) -> None:
    program.write(2)
    program.start()
    first, second = program.pids()
    whole = resource.prlimit(second, resource.RLIMIT_NOFILE)
    resource.prlimit(second, resource.RLIMIT_NOFILE, (8, whole[1]))
    program.mood("hang")
    os.kill(first, signal.SIGKILL)
    until(lambda: program.workers()[1]["accepts_for"] == [1, 0], "it is told to accept for the other")
    resource.prlimit(second, resource.RLIMIT_NOFILE, whole)
    assert {program.ask()[0] for _ in range(30)} == {second}
    assert program.workers()[1]["state"] == "ready"


def test_who_was_stopped_together_with_the_supervisor_is_not_silent_for_that(program: Program) -> None:
    program.write(2)
    program.start(*SOON_KILLED)
    pids = program.pids()
    for pid in (program.process.pid, *pids):
        os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    until(lambda: time.monotonic() > stopped + 11.0, "longer than who is silent lives")
    program.signal(signal.SIGCONT)
    try:
        # So it has looked at them several times.
        until(lambda: len(program.events("worker is silent")) == 2, lambda: program.events())
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    program.wait_workers()
    assert program.pids() == pids


UPSTREAM = {"name": "up", "targets": [{"name": "one", "url": "http://127.0.0.1:9"}, {"url": "http://127.0.0.1:10"}]}
ONE = "/v1/worker/upstreams/up/targets/one/drain"


def shown(program: Program) -> list[bool]:
    target = program.get("upstreams")["upstreams"][0]["targets"][0]
    return [worker["usable"] for worker in target["workers"]]


def test_with_nobody_there_nothing_is_done_and_that_is_told(program: Program) -> None:
    program.write(2, upstreams=[UPSTREAM])
    program.start()
    pids = program.pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        program.wait_workers("silent")
        assert program.call("POST", ONE)[0] == 503
        assert program.fields["Retry-After"] == "1"
        assert program.call("POST", "/v1/worker/upstreams/up/targets/nonsense/drain")[0] == 404
        assert program.call("POST", "/v1/worker/explain", {"method": "GET", "url": "/"})[0] == 503
        assert program.call("GET", "/v1/worker/upstreams")[0] == 503
        status, body = program.call("POST", "/v1/worker/reload")
        assert (status, json.loads(body)["detail"]) == (503, "no worker is there to do it")
        assert [worker["slot"] for worker in program.workers()] == [0, 1]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    program.wait_workers()
    until(lambda: shown(program) == [True, True], "the target is not drained")


def test_who_was_silent_or_started_is_told_what_is_drained(program: Program) -> None:
    program.write(2, upstreams=[UPSTREAM])
    program.start()
    silent, killed = program.pids()
    os.kill(silent, signal.SIGSTOP)
    try:
        until(lambda: program.workers()[0]["state"] == "silent", "it is told")
        assert program.call("POST", ONE)[0] == 200
    finally:
        os.kill(silent, signal.SIGCONT)
    program.wait_workers()
    until(lambda: shown(program) == [False, False], "both drain it")
    # One that starts meanwhile.
    program.mood("hang")
    os.kill(killed, signal.SIGKILL)
    starting = program.hangs(1)
    assert program.call("POST", f"{ONE[:-5]}undrain")[0] == 200
    program.mood("well")
    program.wait_workers()
    until(lambda: shown(program) == [True, True], "none drains it")
    assert program.pids()[1] == starting


def test_a_silent_worker_that_is_killed_does_not_answer_again(program: Program) -> None:
    program.write(2)
    program.start()
    first = program.pids()[0]
    os.kill(first, signal.SIGSTOP)
    until(lambda: program.workers()[0]["state"] == "silent", "it is told")
    os.kill(first, signal.SIGKILL)
    program.event("worker ended")
    assert program.events("answers again") == []


def test_a_worker_of_another_version_serves_and_says_so(program: Program) -> None:
    program.write(2)
    program.start(*limited("import apigateway; apigateway.__version__ = '0.0.1'"))
    assert program.ask()[0] in program.pids()
    event = program.event("a worker is of another version than its supervisor")
    assert event["supervisor"] == "0.0.1" and event["worker"] != "0.0.1"


@pytest.mark.parametrize("more", ["", "; messages.Begin.__name__ = 'Start'"])
def test_a_worker_that_does_not_understand_says_why(program: Program, more: str) -> None:
    program.write(2)
    command = limited(f"from apigateway.supervisor import messages; messages.FORMAT = 'other'{more}")
    done = subprocess.run([*command, str(program.file)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "does not understand its supervisor" in done.stderr and "USR2" in done.stderr
