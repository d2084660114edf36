"""Listening sockets that the process before handed over, by descriptor, named in one environment variable."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import MutableMapping, Sequence

VARIABLE = "APIGATEWAY_SOCKETS"
READY = b"ready\n"


class InheritedRefused(Exception):
    """The variable names something that is no listening socket."""


class Inherited:
    """What was handed over, and how to say what came of it. Each socket is taken once, or closed by `close_rest`.

    sockets: by the address that they were configured with. ready: the descriptor that the process before waits on.
    """

    def __init__(self, sockets: Sequence[tuple[str, socket.socket]] = (), ready: int | None = None) -> None:
        self._sockets: dict[str, list[socket.socket]] = {}
        for address, one in sockets:
            self._sockets.setdefault(address, []).append(one)
        self._ready = ready
        self._theirs: set[str] = set()

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Inherited:
        """What an environment names; taken out of it, since processes begun from here own none of it.

        Raises InheritedRefused.
        """
        text = environ.pop(VARIABLE, "")
        if not text:
            return cls()
        try:
            given = json.loads(text)
            sockets = [(address, adopted(descriptor)) for address, descriptor in given["sockets"]]
            os.set_inheritable(given["ready"], False)
        except (ValueError, LookupError, TypeError, OSError) as error:
            raise InheritedRefused(f"{VARIABLE} names what was not handed over: {error}") from error
        return cls(sockets, given["ready"])

    def take(self, address: str) -> list[socket.socket]:
        """The sockets of an address, one at least, or none where it was not handed over."""
        taken = self._sockets.pop(address, [])
        if taken:
            self._theirs.add(address)
        return taken

    def still_theirs(self, address: str) -> bool:
        """Whether the process before handed an address over, and goes on with it if we end: it was not told `serves`.
        The file of a Unix socket is its own then."""
        return address in self._theirs

    def close_rest(self) -> None:
        """Close what nobody took: addresses that are no longer configured."""
        for one in (one for sockets in self._sockets.values() for one in sockets):
            one.close()
        self._sockets.clear()

    def serves(self) -> None:
        """Tell the process before that it may end."""
        self._theirs.clear()
        self._tell(READY)

    def failed(self, why: str) -> None:
        """Tell the process before what went wrong; it goes on."""
        self._tell(why.encode()[:4096])

    def _tell(self, octets: bytes) -> None:
        if self._ready is not None:
            with contextlib.suppress(OSError):  # it has given up on us
                os.write(self._ready, octets)
            os.close(self._ready)
            self._ready = None


def adopted(descriptor: int) -> socket.socket:
    """The listening socket of an inherited descriptor; no child inherits it. OSError, ValueError where it is none."""
    one = socket.socket(fileno=descriptor)
    if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        one.detach()
        raise ValueError(f"descriptor {descriptor} does not listen")
    if one.family != socket.AF_UNIX and one.proto != socket.IPPROTO_TCP:
        # Where the system does not tell the protocol: the loop asks for it (see bind_socket).
        one = socket.socket(one.family, one.type, socket.IPPROTO_TCP, fileno=one.detach())
    one.setblocking(False)
    one.set_inheritable(False)
    return one


def handed_over(sockets: Sequence[tuple[str, int]], ready: int) -> str:
    """The variable's text: descriptors by address, and the one on which the process before waits."""
    return json.dumps({"ready": ready, "sockets": [[address, descriptor] for address, descriptor in sockets]})
