"""The reactor, in processes of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest

from apigateway.transport.reactor import report

INSTALL = """
from twisted.application.reactors import Reactor
Reactor("uvloop", "apigateway.transport.reactor", "Twisted's asyncio reactor on uvloop").install()
from twisted.internet import reactor
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    ("before", "loop"),
    [("", "uvloop"), ("import sys; sys.modules['uvloop'] = None", "asyncio")],
    ids=["with uvloop", "without"],
)
def test_the_reactor_runs_on(before: str, loop: str) -> None:
    done = run(f"{before}{INSTALL}reactor.callLater(0, reactor.stop); reactor.run()\n"
               "print(type(reactor._asyncioEventloop).__module__)")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split(".")[0].strip() == loop


def test_installing_twice_is_refused_and_leaves_nothing_behind() -> None:
    done = run(INSTALL + """
import os
from twisted.internet.error import ReactorAlreadyInstalledError
from apigateway.transport.reactor import install
before = os.listdir("/dev/fd")
for _ in range(3):
    try:
        install()
    except ReactorAlreadyInstalledError:
        print("refused", os.listdir("/dev/fd") == before)
""")  # fmt: skip
    assert done.stdout.split() == ["refused", "True"] * 3


def test_a_signal_stops_it() -> None:
    program = (
        INSTALL + "reactor.callWhenRunning(print, 'running', flush=True); reactor.run(); print('stopped')"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10)[0] == "stopped\n"


@pytest.mark.parametrize(
    ("what", "logged"),
    [
        ({"message": "odd", "exception": ValueError("defect")}, [ValueError]),
        ({"message": "Fatal error on transport", "exception": ValueError("told"), "transport": 1}, []),
        (
            {"message": "pause_writing() failed", "exception": ValueError("kept"), "transport": 1},
            [ValueError],
        ),
    ],
)
def test_what_the_loop_reports_is_logged_once(
    what: dict[str, Any], logged: list[type[Exception]], failures: list[Any]
) -> None:
    report(None, what)  # type: ignore[arg-type]
    assert [type(failure) for failure in failures] == logged
