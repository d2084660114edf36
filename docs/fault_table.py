"""The directive `{fault-table}`: every kind of fault, as apigateway/flow/faults.py has them."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from apigateway.flow import faults
from apigateway.flow.faults import FaultKind


def kinds() -> list[FaultKind]:
    """All kinds, by status and name."""
    found = {value for value in vars(faults).values() if isinstance(value, FaultKind)}
    return sorted(found, key=lambda kind: (kind.status, kind.slug))


class FaultTable(SphinxDirective):
    """A table in the markup of the page that it stands in."""

    def run(self) -> list[nodes.Node]:
        """See Directive."""
        lines = ["| status | type | title | whose fault | Proxy-Status |", "|---|---|---|---|---|"]
        for kind in kinds():
            token = f"`{kind.proxy_status}`" if kind.proxy_status else ""
            lines.append(f"| {kind.status} | `{kind.slug}` | {kind.title} | {kind.whose} | {token} |")
        holder = nodes.container()
        self.state.nested_parse(StringList(lines, source=faults.__file__), self.content_offset, holder)
        return holder.children


def setup(app: Sphinx) -> dict[str, Any]:
    """See Sphinx's extension API."""
    app.add_directive("fault-table", FaultTable)
    return {"parallel_read_safe": True}
