"""The demo: every command it suggests does what it says, a service may die, the file may change."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from running_demo import RunningDemo

ZEROS = hashlib.sha256(bytes(100_000_000)).hexdigest()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDemo]:
    running = RunningDemo(tmp_path_factory.mktemp("demo"))
    yield running
    running.end()


def services(text: str) -> set[str]:
    return set(re.findall(r'"service": "(\w+)"', text))


# What each command shows, and whether it was seen in what it printed.
TRIALS: dict[str, Callable[[str], bool]] = {
    "the two services take turns": lambda out: services(out) == {"one", "two"},
    "what a service gets to see": lambda out: (
        json.loads(out)["target"] == "/echo?a=1" and "x-forwarded-for" in json.loads(out)["headers"]
    ),
    "a slow answer: 504 after 5 s": lambda out: out.startswith("HTTP/1.1 504"),
    "a failing service is asked once more": lambda out: out.startswith("HTTP/1.1 503"),
    "no key: 401": lambda out: out.startswith("HTTP/1.1 401") and "application/problem+json" in out,
    "with a key: 200": lambda out: out.startswith("HTTP/1.1 200") and "ratelimit" in out,
    "past the limit: 429 with Retry-After": lambda out: "429" in out and out.startswith("HTTP/1.1 200"),
    "a browser asks whether it may (CORS)": lambda out: (
        out.startswith("HTTP/1.1 204") and "access-control-allow-origin: https://app.example.test" in out
    ),
    "an event each second, as it happens": lambda out: out.count("data: event") == 3,
    "a WebSocket that echoes": lambda out: out == "hello, socket\n",
    "100 MB up": lambda out: (json.loads(out)["octets"], json.loads(out)["sha256"]) == (100_000_000, ZEROS),
    "100 MB down": lambda out: out == "100000000\n",
    "HTTPS, as one.example.test": lambda out: len(services(out)) == 1,
    "HTTPS, as two.example.test": lambda out: len(services(out)) == 1,
    "how the worker is": lambda out: "revision" in json.loads(out),
    "its targets": lambda out: "services" in out and '"one"' in out and '"two"' in out,
    "figures for Prometheus": lambda out: "# HELP" in out,
}


def test_the_page_suggests_nothing_that_is_not_tried_here(demo: RunningDemo) -> None:
    steering = {"end service one", "end service two", f"have {demo.file} read again, after an edit"}
    assert set(demo.commands) == set(TRIALS) | steering


@pytest.mark.parametrize("shows", TRIALS)
def test_a_command_does_what_it_says(demo: RunningDemo, shows: str) -> None:
    out = demo.try_out(shows)
    assert TRIALS[shows](out), out


def test_the_limit_says_when_to_come_back(demo: RunningDemo) -> None:
    demo.try_out("past the limit: 429 with Retry-After")
    out = demo.try_out("with a key: 200")
    assert out.startswith("HTTP/1.1 429")
    assert 0 < int(re.search(r"^retry-after: (\d+)", out, re.MULTILINE)[1]) <= 20  # type: ignore[index]


def test_what_passes_is_shown(demo: RunningDemo) -> None:
    before = demo.printed
    demo.curl("/hello?shown")
    demo.wait_for(r"^\d+ passed, last: GET /hello\?shown -> 200 from (one|two), [0-9.]+ ms$", before)


def test_a_service_may_end_and_come_back(demo: RunningDemo) -> None:
    before = demo.printed
    demo.try_out("end service one")
    assert {services(demo.curl("/hello")).pop() for _ in range(12)} == {"two"}
    again = shlex.split(demo.wait_for(r"Service one has ended. To start it again: (.+)$", before)[1])
    process = subprocess.Popen(again, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("one on ")
        # Its health is looked at every two seconds; two requests, since they take turns.
        assert any("one" in services(demo.curl("/hello") + demo.curl("/hello")) for _ in seconds(15, demo))
    finally:
        process.kill()
        process.communicate()


def seconds(count: int, demo: RunningDemo) -> Iterator[None]:
    """So many times, a second apart: a service takes its time."""
    for _ in range(count):
        yield
        demo.curl("/slow?seconds=1")


@pytest.fixture
def edited(demo: RunningDemo) -> Iterator[Callable[[str, str], None]]:
    """Edits the file and has it read; afterwards it is as it was."""
    written = demo.file.read_text()

    def edit(old: str, new: str) -> None:
        assert old in written
        demo.file.write_text(written.replace(old, new, 1))
        demo.try_out(f"have {demo.file} read again, after an edit")

    yield edit
    edit("version: 1", "version: 1")


def test_an_edit_and_a_hup_change_routing(demo: RunningDemo, edited: Callable[[str, str], None]) -> None:
    assert demo.curl("/moved") != "moved"
    reply = "[{policy: mock, with: {status: 200, body: moved}}]"
    moved = f"- {{name: moved, match: {{path: /moved}}, pre_flow: {{request: {reply}}}}}"
    edited("- {name: all,", f"{moved}\n      - {{name: all,")
    assert any(demo.curl("/moved") == "moved" for _ in seconds(10, demo))


def test_a_broken_edit_changes_nothing_and_is_told(demo: RunningDemo, edited: Callable[[str, str], None]) -> None:
    before = demo.printed
    edited("upstream: services", "upstream: servises")
    demo.wait_for("gateway: .*servises", before)
    assert services(demo.curl("/hello"))


def test_ports_that_are_taken_are_named(demo: RunningDemo) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "apigateway.cli", "demo", str(demo.file)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert second.returncode == 1
    assert f"something else listens at 127.0.0.1:{demo.ports[8080]}" in second.stderr


def test_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    running = RunningDemo(tmp_path)
    running.curl("/hello")
    running.wait_for("^1 passed")
    assert running.end() == 0
    running.wait_for("^ending; 1 request passed$")
    for port in running.ports.values():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_a_broken_file_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("version: 1\nlisteners: []\napi: []\n")
    done = subprocess.run(
        [sys.executable, "-m", "apigateway.cli", "demo", str(file)],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"{file}:3: /api" in done.stderr
