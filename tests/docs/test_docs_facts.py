"""Lists in the pages are those of the code."""

from __future__ import annotations

import re

import orjson
from doc_pages import DOCS, pages
from prometheus_client.parser import text_string_to_metric_families

from apigateway.adapters.access_log import AccessLog
from apigateway.adapters.metrics import Metrics
from apigateway.cli import exit_codes
from apigateway.dataplane.restart import FIXED
from apigateway.flow.exchange import Connection, Exchange, PeerCertificate
from apigateway.flow.expression_names import FUNCTIONS, METHODS
from apigateway.flow.faults import INTERNAL, Fault
from apigateway.flow.interfaces import (
    IOnFault,
    IOnLog,
    IOnRequest,
    IOnRequestBody,
    IOnResponse,
    IOnResponseBody,
)
from apigateway.flow.variables import Group, Node, Surroundings, variables
from apigateway.manager.worker_api import WorkerApi
from apigateway.ports.memory import ManualClock, ManualTimers
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request


def page(name: str) -> str:
    """A page without its code blocks."""
    text = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def section(name: str, heading: str) -> str:
    """The text below a heading of a page, up to the next one of its level or above."""
    level, _, _ = heading.partition(" ")
    after = page(name).partition(f"\n{heading}\n")[2]
    assert after, f"{name} has no {heading!r}"
    return re.split(rf"^#{{1,{len(level)}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def first_column(text: str) -> set[str]:
    """What stands in backquotes in the first column of the tables of a text."""
    cells = re.findall(r"^\| ([^|]*)\|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


class Kept:
    """A sink that keeps its lines."""

    lost, trouble = 0, ""

    def __init__(self) -> None:
        self.octets = b""

    def write(self, octets: bytes, lines: int = 1) -> None:
        self.octets += octets

    def reopen(self) -> None:
        """There is no file."""

    def close(self) -> None:
        """There is no file."""


def test_access_log() -> None:
    sink, clock = Kept(), ManualClock()
    log = AccessLog(sink, ManualTimers(clock), clock)  # type: ignore[arg-type]
    connection = Connection(tls_version="TLSv1.3", sni="a.test", certificate=PeerCertificate(b""))
    exchange = Exchange("1", Request(b"GET", b"/", Headers()), connection, "192.0.2.1", 0.0)
    exchange.fault = Fault(INTERNAL)
    exchange.note("said", "something")
    log.finished(exchange)
    log.reopen()
    assert first_column(section("operating", "## The access log")) == set(orjson.loads(sink.octets))


def test_metrics() -> None:
    metrics = Metrics()
    metrics.digest("abc")
    families = [
        family for family in text_string_to_metric_families(metrics.exposition().decode())
        if family.name.startswith("apigateway_")
    ]  # fmt: skip
    ends = {"counter": "_total"}
    names = {
        family.name + (ends.get(family.type, "") if not family.name.endswith("_total") else "")
        for family in families
    }
    assert first_column(section("operating", "## Metrics")) == names


def test_management_calls() -> None:
    told = {tuple(call.split(" ")) for call in first_column(section("operating", "## Management"))}
    rules = {
        (method, rule.rule.replace("<upstream>", "NAME").replace("<target>", "TARGET"))
        for rule in WorkerApi.app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert told == rules


def test_paths_of_the_management_listener() -> None:
    named = {
        path
        for file in pages()
        for path in re.findall(r":8001(/[a-z0-9/]+)", file.read_text(encoding="utf-8"))
    }
    adapter = WorkerApi.app.url_map.bind("localhost")
    for path in named:
        assert adapter.allowed_methods(path), path


def test_variables() -> None:
    def leaves(name: str, node: Node) -> set[str]:
        if isinstance(node, Group):
            return {
                leaf for member, inner in node.members.items() for leaf in leaves(f"{name}.{member}", inner)
            }
        return {name}

    known = variables(Surroundings(response_side=True, clock=ManualClock()))
    wanted = {leaf for name, node in known.items() for leaf in leaves(name, node)}
    assert first_column(section("conditions", "## Variables")) == wanted


def test_functions() -> None:
    told = set(re.findall(r"`([A-Za-z_]+)`", section("conditions", "## Functions")))
    assert told - {"all", "exists", "exists_one"} == FUNCTIONS | METHODS


def test_what_a_reload_refuses() -> None:
    items = re.findall(r"^- `([a-z_]+)`", section("reload", "### What is refused"), re.MULTILINE)
    assert items == [*FIXED, "listeners"]


def test_exit_status() -> None:
    rows = {
        int(status)
        for status in re.findall(r"^\| (\d) \|", section("operating", "## Exit status"), re.MULTILINE)
    }
    assert rows == {exit_codes.FINE, exit_codes.REFUSED, exit_codes.USAGE, exit_codes.NOT_FOUND}


def test_hooks() -> None:
    wanted = set()
    for interface in (IOnRequest, IOnRequestBody, IOnResponse, IOnResponseBody, IOnFault, IOnLog):
        (name,) = set(interface) - {"provision", "close"}
        arguments = ", ".join(interface[name].getSignatureInfo()["positional"])
        wanted.add((interface.__name__, f"{name}({arguments})"))
    rows = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", section("writing-a-policy", "## Hooks"), re.MULTILINE)
    assert set(rows) == wanted
