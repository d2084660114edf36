"""Field names and values as a configuration writes them, made ready for a message."""

from __future__ import annotations

from apigateway.wire.fields import WRITERS_OWN
from apigateway.wire.headers import checked

#: Who routes and frames a message writes these; a policy that did too would let two readers see two messages.
NOT_FOR_POLICIES = WRITERS_OWN | {b"host", b"expect", b"http2-settings"}


def field_name(text: str) -> bytes:
    """A field name as it stands in Headers (lower case).

    ValueError where it is none, or is one that the gateway alone writes.
    """
    name = text.lower().encode("utf-8")
    checked(name, b"")
    if name in NOT_FOR_POLICIES:
        raise ValueError(
            f"the field {text!r} is written by the gateway itself; no policy may set or remove it"
        )
    return name


def literal_value(text: str) -> bytes:
    """A value written in a configuration, as UTF-8. ValueError where it could not stand in one line."""
    value = text.encode("utf-8")
    checked(b"x", value)
    return value


def rendered_value(text: str) -> bytes:
    """A value that a template made: octets of a field come back as they were read (ISO 8859-1), other text is
    written as UTF-8. A template renders no control character, so that this cannot end a line."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
