"""Programs on different addresses, as on different machines: those of one environment count as one."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis_server import RedisServer
from supervised import PATIENCE, Program, program_in

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
LIMIT = 20


@pytest.fixture
def programs(tmp_path: Path, redis: RedisServer) -> Iterator[list[Program]]:
    """One on each host, the first two with two workers each; the third is of another environment."""
    for host in HOSTS:
        (tmp_path / host).mkdir()
    with (
        program_in(tmp_path / HOSTS[0], HOSTS[0]) as one,
        program_in(tmp_path / HOSTS[1], HOSTS[1]) as two,
        program_in(tmp_path / HOSTS[2], HOSTS[2]) as other,
    ):
        for program, workers, environment in ((one, 2, "production"), (two, 2, "production"), (other, 1, "trial")):
            configure(program, redis, workers, environment)
            program.start()
        yield [one, two, other]


def configure(program: Program, server: RedisServer, workers: int, environment: str) -> None:
    limit = {"limit": LIMIT, "per": "24h", "by": "header:X-Key", "on_store_failure": "closed"}
    request = [{"policy": "rate-limit", "with": limit}, {"policy": "who"}]
    apis = [{"name": "all", "routes": [{"name": "all", "pre_flow": {"request": request}}]}]
    # A worker may be kept from running for longer than a decision should take.
    state = {"url": server.unix_url, "timeout": "1s"}
    program.write(workers, apis=apis, state=state, environment=environment)


def ask(program: Program) -> tuple[int, str]:
    """Status and body, on a connection of its own."""
    connection = http.client.HTTPConnection(program.public.host, program.public.port, timeout=PATIENCE)
    try:
        connection.request("GET", "/", headers={"X-Key": "k"})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def granted(programs: list[Program], each: int) -> list[str]:
    """The processes that let a request pass, of so many at once to each program."""
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, programs * each))
    assert {status for status, _ in answers} <= {200, 429}
    return [body.split()[0] for status, body in answers if status == 200]


def test_those_of_one_environment_count_as_one(programs: list[Program]) -> None:
    one, two, other = programs
    passed = granted([one, two], 30)
    assert len(passed) == LIMIT
    assert {*map(str, one.pids())} & {*passed} and {*map(str, two.pids())} & {*passed}
    assert len(granted([other], 30)) == LIMIT


def test_a_program_that_is_gone_leaves_its_counts(programs: list[Program]) -> None:
    one, two, _ = programs
    assert len(granted([one], 12)) == 12
    one.process.kill()
    one.process.wait(PATIENCE)
    assert len(granted([two], 30)) == LIMIT - 12
