"""Examples name fixed ports; tests run them, several at a time, on ports that are free."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack

_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")


def on_free_ports(text: str) -> tuple[str, dict[int, int]]:
    """The text with every port of 127.0.0.1 replaced by one that is free, and which became which."""
    with ExitStack() as held:
        ports = {}
        for written in dict.fromkeys(_ADDRESS.findall(text)):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            ports[int(written)] = probe.getsockname()[1]
    return _ADDRESS.sub(lambda match: f"127.0.0.1:{ports[int(match[1])]}", text), ports
