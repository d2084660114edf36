"""llhttp's own cases, out of its Markdown: an input, and the log of what llhttp makes of it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(
    r"^(?P<heading>#+ [^\n]*)$|<!-- *meta=(?P<meta>\{.*?\}) *-->|```(?P<kind>\w+)\n(?P<text>.*?)^```", re.M | re.S
)
_SPAN = re.compile(r'off=(\d+) len=(\d+) span\[([a-z_]+)\]=(cr|lf|".*")')
_ERROR = re.compile(r'off=(\d+) error code=\d+ reason="(.*)"')
_DETAILS = re.compile(r"(?<=headers complete).*")
_ENDS = {"cr": b"\r", "lf": b"\n"}
_MARK = re.compile(r"off=(\d+) (message begin|version complete|message complete|headers complete)")


@dataclass
class Told:
    """A message as llhttp tells it. at: the index behind its first line; complete: it has an end."""

    start: int
    at: int = 0
    spans: dict[str, bytes] = field(default_factory=dict)
    fields: list[list[bytes]] = field(default_factory=list)
    headed: bool = False
    complete: bool = False

    def add(self, kind: str, octets: bytes) -> None:
        """A piece: of a name, of a value, or of a part that there is once."""
        if kind == "header_field":
            self.fields.append([octets, b""])
        elif kind == "header_value":
            self.fields[-1][1] += octets
        else:
            self.spans[kind] = self.spans.get(kind, b"") + octets


@dataclass(frozen=True)
class Case:
    """name: file and heading. kind: "request" or "response", with the leniency or "finish" behind a dash.

    error: llhttp's reason to refuse, "" for none. spans: what the log says of the input, as (at, octets).
    skips_body: llhttp is told that no body follows, as for the answer to HEAD.
    """

    name: str
    kind: str
    octets: bytes
    messages: list[Told]
    error: str
    spans: list[tuple[int, bytes]]
    skips_body: bool = False

    @property
    def strict(self) -> bool:
        """What the log says is so without any leniency."""
        return "lenient" not in self.kind

    @property
    def of_request(self) -> bool:
        return self.kind.startswith("request")

    @property
    def with_hosts(self) -> bytes:
        """The input with a Host field in each request that has none: most have none, and would be refused for that."""
        octets = self.octets
        for message in reversed(self.messages):
            hosts = [one for one in message.fields if one[0].lower() == b"host"]
            if message.at and not hosts and octets[message.at : message.at + 2] == b"\r\n":
                octets = octets[: message.at + 2] + b"Host: a\r\n" + octets[message.at + 2 :]
        return octets


def read_cases(folder: Path) -> list[Case]:
    """All cases of requests and responses."""
    cases: list[Case] = []
    for file in sorted(folder.glob("test/re*/*.md")):
        cases += _of_file(f"{file.parent.name}/{file.stem}", file.read_text(encoding="utf-8"))
    return cases


def _of_file(name: str, text: str) -> list[Case]:
    cases: list[Case] = []
    heading, kind, octets = "", "", b""
    for block in _BLOCK.finditer(text):
        if block["heading"]:
            heading, kind = block["heading"].lstrip("# "), ""
        elif block["meta"]:
            kind = json.loads(block["meta"]).get("type", kind)
        elif block["kind"] == "http":
            octets = _octets(block["text"])
        elif block["kind"] == "log" and kind:
            cases.append(_case(f"{name}: {heading}", kind, octets, block["text"]))
    return cases


def _octets(text: str) -> bytes:
    """The input as llhttp's tests read it: lines end in CRLF, and escapes stand for what cannot be written."""
    text = text.removesuffix("\n")
    text = _unescaped(re.sub(r"\\\n", "", text).replace("\n", "\r\n")).replace("\\r", "\r").replace("\\n", "\n")
    text = re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)
    text = re.sub(r"\\([0-7]{1,3})", lambda found: chr(int(found[1], 8)), text)
    return text.encode()


def _unescaped(text: str) -> str:
    return text.replace("\\t", "\t").replace("\\f", "\f")


def _case(name: str, kind: str, octets: bytes, log: str) -> Case:
    messages: list[Told] = []
    spans: list[tuple[int, bytes]] = []
    error = ""
    for line in log.splitlines():
        if found := _MARK.fullmatch(_DETAILS.sub("", line)):
            _mark(messages, int(found[1]), found[2])
        elif found := _SPAN.fullmatch(line):
            at, length = int(found[1]), int(found[2])
            messages[-1].add(found[3], octets[at : at + length])
            spans.append((at, _ENDS.get(found[4]) or _unescaped(found[4][1:-1]).encode()))
        elif found := _ERROR.fullmatch(line):
            error = found[2]
    return Case(name, kind, octets, messages, error, spans, "skip body" in log)


def _mark(messages: list[Told], at: int, what: str) -> None:
    if what == "message begin":
        messages.append(Told(at))
    elif what == "version complete":
        messages[-1].at = at
    elif what == "headers complete":
        messages[-1].headed = True
    else:
        messages[-1].complete = True
