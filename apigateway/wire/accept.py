"""What media type a client would rather have (RFC 9110 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# A list longer than this is no preference, it is work for us.
MOST_RANGES = 32


@dataclass(frozen=True, slots=True)
class MediaRange:
    """One entry of Accept: lower-case type and subtype ("*" for any), and its weight from 0 to 1."""

    type: str
    subtype: str
    weight: float

    def fit(self, type: str, subtype: str) -> int:
        """How closely it names a type: 3 exactly, 2 "type/*", 1 "*/*", 0 not at all."""
        if self.type == "*":
            return 1
        if self.type != type:
            return 0
        return 2 if self.subtype == "*" else 3 if self.subtype == subtype else 0


def media_ranges(values: Sequence[bytes]) -> tuple[MediaRange, ...]:
    """The entries of all Accept lines, in order; what cannot be read as one is passed over."""
    entries = b",".join(values).decode("latin-1").lower().split(",", MOST_RANGES)[:MOST_RANGES]
    return tuple(found for found in map(_media_range, entries) if found is not None)


def _media_range(entry: str) -> MediaRange | None:
    name, *parameters = (part.strip() for part in entry.split(";"))
    type, slash, subtype = name.partition("/")
    if not (type and slash and subtype) or (type == "*" and subtype != "*"):
        return None
    weight = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            weight = _weight(value.strip())
    return MediaRange(type, subtype, weight)


def _weight(text: str) -> float:
    """A qvalue (RFC 9110 12.4.2); what is none counts as 0, so that nothing is preferred by mistake."""
    whole, _, rest = text.partition(".")
    well_formed = whole in ("0", "1") and len(rest) <= 3 and (not rest or (rest.isascii() and rest.isdigit()))
    return min(float(text), 1.0) if well_formed else 0.0


def weight_of(ranges: Sequence[MediaRange], media_type: str) -> float:
    """The weight of a media type for a client: that of the range naming it most closely, 0.0 if none does."""
    type, _, subtype = media_type.partition(";")[0].strip().lower().partition("/")
    best, weight = 0, 0.0
    for candidate in ranges:
        fit = candidate.fit(type, subtype)
        if fit > best:
            best, weight = fit, candidate.weight
    return weight


def preferred(values: Sequence[bytes], offers: Sequence[str]) -> str | None:
    """Which of the offered media types the Accept lines ask for most; of equals, the earlier offer.

    The first offer where the client sent no Accept; None where it takes none of them.
    """
    ranges = media_ranges(values)
    if not ranges:
        return offers[0] if offers else None
    weights = [weight_of(ranges, offer) for offer in offers]
    heaviest = max(weights, default=0.0)
    return offers[weights.index(heaviest)] if heaviest > 0 else None
