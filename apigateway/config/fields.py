"""What the parts of the configuration are made of: their base, and kinds of text with a meaning.

In Python and in every dump, durations and sizes keep their unit as text, so that what a model wrote, a model
reads; on the model itself they are float seconds and int octets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo

from apigateway.text import format_duration, format_size, parse_duration, parse_size

NAME = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$"
SHA256 = r"^[0-9a-f]{64}$"
METHOD = r"^[A-Z][A-Z-]*$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
COOKIE_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"  # RFC 6265 4.1.1: a token

_PERCENT = re.compile(r"([0-9]{1,20}(?:\.[0-9]{1,20})?)%")

# What to tell who broke a pattern; kinds of policies may add their own.
PATTERNS = {
    NAME: "a name begins with a letter or digit, and goes on with letters, digits and . _ : -",
    SHA256: "expected the SHA-256 as 64 lower-case hexadecimal digits",
    METHOD: "a method is written in capitals, as in GET",
    VARIABLE: "a variable's name has letters, digits and _ only",
    COOKIE_NAME: "a cookie's name has letters, digits and !#$%&'*+-.^_`|~ only",
}


class Settings(BaseModel):
    """Base of every part: frozen, and an unknown key is an error, never ignored.

    Texts are not made of numbers, nor numbers or truth of texts: what was written is what is meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


@dataclass(frozen=True, slots=True)
class PathMark:
    """Marks a text as a path, relative to the configuration's file.

    kind: what has to be there ("file", "folder", "either"), or "output": made when it is not there.
    literals: texts that are no path. prefix: the text is a path only after this prefix.
    """

    kind: Literal["file", "folder", "either", "output"]
    literals: frozenset[str] = frozenset()
    prefix: str = ""

    def path_in(self, text: str) -> str | None:
        """The path that the text holds, or None."""
        if text in self.literals or not text.startswith(self.prefix):
            return None
        return text[len(self.prefix) :]


Name = Annotated[str, Field(pattern=NAME, max_length=128)]
Sha256 = Annotated[str, Field(pattern=SHA256)]
Method = Annotated[str, Field(pattern=METHOD)]
Variable = Annotated[str, Field(pattern=VARIABLE)]
Truth = Annotated[bool, Field(strict=True)]
CookieName = Annotated[str, Field(pattern=COOKIE_NAME, max_length=128)]
# Dumped as it was written, which is a reference: a revision is told to workers, and kept, with it.
Secret = Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value, return_type=str)]
Whole = Annotated[int, Field(strict=True)]
Status = Annotated[int, Field(strict=True, ge=100, le=599)]
FilePath = Annotated[str, Field(min_length=1), PathMark("file")]
FolderPath = Annotated[str, Field(min_length=1), PathMark("folder")]
FileOrFolderPath = Annotated[str, Field(min_length=1), PathMark("either")]
OutputPath = Annotated[str, Field(min_length=1), PathMark("output")]
LogPath = Annotated[str, Field(min_length=1), PathMark("output", literals=frozenset({"-", "off"}))]
Address = Annotated[str, Field(min_length=1), PathMark("output", prefix="unix:")]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    Field(gt=0),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(ms|s|m|h|d)$", "examples": ["30s"]}),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    PlainSerializer(format_size, return_type=str),
    Field(ge=0),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(B|KiB|MiB|GiB|kB|MB|GB)$", "examples": ["64KiB"]}),
]


def parse_percent(value: object) -> float:
    """ "20%" as 0.2. Raises ValueError for anything else: 20 could be meant as twenty times."""
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('expected a percentage, as in "20%"')
    return float(Decimal(match[1]) / 100)


def format_percent(share: float) -> str:
    """0.2 as "20%", without a loss."""
    return f"{(Decimal(repr(share)) * 100).normalize():f}%"


Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    PlainSerializer(format_percent, return_type=str),
    Field(ge=0, le=1),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?%$", "examples": ["20%"]}),
]


class CertificateFiles(Settings):
    """A certificate chain and its key, PEM; the names served come from the certificate."""

    cert: FilePath = Field(description="Path of the chain, the leaf first.")
    key: FilePath = Field(description="Path of the private key.")


def key_of(name: str, field: FieldInfo) -> str:
    """The key of a field in a file: a field whose key is a word of Python's (`with`) has another name."""
    return field.validation_alias if isinstance(field.validation_alias, str) else name


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models inside of an annotation, through lists, unions and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]
