"""quota, idempotency and client-ban over three real workers and a real server."""

from __future__ import annotations

import http.client
import itertools
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer
from supervised import PATIENCE, Program, program_in, until

LIMIT = 60
LEASE = 2.0
STEP = "api/all/route/quota/quota"


def route(path: str, *steps: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    request = [{"policy": policy, "with": settings, "timeout": "1h"} for policy, settings in steps]
    return {"name": path, "match": {"path": f"/{path}"}, "pre_flow": {"request": request}}


def configure(program: Program, server: RedisServer) -> None:
    key = "header:X-Key"
    once = {"by": "api", "lease": f"{LEASE:g}s"}
    routes = [
        route("who", ("who", {})),
        route("quota", ("quota", {"limit": LIMIT, "per": "month", "by": key}), ("who", {})),
        route("once", ("idempotency", once), ("who", {})),
        route("slow", ("idempotency", once), ("mock", {"delay": "1h"})),
        route("ban", ("client-ban", {"count": 10, "ban": "1h", "look_again": "100ms", "statuses": [404]}),
              ("mock", {"status": 404})),
    ]
    # A worker may be kept from running for longer than a decision should take.
    state = {"url": server.unix_url, "timeout": "1s"}
    program.write(3, apis=[{"name": "all", "routes": routes}], state=state, data_dir=None)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One that may be stopped."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def program(tmp_path: Path, server: RedisServer) -> Iterator[Program]:
    with program_in(tmp_path) as program:
        configure(program, server)
        program.start()
        yield program


def connected(program: Program) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(program.public.host, program.public.port, timeout=PATIENCE)


def ask(program: Program, method: str, path: str, **fields: str) -> tuple[int, str]:
    """Status and body, on a connection of its own, which any worker may get."""
    connection = connected(program)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in fields.items()})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def at_once(program: Program, times: int, method: str, path: str, **fields: str) -> list[tuple[int, str]]:
    with ThreadPoolExecutor(12) as threads:
        return list(threads.map(lambda _: ask(program, method, path, **fields), range(times)))


def test_a_quota_is_exact_over_all_and_is_reset_for_all(program: Program) -> None:
    statuses = [status for status, _ in at_once(program, 100, "GET", "/quota", X_Key="k")]
    assert (statuses.count(200), statuses.count(429)) == (LIMIT, 40)
    (shown,) = program.get(f"quotas/usage?step={STEP}")["usage"]
    assert (shown["key"], shown["used"], shown["remaining"]) == ("month/k", LIMIT, 0)
    assert program.call("DELETE", f"/v1/worker/quotas/usage?step={STEP}&key=month/k")[0] == 200
    assert {status for status, _ in at_once(program, 12, "GET", "/quota", X_Key="k")} == {200}


def test_what_is_sent_to_all_workers_at_once_is_done_by_one(program: Program) -> None:
    for number in range(10):
        answers = at_once(program, 24, "POST", "/once", Idempotency_Key=f"k-{number}")
        done = {body for status, body in answers if status == 200}
        assert len(done) == 1 and {status for status, _ in answers} <= {200, 409}
        # From then on it is answered as it was, whoever is asked.
        assert set(at_once(program, 12, "POST", "/once", Idempotency_Key=f"k-{number}")) == {(200, done.pop())}


def test_the_claim_of_a_killed_worker_ends(program: Program, server: RedisServer) -> None:
    first = connected(program)
    first.request("POST", "/slow", headers={"Idempotency-Key": "k"})
    until(lambda: server.command("KEYS", "*idempotency*"), "it is claimed")
    assert ask(program, "POST", "/slow?other", Idempotency_Key="k")[0] == 422
    assert {status for status, _ in at_once(program, 6, "POST", "/slow", Idempotency_Key="k")} == {409}
    for pid in program.pids():
        os.kill(pid, signal.SIGKILL)
    first.close()
    until(lambda: not server.command("KEYS", "*idempotency*"), "the claim ends")
    program.wait_workers()
    # The key is free: another request may have it.
    second = connected(program)
    second.request("POST", "/slow?other", headers={"Idempotency-Key": "k"})
    until(lambda: server.command("KEYS", "*idempotency*"), "it is claimed")
    assert ask(program, "POST", "/slow", Idempotency_Key="k")[0] == 422
    second.close()


def test_who_is_banned_by_one_is_banned_by_all(program: Program) -> None:
    until(lambda: ask(program, "GET", "/ban")[0] == 403, "it is banned")
    until(lambda: {status for status, _ in at_once(program, 24, "GET", "/ban")} == {403}, "all know it")
    assert program.events("a client is banned")[0]["client"] == "127.0.0.1"


def test_without_the_server(program: Program, server: RedisServer) -> None:
    """Each as its policy says: nothing that is not counted, nothing that might be done twice; bans by what is known."""
    assert ask(program, "GET", "/quota", X_Key="k")[0] == 200
    server.stop()
    try:
        until(lambda: ask(program, "GET", "/quota", X_Key="k")[0] == 503, "it is known to be away")
        assert {status for status, _ in at_once(program, 12, "POST", "/once", Idempotency_Key="k")} == {503}
        assert ask(program, "GET", "/ban")[0] in (404, 403)
        assert program.call("GET", f"/v1/worker/quotas/usage?step={STEP}")[0] == 503
    finally:
        server.start()
    tries = itertools.count()  # each with a quota of its own: some workers are back sooner, and use it up
    until(
        lambda: {status for status, _ in at_once(program, 12, "GET", "/quota", X_Key=f"back-{next(tries)}")} == {200},
        "it is back",
    )
