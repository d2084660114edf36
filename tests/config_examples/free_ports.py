"""Examples name fixed ports; tests run them, several at a time, on ports that are free."""

from __future__ import annotations

import re

from toolkit.ports import free_port

_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")


def on_free_ports(text: str) -> tuple[str, dict[int, int]]:
    """The text with every port of 127.0.0.1 replaced by one that is free, and which became which."""
    ports = {int(written): free_port() for written in dict.fromkeys(_ADDRESS.findall(text))}
    return _ADDRESS.sub(lambda match: f"127.0.0.1:{ports[int(match[1])]}", text), ports
