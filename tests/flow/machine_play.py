"""The machine between recorded surroundings, driven by transcripts: ">" is what happens, "<" what it then does.

    > GET /a                     a request head; "POST /a 5", "POST /a ?" with a body; "| Name: value" for fields
    > data hello   > end         its body
    > gone  > late  > full  > ready      the client leaves, is too slow, does not read, reads again
    > one opened                 the connection to the target `one` that is being opened is there
    > one 200 5                  its response head; "?" or nothing: no length announced; "more": the read brought more
    > one 103  > one 100         an interim response
    > one data ok  > one end     its body
    > one failed connect-failure         it fails; with "unsent" or "stale" behind it
    > one full  > one ready      the target does not read, reads again
    > fire NAME [VERDICT]        what the step NAME waits for is there
    > wait 1.5                   time passes

The body of a problem is shown as "problem".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from textwrap import dedent
from typing import Any

from machine_kinds import KINDS, trace_of, verdict
from twisted.internet.defer import Deferred

from apigateway.flow import faults
from apigateway.flow.driver import AttemptFailure
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.faults import Fault
from apigateway.flow.machine import Machine
from apigateway.flow.machine_state import NAMES, OVER
from apigateway.testing import request, response
from apigateway.testing.live import Provisioned, Twins, configuration, draft_of
from apigateway.testing.recording import RecordedAttempt, RecordedClient, RecordedDriver, Recorder
from apigateway.wire.headers import Headers
from apigateway.wire.message import Interim, Refusal

# Exchanges and retries of others, that run all the time.
OTHERS, RETRYING = 5, 1


class Play:
    """One exchange. kept: targets of which a connection is kept, so that nothing has to be opened."""

    def __init__(
        self, given: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (), *, kept: Sequence[str] = ("one",)
    ) -> None:
        self.twins = Twins()
        settings = configuration(given)
        self.revision = Provisioned(settings, draft_of(settings, KINDS, self.twins), self.twins)
        self.upstreams = list(self.revision.live.upstreams.values())
        for upstream in self.upstreams:
            # Others run already: none of the counters would go below 0, and what is given back twice be seen.
            upstream.budget.active, upstream.budget.retrying = OTHERS, RETRYING
            for state in upstream.places:
                state.active = OTHERS
        self.clock = self.twins.clock
        self.events = self.twins.events
        self.waiting: dict[str, Deferred[Any]] = self.twins.shared.get(self, "waiting", dict)
        self.cancelled: list[str] = self.twins.shared.get(self, "cancelled", list)
        self.recorder = Recorder()
        self.client = RecordedClient(self.recorder)
        self.driver = RecordedDriver(
            self.recorder, self.clock.monotonic, self.twins.random, self.twins.timers, self.events
        )
        self.driver.kept = lambda name, fresh: name in kept and not fresh
        self.machine: Any = None
        self.exchange: Exchange = None  # type: ignore[assignment]

    @property
    def state(self) -> str:
        """The machine's."""
        return NAMES[self.machine.state]

    @property
    def trace(self) -> list[str]:
        """Which hooks were called."""
        return trace_of(self.exchange)

    def run(self, transcript: str) -> Play:
        """Let happen what the transcript says, and compare what comes of it, line for line."""
        wanted = [line.strip() for line in dedent(transcript).strip().splitlines() if line.strip()]
        seen: list[str] = []
        for line in wanted:
            if line.startswith(">"):
                self._happen(line[1:].split("|")[0].split(), line.split("|")[1:])
                seen += [line, *(f"< {told}".rstrip() for told in self._told())]
        if seen != wanted:
            raise AssertionError("\n" + "\n".join(difflib.ndiff(wanted, seen)))
        self.check()
        return self

    def run_freely(self, *lines: str) -> None:
        """Let these happen, whatever comes of it."""
        for line in lines:
            self._happen(line[1:].split("|")[0].split(), line.split("|")[1:])

    def _told(self) -> list[str]:
        """What the machine did; of a problem only that it is one, since its text is another test's."""
        lines = self.recorder.take()
        if not self.client.headers.text(b"content-type").startswith("application/problem"):
            return lines
        return [re.sub(r"^client: (?:data .*|(\d+) \d+)$", _problem, line) for line in lines]

    def check(self) -> None:
        """What holds at any moment, and what holds when all is over."""
        if self.machine.state != OVER:
            assert self.driver.exchanges == [] and self.revision.live.active == 1
            return
        assert self.driver.exchanges == [self.exchange], "finished once"
        assert self.revision.live.active == 0
        assert self.client.over
        for upstream in self.upstreams:
            assert {state.active for state in upstream.places} == {OTHERS}
            assert (upstream.budget.active, upstream.budget.retrying) == (OTHERS, RETRYING)
        assert self.twins.timers.waiting() == []
        went = self.exchange.fault is not None and self.exchange.fault.kind is faults.CLIENT_CLOSED
        went = went or self.exchange.status in (101, 499)
        assert self.client.ended + self.client.aborted <= 1
        assert self.client.ended or self.client.aborted or went, "an end, or cut off, or the client went away"

    # ---- what happens

    def _happen(self, words: list[str], fields: list[str]) -> None:
        first, rest = words[0], words[1:]
        if first.isupper():
            self._begin(first, rest, fields)
        elif hasattr(self, f"_{first}"):
            getattr(self, f"_{first}")(*rest)
        else:
            self._upstream(first, *rest)

    def _begin(self, method: str, rest: list[str], fields: list[str]) -> None:
        target, length = rest[0], rest[1] if len(rest) > 1 else None
        pairs = [(name.strip(), value.strip()) for name, _, value in (field.partition(":") for field in fields)]
        if length not in (None, "?"):
            pairs.append(("Content-Length", str(length)))
        head = request(method, target, pairs, chunked=length == "?")
        self.exchange = Exchange("x1", head, Connection(peer="203.0.113.9"), "203.0.113.9", self.clock.monotonic())
        self.machine = Machine(self.driver, self.client, self.exchange, self.revision.live)
        self.machine.begin()

    def _data(self, text: str) -> None:
        self.machine.request_data(text.encode())

    def _end(self, *trailers: str) -> None:
        self.machine.request_end(_trailers(trailers))

    def _gone(self) -> None:
        self.machine.client_gone()

    def _late(self) -> None:
        self.machine.late()

    def _refused(self, status: str) -> None:
        self.machine.refused(Refusal(int(status), "the client broke the protocol", "RFC 9112 7.1"))

    def _full(self) -> None:
        self.machine.download_paused()

    def _ready(self) -> None:
        self.machine.download_resumed()

    def _wait(self, seconds: str) -> None:
        self.clock.advance(float(seconds))

    def _fire(self, name: str, said: str = "go") -> None:
        later = self.waiting.pop(name)
        try:
            later.callback(verdict(said, name))
        except (Fault, ValueError) as error:
            later.errback(error)

    def _tunnel(self, octets_in: str, octets_out: str) -> None:
        self.machine.tunnel_ended(int(octets_in), int(octets_out))

    def _upstream(self, name: str, what: str, *rest: str) -> None:
        attempt = self._attempt(name)
        machine = self.machine
        if what == "opened":
            machine.upstream_opened(attempt)
        elif what == "data":
            machine.response_data(rest[0].encode())
        elif what == "end":
            attempt.over = True
            machine.response_end(_trailers(rest))
        elif what == "failed":
            attempt.over = True
            machine.upstream_failed(failure(rest[0], "unsent" not in rest, "stale" in rest))
        elif what == "full":
            machine.upload_paused()
        elif what == "ready":
            machine.upload_resumed()
        elif int(what) < 200 and what != "101":
            machine.interim(Interim(int(what), Headers()))
        else:
            machine.response_head(self._head(int(what), rest), "more" in rest)

    def _head(self, status: int, rest: Sequence[str]) -> Any:
        fields = [("Content-Length", rest[0])] if rest and rest[0] != "?" else []
        made = response(status, fields, to=self.exchange.request.method.decode(), chunked=not fields)
        made.upgrade = b"websocket" if status == 101 else b""
        return made

    def _attempt(self, name: str) -> RecordedAttempt:
        attempt = self.driver.attempts[-1]
        assert attempt.name == name and not attempt.over, f"no attempt at {name} runs"
        return attempt


def failure(reason: str, sent: bool = True, stale: bool = False) -> AttemptFailure:
    """An attempt's end, as the dataplane tells of it."""
    kinds = {
        "connect-failure": faults.CONNECT_FAILED, "reset-before-response": faults.UPSTREAM_RESET,
        "timeout": faults.RESPONSE_TIMEOUT, "incomplete": faults.INCOMPLETE_RESPONSE, "full": faults.OVERLOADED,
    }
    known = reason in ("connect-failure", "reset-before-response", "timeout")
    return AttemptFailure(kinds[reason], reason if known else "", sent, f"test: {reason}", stale)


def _problem(found: re.Match[str]) -> str:
    return f"client: {found[1]} problem" if found[1] else "client: data problem"


def _trailers(words: Sequence[str]) -> Headers | None:
    pairs = [word.partition("=") for word in words]
    return Headers((name.encode(), value.encode()) for name, _, value in pairs) if pairs else None
