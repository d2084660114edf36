"""A page of bar charts as SVG: one for each job, a bar for each proxy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, BAR, GAP, LABEL, NUMBER = 760, 16, 6, 230, 80
OWN, OTHERS, INK = "#c2410c", "#94a3b8", "#334155"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. bars: (label, value, whether it is ours)."""

    title: str
    bars: Sequence[tuple[str, float, bool]]
    form: str = ".1f"


def svg(charts: Sequence[Chart]) -> str:
    """All of them, one below the other; those without bars are left out."""
    pieces, top = [], 10
    for chart in charts:
        if chart.bars:
            drawn, top = _chart(chart, top)
            pieces += drawn
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">'
    )
    return "\n".join([head, f'<rect width="{WIDTH}" height="{top}" fill="#ffffff"/>', *pieces, "</svg>"]) + "\n"


def _chart(chart: Chart, top: int) -> tuple[list[str], int]:
    """(its elements, where the next one begins)."""
    longest = max(value for _, value, _ in chart.bars) or 1.0
    pieces = [f'<text x="10" y="{top + 16}" font-size="14" font-weight="bold">{escape(chart.title)}</text>']
    at = top + 28
    for label, value, ours in chart.bars:
        width = max(1.0, value / longest * (WIDTH - LABEL - NUMBER))
        middle = at + BAR - 4
        pieces += [
            f'<text x="{LABEL - 8}" y="{middle}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{LABEL}" y="{at}" width="{width:.1f}" height="{BAR}" fill="{OWN if ours else OTHERS}"/>',
            f'<text x="{LABEL + width + 6:.1f}" y="{middle}">{format(value, chart.form)}</text>',
        ]
        at += BAR + GAP
    return pieces, at + 14
