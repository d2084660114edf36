"""Media types as Content-Type writes them (RFC 9110 8.3.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_ESSENCE = re.compile(rf"[ \t]*({_TOKEN})/({_TOKEN})[ \t]*")
# RFC 9110 5.6.6: no whitespace around "=", empty parameters allowed; the value is a token or a quoted-string (5.6.4).
_PARAMETER = re.compile(
    rf';[ \t]*(?:({_TOKEN})=(?:({_TOKEN})|'
    r'"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)"))?[ \t]*'
)
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class MediaType:
    """A media type; type, subtype and parameter names are lower-case, values as sent, quotes removed."""

    type: str
    subtype: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def essence(self) -> str:
        """Type and subtype, e.g. "application/json"."""
        return f"{self.type}/{self.subtype}"

    @property
    def charset(self) -> str:
        """The charset parameter in lower case, or "" where there is none."""
        return self.parameters.get("charset", "").lower()

    @property
    def is_json(self) -> bool:
        """JSON by its own name or by the suffix (RFC 6839 3.1)."""
        return self.essence in ("application/json", "text/json") or self.subtype.endswith("+json")

    @property
    def is_xml(self) -> bool:
        """XML by its own names or by the suffix (RFC 7303)."""
        return self.essence in ("application/xml", "text/xml") or self.subtype.endswith("+xml")

    @property
    def is_form(self) -> bool:
        """A form as browsers encode it in a URL."""
        return self.essence == "application/x-www-form-urlencoded"


def parse_media_type(value: bytes) -> MediaType | None:
    """The media type of a Content-Type value, or None for what is none.

    A parameter given twice makes it none: whoever reads on could take the other one.
    """
    text = value.decode("latin-1")
    match = _ESSENCE.match(text)
    if match is None:
        return None
    parameters: dict[str, str] = {}
    at = match.end()
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            return None
        at = parameter.end()
        name, plain, quoted = parameter.groups()
        if name is None:
            continue
        if name.lower() in parameters:
            return None
        parameters[name.lower()] = plain if quoted is None else _ESCAPED.sub(r"\1", quoted)
    return MediaType(match[1].lower(), match[2].lower(), parameters)
