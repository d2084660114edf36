"""Limits over three real workers and a real server: exact, over the death of workers too, and given back in time."""

from __future__ import annotations

import http.client
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis_server import RedisServer
from supervised import PATIENCE, Program, gone, program_in, until

WORKERS = 3
ALGORITHMS = ("sliding-window", "fixed-window", "token-bucket")
LEASE = 2.0


class Caller:
    """A kept connection to one worker. pid: of it."""

    def __init__(self, program: Program) -> None:
        address = program.public
        self._connection = http.client.HTTPConnection(address.host, address.port, timeout=PATIENCE)
        _, body = self.ask("/who")
        self.pid = int(body.split()[0])

    def ask(self, path: str, key: str = "") -> tuple[int, str]:
        """Status and body."""
        self._connection.request("GET", path, headers={"X-Key": key})
        response = self._connection.getresponse()
        return response.status, response.read().decode()

    def begin(self, path: str, key: str) -> None:
        """A request whose answer nobody waits for."""
        self._connection.request("GET", path, headers={"X-Key": key})

    def answer(self) -> tuple[int, str | None]:
        """Status and Retry-After of what was begun. TimeoutError where it runs on."""
        response = self._connection.getresponse()
        response.read()
        return response.status, response.getheader("retry-after")

    def patience(self, seconds: float) -> None:
        """How long an answer is waited for."""
        self._connection.sock.settimeout(seconds)

    def close(self) -> None:
        self._connection.close()


def flow(*steps: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {"request": [{"policy": policy, "with": settings} for policy, settings in steps]}


def apis() -> list[dict[str, Any]]:
    """/who says which worker it is; /ALGORITHM lets twenty through; /slow/N runs for an hour, N at a time."""
    given = {"limit": 20, "per": "24h", "by": "header:X-Key", "on_store_failure": "closed"}
    who: tuple[str, dict[str, Any]] = ("who", {})
    routes = [{"name": "who", "match": {"path": "/who"}, "pre_flow": flow(who)}]
    for algorithm in ALGORITHMS:
        limit = ("rate-limit", {**given, "algorithm": algorithm})
        routes.append({"name": algorithm, "match": {"path": f"/{algorithm}"}, "pre_flow": flow(limit, who)})
    places = {"by": "header:X-Key", "limit": 3, "on_store_failure": "closed"}
    for name, lease in (("slow", f"{LEASE:g}s"), ("held", "1h")):
        limit = ("concurrency-limit", {**places, "lease": lease})
        wait = {"policy": "mock", "with": {"delay": "1h"}, "timeout": "1h"}
        request = [*flow(limit)["request"], wait]
        routes.append({"name": name, "match": {"path": f"/{name}"}, "pre_flow": {"request": request}})
    return [{"name": "all", "routes": routes}]


def configure(program: Program, server: RedisServer, **more: Any) -> None:
    """Three workers. One may be kept from running for longer than a decision should take."""
    drain = {"notice": "100ms", "timeout": "1s"}
    program.write(WORKERS, apis=apis(), state={"url": server.unix_url, "timeout": "1s"}, drain=drain, **more)


@pytest.fixture
def program(tmp_path: Path, redis: RedisServer) -> Iterator[Program]:
    with program_in(tmp_path) as program:
        configure(program, redis)
        program.start()
        yield program


@pytest.fixture
def callers(program: Program) -> Iterator[list[Caller]]:
    """Connections to all three workers, and as many to the one with fewest as a fair test wants."""
    made = spread(program)
    yield made
    for caller in made:
        caller.close()


def spread(program: Program, each: int = 6) -> list[Caller]:
    """At least so many connections to each worker, none of them with many more."""
    by_pid: dict[int, list[Caller]] = {pid: [] for pid in program.pids()}
    end = time.monotonic() + PATIENCE
    while min(len(callers) for callers in by_pid.values()) < each:
        assert time.monotonic() < end, {pid: len(callers) for pid, callers in by_pid.items()}
        caller = Caller(program)
        if len(by_pid.setdefault(caller.pid, [])) < each:
            by_pid[caller.pid].append(caller)
        else:
            caller.close()
    return [caller for callers in by_pid.values() for caller in callers]


def storm(callers: list[Caller], path: str, key: str, each: int) -> list[tuple[int, str]]:
    """All at once, each so often."""
    with ThreadPoolExecutor(len(callers)) as pool:
        runs = [pool.submit(lambda caller=caller: [caller.ask(path, key) for _ in range(each)]) for caller in callers]
        return [answer for run in runs for answer in run.result()]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_exactly_n_of_m_pass(callers: list[Caller], algorithm: str) -> None:
    for schedule in range(4):
        answers = storm(callers, f"/{algorithm}", f"key-{schedule}", each=3)
        statuses = [status for status, _ in answers]
        assert {status: statuses.count(status) for status in set(statuses)} == {200: 20, 429: 34}
        # It was one counter of all of them.
        assert len({body.split()[0] for status, body in answers if status == 200}) > 1


def test_keys_do_not_share(callers: list[Caller]) -> None:
    with ThreadPoolExecutor(len(callers)) as pool:
        runs = [
            pool.submit(lambda n=number, caller=caller: [caller.ask("/sliding-window", f"k{n % 2}") for _ in range(5)])
            for number, caller in enumerate(callers)
        ]
        granted = [status for run in runs for status, _ in run.result()].count(200)
    assert granted == 40


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_worker_that_is_killed_loses_no_count(program: Program, callers: list[Caller], algorithm: str) -> None:
    victim = callers[0].pid
    path = f"/{algorithm}"
    assert [callers[0].ask(path, "k")[0] for _ in range(12)] == [200] * 12
    os.kill(victim, signal.SIGKILL)
    until(lambda: gone(victim), "it ends")
    rest = [caller for caller in callers if caller.pid != victim]
    assert [status for status, _ in storm(rest, path, "k", each=4)].count(200) == 8
    # Who took its place finds the same count.
    until(lambda: victim not in program.pids(), lambda: program.workers())
    program.wait_workers()
    replaced = spread(program, each=1)
    assert [caller.ask(path, "k")[0] for caller in replaced] == [429] * len(replaced)
    for caller in replaced:
        caller.close()


def test_a_reload_loses_no_count(program: Program, callers: list[Caller], redis: RedisServer) -> None:
    assert [callers[0].ask("/sliding-window", "k")[0] for _ in range(20)] == [200] * 20
    configure(program, redis, trusted_proxies=["192.0.2.1"])
    assert program.reload()[0] == 200
    assert {caller.ask("/sliding-window", "k")[0] for caller in callers} == {429}


# ---- places

SOON = 0.3


def of(callers: list[Caller], pid: int) -> list[Caller]:
    return [caller for caller in callers if caller.pid == pid]


def running(program: Program, route: str, count: int = 3) -> None:
    """Wait until so many were let in."""
    until(lambda: program.metric("limit_decisions_total", route=route, decision="granted") >= count)


def held(program: Program, path: str, caller: Caller | None = None, patience: float = PATIENCE) -> bool:
    """Whether all three places are taken. Who asks would run for an hour, if there was one: no answer in `patience`
    seconds tells that."""
    asking = caller or Caller(program)
    asking.begin(path, "k")
    asking.patience(patience)
    try:
        status, retry_after = asking.answer()
    except TimeoutError:
        return False
    finally:
        if caller is None:
            asking.close()
    assert (status, retry_after) == (429, "1")
    if caller is not None:
        caller.patience(PATIENCE)
    return True


def test_places_of_all_workers_are_counted_together(program: Program, callers: list[Caller]) -> None:
    by_worker = [of(callers, pid)[0] for pid in {caller.pid for caller in callers}]
    for caller in by_worker:
        caller.begin("/held", "k")
    running(program, "held")
    spare = [caller for caller in callers if caller not in by_worker]
    assert all(held(program, "/held", caller) for caller in spare)
    # A client that leaves gives its place to a worker that it was not with.
    by_worker[0].close()
    until(lambda: program.get("status")["exchanges_running"] == 2)
    other = next(caller for caller in spare if caller.pid != by_worker[0].pid)
    until(lambda: not held(program, "/held", other, SOON), "a place is free")


def test_places_of_a_killed_worker_are_free_within_their_lease(program: Program, callers: list[Caller]) -> None:
    victim = callers[0].pid
    for caller in of(callers, victim)[:3]:
        caller.begin("/slow", "k")
    running(program, "slow")
    other = next(caller for caller in callers if caller.pid != victim)
    # They are kept for longer than a lease.
    end = time.monotonic() + 2.5 * LEASE
    while time.monotonic() < end:
        assert held(program, "/slow", other)
    os.kill(victim, signal.SIGKILL)
    # The lease, and what a busy machine takes.
    until(lambda: not held(program, "/slow", other, SOON), "its places are free", within=LEASE + 3.0)


def test_a_program_that_ends_gives_its_places_back(program: Program, callers: list[Caller]) -> None:
    for caller in callers[:3]:
        caller.begin("/held", "k")
    running(program, "held")
    assert held(program, "/held")
    program.signal(signal.SIGTERM)
    program.process.wait(PATIENCE)  # a second of drain; then they are cut off
    program.start()
    assert not held(program, "/held", patience=SOON)
