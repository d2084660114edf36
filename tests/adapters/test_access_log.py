"""The access log: what a line says, what can never break one, and when lines are written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from exchanges import ended
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from zope.interface.verify import verifyObject

from apigateway.adapters.access_log import FLUSH_AT, AccessLog
from apigateway.adapters.log_file import LogFile
from apigateway.adapters.system import ReactorTimers, SystemClock
from apigateway.flow.exchange import Connection, Identity
from apigateway.flow.faults import CONNECT_TIMEOUT, Fault
from apigateway.ports.interfaces import IExchangeLog
from apigateway.ports.memory import ListedEvents, ManualClock, ManualTimers


class ListedSink:
    """A sink that keeps its batches."""

    def __init__(self) -> None:
        self.batches: list[bytes] = []
        self.lines = 0
        self.lost = 0
        self.trouble = ""
        self.calls: list[str] = []

    def write(self, octets: bytes, lines: int = 1) -> None:
        self.batches.append(octets)
        self.lines += lines

    def reopen(self) -> None:
        self.calls.append("reopen")

    def close(self) -> Deferred[None]:
        self.calls.append("close")
        return succeed(None)


class Written:
    """An access log on a manual clock, and what it wrote."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock(monotonic=1000.0, wall=1_700_000_000.25)
        self.timers = ManualTimers(self.clock)
        self.sink = ListedSink()
        self.log = AccessLog(self.sink, self.timers, self.clock, **settings)

    def line(self, *arguments: Any, **changes: Any) -> dict[str, Any]:
        """The one line of an exchange."""
        self.log.finished(ended(*arguments, **changes))
        self.clock.advance(0.2)
        text = self.sink.batches.pop()
        assert text.count(b"\n") == 1
        assert text.endswith(b"\n")
        return json.loads(text)  # type: ignore[no-any-return]


def test_the_interface_is_provided() -> None:
    assert verifyObject(IExchangeLog, Written().log)


def test_a_line_says_what_happened() -> None:
    assert Written().line() == {
        "time": "2023-11-14T22:13:20.250Z", "id": "x-1", "client": "203.0.113.9", "consumer": "acme",
        "method": "GET", "scheme": "http", "host": "api.example.test", "target": "/users/17?page=2",
        "version": "1.1", "status": 200, "octets_in": 3, "octets_out": 80, "api": "users", "route": "read",
        "api_version": "v1", "upstream": "pool", "target_name": "one", "attempts": 1,
        "duration_ms": {"total": 25.0, "policies": 1.0, "upstream": 20.0, "response": 4.0},
        "listener": "public", "user_agent": "curl/8", "referer": "https://a.test/",
    }  # fmt: skip


def test_what_was_not_reached_is_null() -> None:
    line = Written().line(
        identity=None, steps_done=0.0, sent=0.0, answered=0.0, upstream="", target="", headers=(), status=404
    )
    assert line["duration_ms"] == {"total": 25.0, "policies": None, "upstream": None, "response": None}
    assert (line["consumer"], line["user_agent"], line["referer"]) == ("", "", "")


def test_a_fault_says_whose_it_was_and_nothing_private() -> None:
    fault = Fault(CONNECT_TIMEOUT, private="10.0.0.7 did not answer")
    fault.step = "auth"
    line = Written().line(fault=fault, status=504)
    assert line["fault"] == {"type": "connect-timeout", "whose": "upstream", "step": "auth"}
    assert "10.0.0.7" not in json.dumps(line)


def test_tls_is_told_where_there_is_some() -> None:
    line = Written().line(connection=Connection("secure", tls_version="TLSv1.3", sni="api.example.test"))
    assert (line["tls"], line["sni"], line["listener"]) == ("TLSv1.3", "api.example.test", "secure")


def test_a_note_is_written() -> None:
    assert Written().line(notes={"plan": "gold", "left": [1, None]})["notes"] == {"plan": "gold", "left": [1, None]}


@pytest.mark.parametrize(
    "octets", [b'/"\\', b"/\x00\x01\x1f\x7f", b"/\r\n{}", b"/\xff\xfe\x80", "/\u2028\u2029".encode(), b"/\xc2\x85"]
)
def test_octets_of_a_client_cannot_break_a_line(octets: bytes) -> None:
    headers = ((b"user-agent", octets), (b"referer", octets))
    line = Written().line(octets, headers=headers)
    assert [line[key].encode("latin-1") for key in ("target", "user_agent", "referer")] == [octets] * 3


@pytest.mark.parametrize("value", ["half \udc80", 1 << 80, object(), {1, 2}, float("nan"), {"a": {3: 4}}])
def test_a_note_that_is_no_json_does_not_cost_the_line(value: object) -> None:
    line = Written().line(notes={"odd": value})
    assert line["id"] == "x-1"
    assert "odd" in line["notes"]


def test_a_subject_with_half_a_surrogate_does_not_cost_the_line() -> None:
    assert Written().line(identity=Identity("a\udc80"))["consumer"] == "a\udc80"


def test_a_name_that_is_learnt_later_is_hidden_from_then_on() -> None:
    written = Written()
    assert written.line(b"/?k=k1")["target"] == "/?k=k1"
    written.log.hide("k")
    line = written.line(b"/?k=k1&k=k1", headers=((b"referer", b"https://a.test/?k=k1"),))
    assert (line["target"], line["referer"]) == ("/?k=***&k=***", "https://a.test/?k=***")


def test_an_exchange_that_cannot_be_told_is_told_of() -> None:
    line = Written().line(steps_done="never")
    assert line["id"] == "'x-1'"
    assert "TypeError" in line["unwritable"]


def test_hidden_parameters_are_not_written() -> None:
    line = Written(hide=["token", "Api_Key"]).line(
        b"/a?x=1&token=s3cret&API%5FKEY=s3cret&tok=2&token&x=token",
        headers=((b"referer", b"https://a.test/?token=s3cret#f"),),
    )
    assert line["target"] == "/a?x=1&token=***&API%5FKEY=***&tok=2&token&x=token"
    assert line["referer"] == "https://a.test/?token=***#f"


def test_lines_are_written_after_a_fifth_of_a_second() -> None:
    written = Written()
    written.log.finished(ended())
    written.clock.advance(0.1)
    written.log.finished(ended())
    assert written.sink.batches == []
    written.clock.advance(0.1)
    assert [batch.count(b"\n") for batch in written.sink.batches] == [2]
    assert written.sink.lines == 2
    written.clock.advance(0.2)
    assert written.timers.waiting() == []


def test_lines_are_written_when_enough_have_gathered() -> None:
    written = Written()
    for _ in range(200):
        written.log.finished(ended())
    assert len(written.sink.batches) >= 1
    assert FLUSH_AT <= len(written.sink.batches[0]) < FLUSH_AT + 1000
    assert len(written.timers.waiting()) == 1


def test_the_time_follows_the_clock_of_the_machine() -> None:
    written = Written()
    written.line()
    written.clock.set_wall(1_800_000_000.0)
    written.line()
    assert written.line(started=written.clock.monotonic())["time"] == "2027-01-15T08:00:00.200Z"
    # After a silence the very first line has the new time.
    written.clock.advance(3600.0)
    written.clock.set_wall(1_700_000_000.0)
    assert written.line(started=written.clock.monotonic())["time"] == "2023-11-14T22:13:20.000Z"


def test_what_was_lost_of_the_last_lines_is_told_without_another() -> None:
    events = ListedEvents()
    written = Written(events=events)
    written.line()
    written.sink.lost, written.sink.trouble = 1, "No space left on device"  # as a thread finds out a little later
    written.clock.advance(0.2)
    assert [fields["lost"] for _, _, fields in events.events] == [1]


def test_lost_lines_are_told_once_a_minute() -> None:
    events = ListedEvents()
    written = Written(events=events)
    for lost, trouble in ((3, "No space left on device"), (7, ""), (9, "")):
        written.sink.lost, written.sink.trouble = lost, trouble
        written.line()
    assert [(level, fields) for level, _, fields in events.events] == [
        ("error", {"lost": 3, "reason": "No space left on device"})
    ]
    written.clock.advance(60.0)
    written.line()
    assert events.events[1][2] == {"lost": 6, "reason": "they came faster than they could be written"}


@ensureDeferred
async def test_reopen_and_close_write_what_waits_first() -> None:
    written = Written()
    written.log.finished(ended())
    written.log.reopen()
    assert (written.sink.lines, written.sink.calls) == (1, ["reopen"])
    written.log.finished(ended())
    await written.log.close()
    assert (written.sink.lines, written.sink.calls) == (2, ["reopen", "close"])
    assert written.timers.waiting() == []


@ensureDeferred
async def test_a_file_gets_every_line(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(LogFile(str(path), reactor), ReactorTimers(reactor), SystemClock())
    for number in range(500):
        log.finished(ended(b"/%d" % number))
    await log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["target"] for line in lines] == [f"/{number}" for number in range(500)]
