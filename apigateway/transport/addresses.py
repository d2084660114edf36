"""Socket addresses as the loop gives them, turned into Twisted's."""

from __future__ import annotations

import os

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

Address = IPv4Address | IPv6Address | UNIXAddress

Place = tuple[str, int] | str
"""Where a socket is: IP address and port, or the path of a Unix socket."""


def address_from(name: object) -> Address:
    """The Twisted address of what getsockname() or getpeername() said.

    An unnamed Unix socket ("", or None, which loops give as well) is UNIXAddress(None).
    """
    if isinstance(name, tuple):
        if len(name) == 2:
            return IPv4Address("TCP", name[0], name[1])
        return IPv6Address("TCP", *name)
    if isinstance(name, str | bytes) and name:
        return UNIXAddress(os.fsencode(name))
    return UNIXAddress(None)


def address_of(place: Place) -> Address:
    """The Twisted address of a place to listen on or connect to."""
    if isinstance(place, str):
        return address_from(place)
    host, port = place
    return IPv6Address("TCP", host, port) if ":" in host else IPv4Address("TCP", host, port)
