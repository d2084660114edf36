"""The machine's surroundings for tests: a client, upstream connections and a driver that do nothing and remember all.

What the machine asks of them stands in `Recorder.lines`, one text per call, so that a test reads as a transcript:

    client: 200 2          the final head, with the announced length ("?" where there is none)
    client: data ok        client: end        client: abort        client: done
    client: 100            an interim response
    client: pause          client: resume     (reading of the request body)
    client: join one       the tunnel begins
    open one               a connection to the target `one` is being opened
    one: GET /a 5          the request head, with the announced length where there is a body
    one: data hello        one: end           one: cancel          one: pause           one: resume
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from apigateway.flow.attempting import Attempting
from apigateway.flow.driver import Attempt
from apigateway.flow.exchange import Exchange
from apigateway.flow.live import LiveRevision
from apigateway.flow.mirror import MirrorCopy
from apigateway.flow.target_state import HealthChange, TargetState
from apigateway.flow.upstream import CompiledUpstream
from apigateway.ports.interfaces import IEventLog, IRandom, ITimers
from apigateway.wire.headers import Headers
from apigateway.wire.message import Interim, Request, Response


class Recorder:
    """What was asked for, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Add a line."""
        self.lines.append(line)

    def take(self) -> list[str]:
        """The lines since the last call."""
        lines, self.lines = self.lines, []
        return lines


class RecordedClient:
    """A ClientSide. head: the final head, as it was when it was sent. body: what was sent of it.

    paused: the request body is not to be read. ended, aborted, over (`done` was called): as they say.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._say = recorder.say
        self.interims: list[Interim] = []
        self.head: Response | None = None
        self.headers = Headers()
        self.body = b""
        self.trailers: Headers | None = None
        self.paused = self.ended = self.aborted = self.over = False

    def send_interim(self, interim: Interim) -> None:
        self._say(f"client: {interim.status}")
        self.interims.append(interim)

    def send_head(self, response: Response, more: bool = False) -> None:
        self._say(f"client: {response.status} {'?' if response.length is None else response.length}")
        self.head, self.headers = response, response.headers.copy()

    def send_data(self, chunk: bytes) -> None:
        self._say(f"client: data {shown(chunk)}")
        self.body += chunk

    def send_end(self, trailers: Headers | None) -> None:
        self._say("client: end" + shown_fields(trailers))
        self.ended, self.trailers = True, trailers

    def abort(self) -> None:
        self._say("client: abort")
        self.aborted = True

    def pause_request(self) -> None:
        self._say("client: pause")
        self.paused = True

    def resume_request(self) -> None:
        self._say("client: resume")
        self.paused = False

    def join(self, attempt: Attempt, machine: Any) -> None:
        self._say(f"client: join {getattr(attempt, 'name', '')}")

    def done(self, machine: Any) -> None:
        self._say("client: done")
        self.over = True


class RecordedAttempt:
    """An Attempt at a target. request, target, host, headers: of the head that was sent, None or empty before; headers
    with Host and the lines that the gateway adds. complete: the request was sent to its end. over: it was given up, or
    whoever answers in its place has ended it. paused: the response is not to be read."""

    def __init__(self, recorder: Recorder, name: str, *, reused: bool = False) -> None:
        self._say = recorder.say
        self.name = name
        self.reused = reused
        self.request: Request | None = None
        self.target = self.host = self.body = b""
        self.headers = Headers()
        self.trailers: Headers | None = None
        self.complete = self.cancelled = self.over = self.paused = False

    def send_head(
        self, request: Request, target: bytes, host: bytes, extra: Sequence[tuple[bytes, bytes]]
    ) -> None:
        length = {None: " ?", 0: ""}.get(request.length, f" {request.length}")
        self._say(f"{self.name}: {shown(request.method)} {shown(target)}{length}")
        self.request, self.target, self.host = request, target, host
        self.headers = Headers([(b"host", host), *request.headers.lines, *extra])

    def send_data(self, chunk: bytes) -> None:
        self._say(f"{self.name}: data {shown(chunk)}")
        self.body += chunk

    def send_end(self, trailers: Headers | None) -> None:
        self._say(f"{self.name}: end" + shown_fields(trailers))
        self.complete, self.trailers = True, trailers

    def cancel(self) -> None:
        self._say(f"{self.name}: cancel")
        self.cancelled = self.over = True

    def pause_response(self) -> None:
        self._say(f"{self.name}: pause")
        self.paused = True

    def resume_response(self) -> None:
        self._say(f"{self.name}: resume")
        self.paused = False


class RecordedDriver:
    """A Driver. attempts: every one, in order. told: results of attempts, (upstream, target, result).

    kept: asked for each attempt whether a kept connection is there, with (target's name, fresh); where it is not, one
    is being opened until `upstream_opened` or `upstream_failed` is called on the machine.
    """

    def __init__(
        self, recorder: Recorder, now: Callable[[], float], random: IRandom, timers: ITimers, events: IEventLog
    ) -> None:
        self._recorder = recorder
        self._timers, self._events = timers, events
        self.now = now
        self.random = random
        self.kept: Callable[[str, bool], bool] = lambda name, fresh: not fresh
        self.attempts: list[RecordedAttempt] = []
        self.told: list[tuple[str, str, str]] = []
        self.changes: list[HealthChange] = []
        self.exchanges: list[Exchange] = []
        self.copies: list[MirrorCopy] = []

    def open_upstream(
        self, machine: Attempting, upstream: CompiledUpstream, target: TargetState, fresh: bool
    ) -> RecordedAttempt | None:
        kept = self.kept(target.name, fresh)
        attempt = RecordedAttempt(self._recorder, target.name, reused=kept)
        self.attempts.append(attempt)
        if kept:
            return attempt
        self._recorder.say(f"open {target.name}")
        machine.opening = attempt
        return None

    def call_later(self, seconds: float, callable: Callable[[], Any]) -> Any:
        return self._timers.call_later(seconds, callable)

    time_out = call_later

    def date(self) -> bytes:
        return b"Tue, 14 Nov 2023 22:13:20 GMT"  # where a ManualClock begins

    def event(self, level: str, message: str, **fields: Any) -> None:
        self._events.event(level, message, **fields)

    def attempted(self, upstream: str, target: str, result: str) -> None:
        self.told.append((upstream, target, result))

    def health_changed(self, change: HealthChange) -> None:
        self.changes.append(change)

    def mirror(self, copy: MirrorCopy, revision: LiveRevision) -> None:
        self.copies.append(copy)

    def finished(self, exchange: Exchange) -> None:
        self.exchanges.append(exchange)


def shown(octets: bytes) -> str:
    """Octets as a transcript shows them; of many the number."""
    return octets.decode("latin-1") if len(octets) <= 64 else f"({len(octets)} octets)"


def shown_fields(fields: Headers | None) -> str:
    """Trailer fields as a transcript shows them."""
    lines = () if fields is None else fields.lines
    return "".join(f" {shown(name)}={shown(value)}" for name, value in lines)
