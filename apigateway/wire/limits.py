"""What a peer may send at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Octets, except max_fields. max_body None: no limit.

    The defaults take what RFC 9112 3 and RFC 6585 5 ask for (8000 octets of request line at the least).
    """

    max_target: int = 8 * 1024
    max_head: int = 32 * 1024
    max_field: int = 16 * 1024
    max_fields: int = 100
    max_trailers: int = 8 * 1024
    max_body: int | None = None
    max_chunk_extensions: int = 1024


DEFAULT_LIMITS = Limits()
