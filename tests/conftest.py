"""What all tests share: the product's own reactor, and a guard that fails tests which leave something behind."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from inspect import iscoroutinefunction
from typing import Any

import pytest
import pytest_twisted
from hypothesis import settings
from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.logger import globalLogPublisher

from apigateway.transport.reactor import install

# Before pytest-twisted installs one; it is told then that ours is the asyncio reactor it was asked for.
if "twisted.internet.reactor" not in sys.modules:
    install()
pytest_twisted.reactor_installers["asyncio"] = lambda: pytest_twisted._install_reactor(install, AsyncioSelectorReactor)

# How long an example takes by the clock says more of the machine than of what is tested.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def _is_failure(event: dict[str, Any]) -> bool:
    return "log_failure" in event or bool(event.get("isError"))


@pytest.fixture
def failures() -> Iterator[list[Any]]:
    """Failures that were logged, for the tests in which that is right; the guard then leaves them alone."""
    seen: list[Any] = []

    def observe(event: dict[str, Any]) -> None:
        if _is_failure(event):
            seen.append(event["log_failure"].value if "log_failure" in event else event)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which a Deferred's error was not handled, a failure was logged, or a timer is left."""
    from twisted.internet import reactor

    seen: list[dict[str, Any]] = []

    def observe(event: dict[str, Any]) -> None:
        if _is_failure(event):
            seen.append(event)

    before = set(reactor.getDelayedCalls())  # type: ignore[attr-defined]
    globalLogPublisher.addObserver(observe)
    yield
    if _runs_on_reactor(request):
        gc.collect()  # an error that nobody handled is told when its Deferred is collected
    globalLogPublisher.removeObserver(observe)
    left = [call for call in reactor.getDelayedCalls() if call not in before and call.active()]  # type: ignore[attr-defined]
    names = [str(call) for call in left]
    for call in left:
        call.cancel()
    if seen and "failures" not in request.fixturenames:
        texts = [str(event.get("log_failure") or event.get("message") or event) for event in seen]
        pytest.fail("failures were logged:\n" + "\n".join(texts))
    if left:
        pytest.fail("timers were left behind:\n" + "\n".join(names))


def _runs_on_reactor(request: pytest.FixtureRequest) -> bool:
    """pytest-twisted's decorators wrap a test that waits for Deferreds; a plain one cannot leave any."""
    function = getattr(request, "function", None)
    return function is not None and (iscoroutinefunction(function) or hasattr(function, "__wrapped__"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests say of what they did, by their property "says": in which process they ran does not matter."""
    for report in terminalreporter.getreports("passed"):
        for name, line in report.user_properties:
            if name == "says":
                terminalreporter.write_line(line)
