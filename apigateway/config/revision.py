"""A revision's canonical text and digest, and a configuration as it may be shown."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from pydantic import BaseModel

from apigateway.config.model import Configuration, RevisionSettings

WITHHELD = "***"

# What may be long in a revision.
_LISTS = ("upstreams", "apis", "consumers")
_SHORT = 16
_HIDDEN = ("sha256", "secret", "previous_secret", "password", "sentinel_password")
_SECRET_NAME = re.compile(
    r"secret|passw|token|credential|authorization|cookie|private|signature|salt|sha256|hash|(^|[-_])(api)?key$",
    re.IGNORECASE,
)


def canonical(revision: RevisionSettings) -> str:
    """JSON that is the same for the same revision: keys sorted, no spaces, what equals a default left out.

    Defaults are left out so that a release that adds a setting does not rename every revision, and so that
    an older worker can read what does not use the new setting. Paths and references stand as in the model.
    """
    return text_of(revision, sort_keys=True)


def digest(revision: RevisionSettings) -> str:
    """SHA-256 of the canonical text, 64 hexadecimal digits: the name of a revision."""
    return hashlib.sha256(canonical(revision).encode()).hexdigest()


def short_digest(revision: RevisionSettings) -> str:
    """The first 16 digits of the digest, for people."""
    return digest(revision)[:_SHORT]


def plain(settings: RevisionSettings | Configuration, *, defaults: bool = True) -> dict[str, Any]:
    """The values as a file would write them; defaults: also what nobody wrote.

    What this returns can be read again, to an equal model.
    """
    return settings.model_dump(mode="json", by_alias=True, exclude_defaults=not defaults)


def text_of(settings: RevisionSettings | Configuration, *, sort_keys: bool = False) -> str:
    """JSON of the plain values without defaults, without spaces."""

    def encoded(value: Any) -> str:
        return json.dumps(value, sort_keys=sort_keys, separators=(",", ":"), ensure_ascii=False)

    def dumped(model: BaseModel, without: set[str] | None = None) -> dict[str, Any]:
        return model.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=without)

    texts = {key: encoded(value) for key, value in dumped(settings, {*_LISTS}).items()}
    # Member by member: a thousand Apis in one call take 40 ms, in which no other thread has a turn.
    for name in _LISTS:
        if members := getattr(settings, name):
            texts[name] = f"[{','.join([encoded(dumped(member)) for member in members])}]"
    keys = sorted(texts) if sort_keys else texts
    return f"{{{','.join([f'{encoded(key)}:{texts[key]}' for key in keys])}}}"


def withheld(configuration: Configuration) -> dict[str, Any]:
    """The whole configuration, defaults with it, for an operator's eyes.

    Withheld: hashes of keys and tokens (a weak key could be guessed from its hash), and in the settings of
    steps every text under a key that is named like a secret. Durations and sizes carry their units.
    """
    shown: dict[str, Any] = _without_secrets(plain(configuration), in_settings=False)
    return shown


def _without_secrets(value: Any, *, in_settings: bool) -> Any:
    if isinstance(value, list):
        return [_without_secrets(item, in_settings=in_settings) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _withheld(item)
        if key in _HIDDEN or (in_settings and _SECRET_NAME.search(key))
        # A dict with "policy" beside "with" is a step; what is inside belongs to its kind.
        else _without_secrets(item, in_settings=in_settings or (key == "with" and "policy" in value))
        for key, item in value.items()
    }


def _withheld(value: Any) -> Any:
    """Texts and numbers replaced, the shape kept; what is on or off is no secret."""
    if isinstance(value, dict):
        return {key: _withheld(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_withheld(item) for item in value]
    return value if value is None or isinstance(value, bool) else WITHHELD
