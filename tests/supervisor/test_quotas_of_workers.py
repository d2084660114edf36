"""Quotas of several workers without a shared state: a file that they share exactly, over the death of any of them."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from supervised import PATIENCE, Program, until

LIMIT = 100
STEP = "api/who/route/all/quota"


def write(program: Program, **more: Any) -> None:
    quota = {"policy": "quota", "with": {"limit": LIMIT, "per": "never", "by": "header:X-Key"}}
    flow = {"request": [quota, {"policy": "who"}]}
    program.write(3, apis=[{"name": "who", "routes": [{"name": "all", "pre_flow": flow}]}], **more)


def ask(program: Program, key: str, times: int = 1) -> list[int]:
    """The statuses of requests, each on a connection of its own, so that all workers get some. 0: no answer."""
    statuses = []
    for _ in range(times):
        connection = http.client.HTTPConnection(program.public.host, program.public.port, timeout=PATIENCE)
        try:
            connection.request("GET", "/", headers={"X-Key": key})
            statuses.append(connection.getresponse().status)
        except (OSError, http.client.HTTPException):
            statuses.append(0)
        finally:
            connection.close()
    return statuses


def ask_at_once(program: Program, key: str, times: int) -> list[int]:
    with ThreadPoolExecutor(8) as threads:
        each = threads.map(lambda _: ask(program, key, times // 8), range(8))
        return [status for statuses in each for status in statuses]


def exact(statuses: list[int], left: int) -> None:
    """Of so many that were left all were granted, and no more. Who lost his answer (0), or had to wait too long for the
    disk (503), may have been counted."""
    unsure = statuses.count(0) + statuses.count(503)
    assert statuses.count(200) <= left <= statuses.count(200) + unsure, Counter(statuses)
    assert statuses.count(429) == len(statuses) - statuses.count(200) - unsure


def usage(program: Program, key: str) -> int:
    (shown,) = program.get(f"quotas/usage?step={STEP}&key=never/{quote(key)}")["usage"]
    assert shown["limit"] == LIMIT and shown["remaining"] == LIMIT - shown["used"]
    used: int = shown["used"]
    return used


def test_exactly_so_many_pass_over_all_workers(program: Program) -> None:
    write(program)
    program.start()
    statuses = ask_at_once(program, "a", 160)
    exact(statuses, LIMIT)
    assert usage(program, "a") == LIMIT
    assert [each["step"] for each in program.get("quotas")["quotas"]] == [STEP]
    assert [each["key"] for each in program.get(f"quotas/usage?step={STEP}")["usage"]] == ["never/a"]


def test_operators_reset_them_for_all(program: Program) -> None:
    write(program)
    program.start()
    ask_at_once(program, "a", 120)
    query = f"/v1/worker/quotas/usage?step={STEP}&key=never/a"
    status, body = program.call("DELETE", query)
    assert (status, json.loads(body)["reset"]) == (200, True)
    assert ask(program, "a", 12) == [200] * 12
    assert program.event("quota reset")["key"] == "never/a"
    assert program.call("DELETE", f"/v1/worker/quotas/usage?step={STEP}&key=other/a")[0] == 404
    assert program.call("GET", "/v1/worker/quotas/usage?step=nowhere")[0] == 404


def test_the_death_of_a_worker_loses_nothing(program: Program) -> None:
    write(program)
    program.start()
    with ThreadPoolExecutor(1) as thread:
        asking = thread.submit(ask_at_once, program, "a", 80)
        until(lambda: usage(program, "a") >= 10, "some are counted")
        os.kill(program.pids()[0], signal.SIGKILL)
        statuses = asking.result()
    program.wait_workers()
    used = usage(program, "a")
    exact(statuses, used)
    left = LIMIT - used
    exact(ask_at_once(program, "a", 104), left)


def test_they_outlive_the_program(program: Program) -> None:
    write(program)
    program.start()
    exact(ask(program, "a", 30), 30)
    os.kill(program.process.pid, signal.SIGKILL)
    program.process.wait()
    until(lambda: ask(program, "b") == [0], "its workers have ended")
    program.start()
    used = usage(program, "a")
    assert 0 < used <= 30
    program.reload()
    exact(ask_at_once(program, "a", 80), LIMIT - used)


def test_a_file_that_is_no_database_refuses_requests_until_it_is_gone(program: Program) -> None:
    write(program)
    file = program.folder / "data" / "quotas.sqlite"
    file.parent.mkdir()
    file.write_bytes(b"this is no database" * 100)
    program.start()
    assert set(ask(program, "a", 9)) == {503}
    assert "not a database" in program.event("quotas cannot be counted")["why"]
    assert program.call("GET", f"/v1/worker/quotas/usage?step={STEP}")[0] == 503
    until(lambda: program.metric("store_failures_total", step="quota", mode="closed") == 9, "all are counted")
    file.unlink()
    assert ask(program, "a", 9) == [200] * 9
