"""Listening sockets: bound at once, so that what is wrong with an address is known at start."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from twisted.internet.error import CannotListenError

from apigateway.transport.addresses import Place


def bind_socket(place: Place, *, backlog: int, reuse_port: bool, mode: int = 0o666) -> socket.socket:
    """A non-blocking socket that listens on `place`.

    It listens already, because two sockets with SO_REUSEADDR may both bind an address and only the second
    to listen is refused. An IPv6 address takes IPv6 only: "0.0.0.0" and "::" can stand side by side.
    mode: permissions of a Unix socket's file. A file left behind by a process that is gone is replaced.
    Raises CannotListenError.
    """
    host, port = (None, place) if isinstance(place, str) else place
    try:
        if isinstance(place, str):
            return _bind_unix(place, backlog, mode)
        return _bind_tcp(place, backlog, reuse_port)
    except OSError as exc:
        raise CannotListenError(host, port, exc) from exc


def _bind_tcp(place: tuple[str, int], backlog: int, reuse_port: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    # The protocol is said out loud: asyncio sets TCP_NODELAY only on sockets that know theirs.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(place)
        return _listening(listener, backlog)
    except BaseException:
        listener.close()
        raise


def _bind_unix(path: str, backlog: int, mode: int) -> socket.socket:
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(path)
        os.chmod(path, mode)
        return _listening(listener, backlog)
    except BaseException:
        listener.close()
        raise


def _listening(listener: socket.socket, backlog: int) -> socket.socket:
    listener.setblocking(False)
    listener.listen(backlog)
    return listener


def _remove_stale(path: str) -> None:
    """Remove the file of a Unix socket that nobody listens on; leave everything else to be an error."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)  # a full backlog answers at once, and is somebody listening
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)


def inode_of(path: str) -> int:
    """Of the file of a Unix socket; 0 where somebody has removed it: who listens there goes on."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return 0


def remove_socket_file(path: str, inode: int) -> None:
    """Remove the file of a Unix socket, unless somebody else has put another in its place. inode: see inode_of."""
    with contextlib.suppress(FileNotFoundError):
        if os.stat(path).st_ino == inode:
            os.unlink(path)
