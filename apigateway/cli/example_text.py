"""Examples of policies as text for a reference page: a part of a configuration, and what comes of requests."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ruamel.yaml import YAML

from apigateway.flow.kinds import Call, Example


def example_lines(kind: str, example: Example) -> Iterator[str]:
    """Lines of Markdown for one example."""
    yield from ("", f"### {example.title}", "", "```yaml")
    yield from yaml_text(_part(kind, example)).splitlines()
    yield from ("```", "", "```text")
    for number, call in enumerate(example.calls):
        if number:
            yield ""
        yield from _call_lines(call)
    yield "```"


def yaml_text(value: Any) -> str:
    """Plain values as YAML, in the order they are in."""
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 100
    stream = io.StringIO()
    # Through JSON: examples may hold tuples, which YAML would mark as Python's.
    yaml.dump(json.loads(json.dumps(value)), stream)
    return stream.getvalue()


def _part(kind: str, example: Example) -> dict[str, Any]:
    """The part of a configuration that the example is."""
    step: dict[str, Any] = {"policy": kind, **({"with": example.settings} if example.settings else {})}
    steps: list[Mapping[str, Any]] = [step, *example.then]
    part: dict[str, Any] = {"consumers": example.consumers} if example.consumers else {}
    if example.place == "error":
        if example.before:
            part["pre_flow"] = {"request": example.before}
        part["error_flow"] = steps
    elif example.place == "response":
        before = {"request": example.before} if example.before else {}
        part["pre_flow"] = {**before, "response": steps}
    else:
        part["pre_flow"] = {"request": [*example.before, *steps]}
    return part


def _call_lines(call: Call) -> Iterator[str]:
    if call.after:
        yield f"... {call.after:g} seconds later"
    yield f"> {call.method} {call.target}"
    yield from (f"> {name}: {value}" for name, value in call.headers)
    if call.body:
        yield from (f"> {line}" for line in _shown(call.body))
    if call.status is not None:
        yield f"< {call.status}"
    yield from (_field("<", name, value) for name, value in call.fields.items())
    if call.contains:
        yield f"< ... {_one_line(call.contains)} ..."
    if call.sent is False:
        yield "  the upstream is not asked"
    if call.sent_target is not None:
        yield f"  the upstream gets the target {call.sent_target}"
    yield from (_field("  the upstream gets", name, value) for name, value in call.sent_fields.items())
    if call.sent_body is not None:
        yield from (f"  the upstream gets the body {line}" for line in _shown(call.sent_body))


def _field(start: str, name: str, value: str | None) -> str:
    return f"{start} no {name}" if value is None else f"{start} {name}: {_one_line(value)}"


def _shown(body: bytes) -> list[str]:
    """A body's lines; of a long one its length."""
    if len(body) > 300:
        return [f"({len(body)} octets)"]
    return body.decode("utf-8", "backslashreplace").splitlines()


def _one_line(text: str) -> str:
    return text.replace("\n", "\\n")
