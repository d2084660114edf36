"""The error log: events of ours, and what twisted.logger carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from apigateway.adapters.event_log import EventLog
from apigateway.adapters.log_file import LogFile
from apigateway.ports.interfaces import IEventLog
from apigateway.ports.memory import ManualClock


class Written:
    """An event log to a file."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.log = EventLog(LogFile(str(path), reactor), ManualClock(wall=1_700_000_000.5), **settings)

    async def lines(self) -> list[dict[str, Any]]:
        await self.log.close()
        return [json.loads(line) for line in self.path.read_text().splitlines()]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "error.log")


@ensureDeferred
async def test_the_interface_is_provided(written: Written) -> None:
    assert verifyObject(IEventLog, written.log)
    assert await written.lines() == []


@ensureDeferred
async def test_an_event_is_a_line(written: Written) -> None:
    written.log.event("warn", "a target went out", upstream="pool", failures=5)
    assert await written.lines() == [
        {"time": "2023-11-14T22:13:20.500Z", "level": "warn", "message": "a target went out", "upstream": "pool",
         "failures": 5}
    ]  # fmt: skip


@ensureDeferred
async def test_what_is_less_than_the_level_is_left_out(tmp_path: Path) -> None:
    written = Written(tmp_path / "log", level="warn")
    for level in ("debug", "info", "warn", "error", "strange"):
        written.log.event(level, level)
    assert [line["message"] for line in await written.lines()] == ["warn", "error", "strange"]


@pytest.mark.parametrize("value", [object(), 1 << 80, "half \udc80", {1: {2}}, b"\xff\n", ValueError("x")])
@ensureDeferred
async def test_a_field_that_is_no_json_is_written_somehow(written: Written, value: object) -> None:
    written.log.event("error", "odd\nmessage", odd=value)
    (line,) = await written.lines()
    assert (line["level"], line["message"]) == ("error", "odd\nmessage")
    assert line["odd"]


@ensureDeferred
async def test_a_field_cannot_take_the_place_of_ours(written: Written) -> None:
    written.log.event("error", "mine", time="never")
    (line,) = await written.lines()
    assert (line["message"], line["time"]) == ("mine", "2023-11-14T22:13:20.500Z")


@ensureDeferred
async def test_twisted_is_heard_while_observing(written: Written) -> None:
    logger = Logger("some.library")
    logger.info("before")
    written.log.observe()
    written.log.observe()
    logger.warn("at {place}", place="here")
    logger.debug("not this")
    lines = await written.lines()
    logger.info("after")
    assert [(line["level"], line["message"], line["source"]) for line in lines] == [
        ("warn", "at here", "some.library")
    ]


@ensureDeferred
async def test_a_failure_comes_with_its_trace(written: Written, failures: list[Any]) -> None:
    written.log.observe()
    try:
        raise ValueError("the reason")
    except ValueError:
        Logger("some.library").failure("it broke", failure=Failure())
    (line,) = await written.lines()
    assert (line["level"], line["message"]) == ("error", "it broke")
    assert "ValueError: the reason" in line["trace"]
    assert len(failures) == 1


@ensureDeferred
async def test_without_a_sink_twisted_is_told() -> None:
    seen: list[Any] = []
    log = EventLog(None, ManualClock())
    globalLogPublisher.addObserver(seen.append)
    log.observe()
    log.event("error", "a target went out", upstream="pool")
    log.event("debug", "not this")
    globalLogPublisher.removeObserver(seen.append)
    log.reopen()
    await log.close()
    assert [(event["log_level"].name, event["message"], event["fields"]) for event in seen] == [
        ("error", "a target went out", {"upstream": "pool"})
    ]


@ensureDeferred
async def test_reopen_goes_on_in_a_new_file(written: Written) -> None:
    written.log.event("info", "old")
    moved = written.path.rename(written.path.with_name("error.log.1"))
    written.log.reopen()
    written.log.event("info", "new")
    assert [line["message"] for line in await written.lines()] == ["new"]
    assert json.loads(moved.read_text())["message"] == "old"
