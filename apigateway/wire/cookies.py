"""Cookies of a request, read and taken out in place (RFC 6265 4.2.1)."""

from __future__ import annotations

from apigateway.wire.headers import Headers


def cookie_values(headers: Headers, name: str) -> list[str]:
    """Every value sent under a cookie name, in order, as sent (quotes too), as ISO 8859-1 text."""
    wanted = name.encode("latin-1", "replace")
    return [
        pair.partition(b"=")[2].strip(b" \t").decode("latin-1")
        for line in headers.get_all(b"cookie")
        for pair in line.split(b";")
        if _name_of(pair) == wanted
    ]


def remove_cookie(headers: Headers, name: str) -> bool:
    """Take a cookie out; the others stay byte for byte, and a line left empty goes. True if it was there."""
    wanted = name.encode("latin-1", "replace")
    lines: list[tuple[bytes, bytes]] = []
    found = False
    for field, value in headers.lines:
        if field == b"cookie":
            pairs = value.split(b";")
            kept = [pair for pair in pairs if _name_of(pair) != wanted]
            if len(kept) != len(pairs):
                found = True
                value = b";".join(kept).lstrip(b" \t")
                if not value:
                    continue
        lines.append((field, value))
    if found:
        headers.lines[:] = lines
    return found


def _name_of(pair: bytes) -> bytes | None:
    name, equals, _ = pair.partition(b"=")
    return name.strip(b" \t") if equals else None
