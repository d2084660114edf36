"""The error log: one line of JSON for each thing that operators want to read."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson
from twisted.internet.defer import Deferred, succeed
from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    formatEvent,
    globalLogPublisher,
)
from zope.interface import implementer

from apigateway.adapters.log_file import Sink
from apigateway.ports.interfaces import IClock, IEventLog

LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}
_LEVEL_NAMES = {LogLevel.critical: "error"}
_LONGEST_TRACE = 16 * 1024


@implementer(IEventLog, ILogObserver)
class EventLog:
    """Writes {time, level, message, ...fields}, one line each, at once.

    A line goes to the sink directly, since twisted.logger would cost ten times as much and a fault may come with
    every request; without a sink (the log is off) it goes to twisted.logger, whose observers twistd chose.
    `observe()` adds what Twisted and libraries tell twisted.logger, failures with their traceback.
    level: what is less than this is left out.
    """

    def __init__(self, sink: Sink | None, clock: IClock, *, level: str = "info") -> None:
        self._sink = sink
        self._clock = clock
        self._least = LEVELS[level]
        self._logger = Logger("apigateway")
        self._observing = False

    def event(self, level: str, message: str, **fields: Any) -> None:
        """See IEventLog. A field that is no JSON is written as its repr; time, level and message stay ours."""
        if LEVELS.get(level, LEVELS["error"]) < self._least:
            return
        if self._sink is None:
            named = LogLevel.lookupByName(level)
            self._logger.emit(named, "{message} {fields}", message=message, fields=fields)
            return
        self._write(self._clock.wall(), level, message, fields)

    def observe(self) -> None:
        """Take from twisted.logger too, until `close`; nothing where there is no sink."""
        if self._sink is not None and not self._observing:
            self._observing = True
            globalLogPublisher.addObserver(self)

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        log_level = event.get("log_level", LogLevel.info)
        level = _LEVEL_NAMES.get(log_level, log_level.name)
        if self._sink is None or LEVELS[level] < self._least:
            return
        fields: dict[str, Any] = {"source": event.get("log_namespace", "")}
        failure = event.get("log_failure")
        if failure is not None:
            # The end of a trace says what happened.
            fields["trace"] = failure.getTraceback()[-_LONGEST_TRACE:]
        self._write(event.get("log_time", self._clock.wall()), level, formatEvent(event), fields)

    def reopen(self) -> None:
        """Go on in a new file."""
        if self._sink is not None:
            self._sink.reopen()

    def close(self) -> Deferred[None]:
        """Fires when all is written."""
        if self._observing:
            self._observing = False
            globalLogPublisher.removeObserver(self)
        return succeed(None) if self._sink is None else self._sink.close()

    def _write(self, at: float, level: str, message: str, fields: dict[str, Any]) -> None:
        time = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        record = {"time": time, "level": level, "message": message}
        record = {**record, **fields, **record}
        try:
            line = orjson.dumps(record, repr, orjson.OPT_NON_STR_KEYS | orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            # Half a surrogate pair, a number of 80 bits: what orjson refuses, repr can say.
            plain = {str(name): ascii(value) for name, value in fields.items()}
            line = json.dumps({**plain, "time": time, "level": level, "message": message}).encode() + b"\n"
        assert self._sink is not None
        self._sink.write(line)
