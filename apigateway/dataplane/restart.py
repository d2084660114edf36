"""What a running worker does not take: such a reload is refused whole, not applied in part."""

from __future__ import annotations

from apigateway.config.model import Configuration
from apigateway.errors import Problem

# Read once, when the process starts.
FIXED = ("environment", "management", "state", "workers", "data_dir", "logs", "resolver", "watch")


def not_taken(running: Configuration, wanted: Configuration) -> list[Problem]:
    """Everything that refuses a reload from one to the other."""
    return needs_restart(running, wanted) + wiped(running, wanted)


def wiped(running: Configuration, wanted: Configuration) -> list[Problem]:
    """A problem where all Apis are gone and nobody said so: a file that was cut off says nothing of them, either."""
    if wanted.apis or not running.apis or "apis" in wanted.model_fields_set:
        return []
    return [Problem("/apis", "there are no Apis any more; write `apis: []` if that is meant")]


def needs_restart(running: Configuration, wanted: Configuration) -> list[Problem]:
    """A problem for every setting that differs and needs a restart."""
    problems = [
        Problem(f"/{field}", "a change of this needs a restart; nothing of the new configuration was taken")
        for field in FIXED
        if getattr(running, field) != getattr(wanted, field)
    ]
    return problems + _listeners(running, wanted)


def _listeners(running: Configuration, wanted: Configuration) -> list[Problem]:
    def shape(configuration: Configuration) -> list[tuple[str, str, bool, bool]]:
        return sorted(
            (one.name, one.address, one.tls is not None, one.proxy_protocol is not None)
            for one in configuration.listeners
        )

    if shape(running) == shape(wanted):
        return []
    text = (
        "listeners were added, removed, moved, or changed between plain and TLS, or with and without the PROXY "
        "protocol: that needs a restart"
    )
    return [Problem("/listeners", text)]
