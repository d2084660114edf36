"""What the load generator is given, and what is read from what it prints."""

from __future__ import annotations

import pytest

from bench.job import requests
from bench.loading import BadAnswers, Load, parse
from bench.scenario import RESOURCES, Scenario
from bench.soak import mixed

PRINTED = """Running 2s test @ http://127.0.0.1:39171
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.31ms  410.28us   9.07ms   91.25%
    Req/Sec    24.67k     1.18k   26.01k    75.00%
  Latency Distribution
     50%  980.00us
     75%    1.36ms
     90%    1.57ms
     99%    1.02s
  49123 requests in 2.00s, 15.53MB read
@WRONG@Requests/sec:  24537.10
Transfer/sec:      7.76MB
"""


@pytest.mark.parametrize(
    ("said", "failed"),
    [
        ("", 0),
        ("  Non-2xx or 3xx responses: 17\n", 17),
        ("  Socket errors: connect 1, read 2, write 0, timeout 3\n", 6),
        ("  Socket errors: connect 0, read 2, write 0, timeout 0\n  Non-2xx or 3xx responses: 17\n", 19),
    ],
)
def test_wrk_is_understood(said: str, failed: int) -> None:
    load = parse(PRINTED.replace("@WRONG@", said))
    assert (load.requests, load.rps, load.p50_ms, load.p99_ms) == (49123, 24537.1, 0.98, 1020.0)
    assert load.failed == failed
    assert bool(load.why) == bool(failed)


def test_what_is_not_understood_is_no_figure() -> None:
    with pytest.raises(BadAnswers, match="unexpected"):
        parse("unable to connect to 127.0.0.1:1 Connection refused\n")


def test_a_load_without_failures_says_so() -> None:
    assert Load(1, 1.0, 1.0, 1.0) == Load(1, 1.0, 1.0, 1.0, failed=0, why="")


@pytest.mark.parametrize("routes", [10, 1000])
def test_requests_are_for_routes_that_are_there(routes: int) -> None:
    scenario = Scenario(routes=routes)
    asked = {request.split(b" ")[1].decode().rpartition("/")[0] + "/" for request in requests(scenario)}
    assert asked <= set(scenario.paths())
    assert len(scenario.paths()) == routes and len(asked) > routes * 0.9


def test_the_peers_have_routes_for_the_plain_job() -> None:
    asked = {"/" + request.split(b"/")[1].decode() + "/" for request in requests()}
    assert asked == set(Scenario().paths())
    assert {request.split(b"/")[2].decode() for request in requests()} == set(RESOURCES)


def test_a_request_asks_for_the_end_of_its_connection_only_where_that_is_the_job() -> None:
    assert all(b"\r\nConnection: close\r\n" in request for request in requests(close=True))
    assert not any(b"Connection" in request for request in requests())


def test_the_mix_of_a_soak_has_whole_bodies() -> None:
    asked = mixed()
    posts = [request for request in asked if request.startswith(b"POST ")]
    assert 0.15 < len(posts) / len(asked) < 0.25
    for post in posts:
        head, _, body = post.partition(b"\r\n\r\n")
        assert head.endswith(b"\r\nContent-Length: %d" % len(body))
        assert head.count(b"\r\n") == len([line for line in head.split(b"\r\n") if b": " in line])
