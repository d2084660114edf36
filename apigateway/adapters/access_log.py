"""The access log: one line of JSON per exchange."""

from __future__ import annotations

import json
from collections.abc import Iterable
from time import gmtime, strftime
from typing import Any, Final

import orjson
from twisted.internet.defer import Deferred
from zope.interface import classImplements

from apigateway.adapters.log_file import Sink
from apigateway.adapters.masking import QueryMask
from apigateway.flow.exchange import Exchange
from apigateway.ports.interfaces import IClock, IEventLog, IExchangeLog, ITimers
from apigateway.wire.headers import Headers

FLUSH_AFTER: Final = 0.2
FLUSH_AT: Final = 64 * 1024
TELL_AGAIN_AFTER: Final = 60.0
_MILLISECONDS: Final = [f".{number:03d}Z" for number in range(1000)]


class AccessLog:
    """Writes a line for each exchange, in batches: after 0.2 s, or when 64 KiB have gathered.

    A line is an object with the keys of `_record`; "" or null stand for what there was not.
    `time` is when the request's head was complete, RFC 3339 in UTC with milliseconds.
    `duration_ms`: policies is from the head to the end of the request steps; upstream from there to the head
    of its response, all attempts together; response from there to the end; null where that was not reached.
    `fault`, `notes`, `tls` and `sni` are there only where they apply.
    Octets a client sent are read as ISO 8859-1, so that every byte survives and none can end a line.
    hide: names of query parameters whose values are written as "***", in target and referer; `hide()` adds to them.
    events: told when lines were lost, at most once a minute.
    """

    def __init__(
        self,
        sink: Sink,
        timers: ITimers,
        clock: IClock,
        *,
        events: IEventLog | None = None,
        hide: Iterable[str] = (),
    ) -> None:
        self._sink = sink
        self._timers = timers
        self._clock = clock
        self._events = events
        self._mask = QueryMask(hide)
        # Not a list of lines: held one by one, each in memory of its own, they cost half as much again.
        self._waiting = bytearray()
        self._lines = 0
        self._timer: Any = None
        self._offset = clock.wall() - clock.monotonic()
        self._second = -1
        self._date = ""
        self._lost_told = 0
        self._tell_again = -1.0

    def finished(self, exchange: Exchange) -> None:
        """See IExchangeLog."""
        if not self._lines:
            self._begin_batch()
        try:
            record = self._record(exchange)
            try:
                line = orjson.dumps(record, None, orjson.OPT_APPEND_NEWLINE)
            except TypeError:
                line = _plain(record)
        except Exception as error:
            line = orjson.dumps({"id": ascii(exchange.id), "unwritable": ascii(error)}) + b"\n"
        self._waiting += line
        self._lines += 1
        if len(self._waiting) >= FLUSH_AT:
            self._flush()

    def hide(self, name: str) -> None:
        """From now on write "***" for the values of this query parameter, too; for good."""
        self._mask.hide(name)

    def reopen(self) -> None:
        """Go on in a new file, after what has been said so far."""
        self._flush()
        self._sink.reopen()

    def close(self) -> Deferred[None]:
        """Fires when all is written; what finishes later is lost."""
        if self._timer is not None:
            self._timer.cancel()
        self._flush()
        return self._sink.close()

    def _begin_batch(self) -> None:
        # Follow the machine's clock when it is set, without asking it for every line.
        self._offset = self._clock.wall() - self._clock.monotonic()
        if self._timer is None:
            self._timer = self._timers.call_later(FLUSH_AFTER, self._tick)

    def _tick(self) -> None:
        # Once more after these lines, also where no others come: what the sink made of them is known by then.
        self._timer = self._timers.call_later(FLUSH_AFTER, self._tick) if self._lines else None
        self._flush()

    def _flush(self) -> None:
        if self._lines:
            self._sink.write(bytes(self._waiting), self._lines)
            self._waiting = bytearray()
            self._lines = 0
        self._tell_of_losses(self._clock.monotonic())

    def _tell_of_losses(self, now: float) -> None:
        lost = self._sink.lost
        if self._events is not None and lost > self._lost_told and now >= self._tell_again:
            self._events.event(
                "error",
                "access log lines were lost",
                lost=lost - self._lost_told,
                reason=self._sink.trouble or "they came faster than they could be written",
            )
            self._lost_told = lost
            self._tell_again = now + TELL_AGAIN_AFTER

    def _record(self, exchange: Exchange) -> dict[str, Any]:
        request = exchange.request
        connection = exchange.connection
        identity = exchange.identity
        started, answered, steps_done, ended = (
            exchange.started, exchange.answered, exchange.steps_done, exchange.ended,
        )
        user_agent, referer = _agent_and_referer(request.headers)
        target = request.received.decode("latin-1")
        if self._mask.names:
            target, referer = self._mask.hidden(target), self._mask.hidden(referer)
        record: dict[str, Any] = {
            "time": self._time(started),
            "id": exchange.id,
            "client": exchange.client,
            "consumer": "" if identity is None else identity.consumer,
            "method": request.method.decode("latin-1"),
            "scheme": request.scheme,
            "host": request.authority.decode("latin-1"),
            "target": target,
            "version": request.version,
            "status": exchange.status,
            "octets_in": exchange.octets_in,
            "octets_out": exchange.octets_out,
            "api": exchange.api,
            "route": exchange.route,
            "api_version": exchange.version,
            "upstream": exchange.upstream,
            "target_name": exchange.target,
            "attempts": exchange.attempts,
            "duration_ms": {
                "total": int((ended - started) * 1e6 + 0.5) / 1000,
                "policies": int((steps_done - started) * 1e6 + 0.5) / 1000 if steps_done else None,
                "upstream": int((answered - steps_done) * 1e6 + 0.5) / 1000 if answered and steps_done else None,
                "response": int((ended - answered) * 1e6 + 0.5) / 1000 if answered else None,
            },
            "listener": connection.listener,
            "user_agent": user_agent,
            "referer": referer,
        }
        if connection.tls_version:
            record["tls"] = connection.tls_version
            record["sni"] = connection.sni
        if exchange.fault is not None:
            kind = exchange.fault.kind
            record["fault"] = {"type": kind.slug, "whose": kind.whose, "step": exchange.fault.step}
        if exchange.notes is not None:
            record["notes"] = exchange.notes
        return record

    def _time(self, started: float) -> str:
        at = started + self._offset
        second = int(at)
        if second != self._second:
            self._second = second
            self._date = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        return self._date + _MILLISECONDS[int((at - second) * 1000)]


def _agent_and_referer(headers: Headers) -> tuple[str, str]:
    user_agent = referer = ""
    for name, value in headers.lines:
        if name == b"user-agent":
            user_agent = value.decode("latin-1")
        elif name == b"referer":
            referer = value.decode("latin-1")
    return user_agent, referer


def _plain(record: dict[str, Any]) -> bytes:
    """The line of a record that orjson refuses: a note that is no JSON, or text with half a surrogate."""
    notes = record.get("notes")
    if notes is not None:
        record["notes"] = {str(name): ascii(value) for name, value in notes.items()}
    return json.dumps(record).encode() + b"\n"


# Said from outside: a class that is compiled (setup.py) has no decorators.
classImplements(AccessLog, IExchangeLog)
