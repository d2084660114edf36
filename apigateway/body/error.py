"""What a body can be that nobody should go on with."""

from __future__ import annotations

# Parsers written in C hold the interpreter: 1.2 MB of JSON stops every other exchange for 14-20 ms.
MAX_PARSED = 256 * 1024
MAX_DEPTH = 64


class BodyError(ValueError):
    """The body cannot be read as what was asked for. The text is one sentence that quotes nothing of the body, so
    it may be shown to the client."""


def check_size(data: bytes) -> None:
    """Refuse to parse more than MAX_PARSED octets on the reactor."""
    if len(data) > MAX_PARSED:
        raise BodyError(f"a body of more than {MAX_PARSED} octets is not looked into")
