"""Ports for programs that are told which to take."""

from __future__ import annotations

import random
import socket

# Below those that the kernel gives to who asks for any (Linux: from 32768 on): nobody is given one of them in the time
# until the program takes it.
_OURS = range(16000, 32000)
_TRIES = 1000
# Not by what tests seed: two runs side by side would choose the same.
_choose = random.SystemRandom().choice
_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, and that was not given before."""
    for _ in range(_TRIES):
        port = _choose(_OURS)
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise AssertionError(f"no free port on {host}")
