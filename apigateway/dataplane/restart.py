"""What of the process settings a running worker cannot take: such a reload is refused whole, not applied in part."""

from __future__ import annotations

from apigateway.config.model import Configuration
from apigateway.errors import Problem

# Read once, when the process starts.
FIXED = ("environment", "management", "state", "workers", "data_dir", "logs", "resolver", "watch")


def needs_restart(running: Configuration, wanted: Configuration) -> list[Problem]:
    """A problem for every setting that differs and needs a restart."""
    problems = [
        Problem(f"/{field}", "a change of this needs a restart; nothing of the new configuration was taken")
        for field in FIXED
        if getattr(running, field) != getattr(wanted, field)
    ]
    return problems + _listeners(running, wanted)


def _listeners(running: Configuration, wanted: Configuration) -> list[Problem]:
    def shape(configuration: Configuration) -> list[tuple[str, str, bool]]:
        return sorted((one.name, one.address, one.tls is not None) for one in configuration.listeners)

    if shape(running) == shape(wanted):
        return []
    text = "listeners were added, removed, moved, or changed between plain and TLS: that needs a restart"
    return [Problem("/listeners", text)]
