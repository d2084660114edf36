"""What a server's error means: that it cannot serve, or that it was asked for something wrong."""

from __future__ import annotations

import re

from apigateway.ports.interfaces import StoreUnavailable

# The server, as it is now, will not do what it is asked for, whatever that is.
_CANNOT = frozenset((
    "ASK", "BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "MOVED", "NOAUTH", "NOPERM", "NOREPLICAS", "OOM",
    "READONLY", "TRYAGAIN", "UNKILLABLE", "WRONGPASS",
))
# Another connection, or another server, may be better: nothing more is asked of this one.
LEAVE = frozenset(("CLUSTERDOWN", "LOADING", "MASTERDOWN", "MOVED", "NOAUTH", "READONLY"))
# Before 7.0 an error in a script's call stands inside of another one.
_INNER = re.compile(r"-([A-Z]{3,}) ")
# In a script there is no code for what its user may not do: Redis, and Valkey.
_NOT_ALLOWED = re.compile(r"The user executing the script can't|ACL failure in script")


class StoreError(Exception):
    """The server answered that a command or script is wrong: a defect, and no failure of the server."""


def code_of(text: str) -> str:
    """The code that an error begins with, as READONLY."""
    code = text.partition(" ")[0]
    if code == "ERR":
        if _NOT_ALLOWED.search(text):
            return "NOPERM"
        inner = _INNER.search(text)
        if inner is not None and inner[1] in _CANNOT:
            return inner[1]
    return code


def exception_of(text: str) -> StoreUnavailable | StoreError:
    """The exception for an error's text."""
    if code_of(text) in _CANNOT or text.startswith("ERR max number of clients"):
        return StoreUnavailable(text)
    return StoreError(text)
