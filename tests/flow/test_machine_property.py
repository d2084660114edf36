"""Random plans, and events in random order: what must hold of every exchange, however it goes.

It ends with a response or a fault, never both, exactly once; it is told once, last; nothing is sent to anybody after
the end; an answer that was cut off never looks complete; and nothing of it is left behind in counters and timers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from machine_kinds import say, to
from machine_play import Play

from apigateway.flow.machine_state import OVER

HOOKS = ["go", "go", "go", "async", "wait", "deaf", "reply", "empty", "fault", "error", "number"]
TARGETS = ("one", "two")


@st.composite
def say_steps(draw: Any) -> dict[str, Any]:
    name = draw(st.sampled_from("abcdefgh"))
    step = say(
        name, request=draw(st.sampled_from(HOOKS)), response=draw(st.sampled_from(HOOKS)),
        fault=draw(st.sampled_from(HOOKS)), log=draw(st.sampled_from(["go", "error"])),
    )
    more = st.sampled_from([
        {}, {}, {"mode": "shadow"}, {"on_error": "continue"}, {"timeout": "1s"}, {"when": "false"}, {"when": "true"},
        {"when": "request.json.a == 1"},
    ])
    return {**step, **draw(more)}


MODE = st.sampled_from(["enforce", "enforce", "shadow"])
WHOLE = st.builds(
    lambda request, response, mode: {"policy": "whole", "mode": mode, "with": {
        "request": request, "response": response, "add": "!"
    }},
    st.sampled_from([-1, 0, 4, 100]), st.sampled_from([-1, 0, 4, 100]), MODE,
)
PIECES = st.builds(
    lambda fail, fault, mode: {
        "policy": "pieces", "mode": mode, "with": {"fail_on": fail, "fault_on": fault, "tail": "!"}
    },
    st.sampled_from("z\0"), st.sampled_from("y\0"), MODE,
)
STEPS = st.lists(say_steps() | WHOLE | PIECES, max_size=4)
BACK = st.lists(say_steps().map(lambda step: {**step, "when": "response.status < 500"}) | WHOLE | PIECES, max_size=3)
ERRORS = st.lists(say_steps().map(lambda step: {key: step[key] for key in step if key != "when"}), max_size=2)

REQUESTS = ["GET /", "HEAD /", "POST / 8", "POST / ?", "PUT / ?", "PUT / ? | Expect: 100-continue",
            "GET / | Connection: upgrade | Upgrade: websocket"]
PIECE = ["ab", "z", "y", "abcdefgh"]


class Events:
    """What may happen next, as lines of a transcript."""

    def __init__(self, play: Play) -> None:
        self.play = play
        self.headed: set[int] = set()

    def possible(self) -> list[str]:
        return [*self._client(), *self._upstream(), *self._steps(), "> wait 0.03", "> wait 1"]

    def _client(self) -> Iterator[str]:
        machine = self.play.machine
        yield from ("> gone", "> full", "> ready")
        if machine.upload is not None and not machine.upload.complete:
            yield from (f"> data {text}" for text in PIECE)
            yield from ("> end", "> end", "> end x-sum=1", "> late", "> refused 400")

    def _upstream(self) -> Iterator[str]:
        attempts = self.play.driver.attempts
        if not attempts or attempts[-1].over or self.play.state == "TUNNEL":
            return
        name = attempts[-1].name
        yield from (f"> {name} full", f"> {name} ready")
        if attempts[-1].request is None:
            yield from (f"> {name} opened", f"> {name} opened", f"> {name} failed connect-failure unsent")
        elif len(attempts) in self.headed:
            if not self.bodiless:
                yield from (f"> {name} data {text}" for text in PIECE)
            yield from (f"> {name} end", f"> {name} end", f"> {name} end x-count=1", f"> {name} failed incomplete")
        else:
            yield from (f"> {name} {status} ?" for status in (100, 103, 200, 200, 200, 204, 304, 404, 503))
            yield from (f"> {name} failed {why}" for why in ("timeout", "reset-before-response"))
            if attempts[-1].reused:
                yield f"> {name} failed reset-before-response stale"
            if attempts[-1].request.upgrade:
                yield f"> {name} 101"

    def _steps(self) -> Iterator[str]:
        for name, later in self.play.waiting.items():
            if not later.called:
                yield from (f"> fire {name} {said}" for said in ("go", "go", "reply", "fault", "error", "number"))

    def happen(self, line: str) -> None:
        words = line.split()
        if len(words) > 2 and words[1] in TARGETS and words[2].isdigit() and words[2] not in ("100", "103"):
            self.headed.add(len(self.play.driver.attempts))
            self.bodiless = words[2] in ("204", "304", "101") or self.play.exchange.request.method == b"HEAD"
        self.play.run_freely(line)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_whatever_happens(data: st.DataObject) -> None:
    draw = data.draw
    flows = {"pre_flow": {"request": draw(STEPS), "response": draw(BACK)}, "error_flow": draw(ERRORS)}
    retry = {"attempts": 3, "buffer": draw(st.sampled_from(["3B", "64KiB"]))}
    play = Play(to(*TARGETS, flows=flows, retry=retry), kept=draw(st.sampled_from([(), ("one",), TARGETS])))
    follow(play, draw, draw(st.integers(3, 30)))


def follow(play: Play, draw: Callable[..., Any], most: int) -> None:
    """Let things happen, look whether all holds, end it, and look again."""
    fill_up(play, draw(st.booleans()))
    events = Events(play)
    line = f"> {draw(st.sampled_from(REQUESTS))}"
    for _ in range(most):
        before = len(play.recorder.lines)
        note(line)
        events.happen(line)
        for told in play.recorder.lines[before:]:
            note(f"< {told}")
        play.check()
        if play.machine.state == OVER:
            break
        line = draw(st.sampled_from(events.possible()))
    if play.machine.state != OVER:
        play.run_freely("> tunnel 1 1" if play.state == "TUNNEL" else "> gone")
    play.check()
    holds(play)
    before = len(play.recorder.lines)
    play.run_freely("> gone", "> data late", "> end", "> full", "> ready", "> late", "> refused 400", "> wait 100")
    assert len(play.recorder.lines) == before, "nothing is sent after the end"


def fill_up(play: Play, whether: bool) -> None:
    """Both sides may say, inside of a write, that they are full."""
    if not whether:
        return
    send, opened = play.client.send_data, play.driver.open_upstream

    def send_data(chunk: bytes) -> None:
        send(chunk)
        play.machine.download_paused()

    def open_upstream(*arguments: Any) -> Any:
        kept = opened(*arguments)
        attempt = kept or play.machine.opening
        pass_on = attempt.send_data

        def send_piece(chunk: bytes) -> None:
            pass_on(chunk)
            play.machine.upload_paused()

        attempt.send_data = send_piece
        return kept

    play.client.send_data = send_data  # type: ignore[method-assign]
    play.driver.open_upstream = open_upstream  # type: ignore[method-assign]


def holds(play: Play) -> None:
    """What the transcript of a whole exchange never does."""
    client = [line.removeprefix("client: ") for line in play.recorder.lines if line.startswith("client: ")]
    words = [line.split()[0] for line in client if line not in ("pause", "resume")]
    heads = [index for index, word in enumerate(words) if (word.isdigit() and int(word) >= 200) or word == "101"]
    assert len(heads) <= 1, "one final head"
    assert words.count("done") == 1 and words[-1] == "done"
    assert words.count("end") + words.count("abort") <= 1, "what was cut off never looks complete"
    body = [index for index, word in enumerate(words) if word in ("data", "end", "abort", "join")]
    assert not body or (heads and heads[0] < body[0]), "no body without a head"
    assert not heads or all(word.isdigit() for word in words[: heads[0]]), "1xx before the head"
    assert not heads or not any(word.isdigit() for word in words[heads[0] + 1 :]), "and none behind it"
    assert "end" not in words or words[-2] == "end", "nothing behind the end"
    if play.exchange.fault is None:
        assert "abort" not in words
    else:
        gone = play.exchange.status == 499 or play.exchange.fault.status == 499
        assert gone or "end" in words or "abort" in words
    if play.client.head is not None and play.client.head.bodiless:
        assert "data" not in words
    for name in TARGETS:
        of_attempts(name, [line for line in play.recorder.lines if line.startswith((f"{name}: ", f"open {name}"))])


def of_attempts(name: str, lines: list[str]) -> None:
    """Each attempt: at most one head, before the body, one end, and nothing behind a cancel."""
    state = "over"
    for line in lines:
        word = line.removeprefix(f"{name}: ").split()[0]
        if word == "open":
            state = "opening"
        elif word in ("GET", "HEAD", "POST", "PUT"):
            state = "head"
        elif word == "data":
            assert state == "head", (line, lines)
        elif word == "end":
            assert state == "head", (line, lines)
            state = "sent"
        elif word == "cancel":
            assert state in ("opening", "head", "sent"), (line, lines)
            state = "over"
        else:
            assert state in ("head", "sent"), (line, lines)
