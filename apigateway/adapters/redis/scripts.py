"""The scripts that run in the server: the files of lua/, whose first lines say what each promises."""

from __future__ import annotations

from hashlib import sha1
from importlib.resources import files
from typing import Final


class Script:
    """A script: its text, and the SHA-1 of that in hexadecimal digits, by which a server knows it."""

    __slots__ = ("name", "sha1", "text")

    def __init__(self, name: str, text: bytes) -> None:
        self.name, self.text = name, text
        self.sha1 = sha1(text, usedforsecurity=False).hexdigest().encode()


def script(name: str) -> Script:
    """The one of lua/NAME.lua."""
    return Script(name, (files("apigateway.adapters.redis") / "lua" / f"{name}.lua").read_bytes())


TAKE: Final = script("take")
ADD: Final = script("add")
SWAP: Final = script("swap")
LEASE: Final = script("lease")
RENEW: Final = script("renew")
RELEASE: Final = script("release")
COUNT: Final = script("quota")
PROBE: Final = script("probe")
