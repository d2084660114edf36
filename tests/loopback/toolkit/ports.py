"""Ports for programs that are told which to take."""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

# Below those that the kernel gives to who asks for any (Linux: from 32768 on): nobody is given one of them in the time
# until the program takes it.
_OURS = range(16000, 32000)
_TRIES = 1000
# Not by what tests seed: two runs side by side would choose the same.
_choose = random.SystemRandom().choice
_given: set[int] = set()
# Octet by octet, locked by the run that has the port: another run's program may not have taken it yet. The kernel
# unlocks what a process had when it ends.
_claims = os.open(
    Path(tempfile.gettempdir()) / f"gateway-test-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600
)


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody listens on, and that was given to nobody: not here, nor to tests beside these
    (of the same user and with the same temporary folder).
    """
    for _ in range(_TRIES):
        port = _choose(_OURS)
        # The claim first: looking takes the port for a moment, and another run may be about to listen on its own.
        if port not in _given and _claim(port) and _is_free(host, port):
            _given.add(port)
            return port
    raise AssertionError(f"no free port on {host}")


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _claim(port: int) -> bool:
    """Have a port until this process ends."""
    try:
        fcntl.lockf(_claims, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    return True
