"""Checks of what steers a part of an upstream's traffic: canaries, mirrors, sticky sessions."""

from __future__ import annotations

from collections.abc import Iterator

from apigateway.config.document import pointer_to
from apigateway.config.model import Sticky, Upstream
from apigateway.errors import Problem

_REFERENCE = "${"


def check(upstream: Upstream, place: str) -> Iterator[Problem]:
    """What is wrong with these parts of an upstream; place: its pointer."""
    roles = {target.role for target in upstream.targets}
    for role in ("canary", "mirror"):
        if role in roles and "primary" not in roles:
            yield Problem(f"{place}/targets", f"a {role} stands beside primary targets, and there is none")
        if role in upstream.model_fields_set and role not in roles:
            yield Problem(f"{place}/{role}", f"has no effect: no target has the role {role}", warning=True)
        weights = [target.weight for target in upstream.targets if target.role == role]
        if weights and not any(weights):
            yield Problem(f"{place}/targets", f"every {role} target has weight 0: none gets anything", warning=True)
    if upstream.sticky is not None:
        yield from _sticky(upstream.sticky, f"{place}/sticky")


def check_cookies(upstreams: tuple[Upstream, ...]) -> Iterator[Problem]:
    """Two upstreams with a cookie of one name: what a client has of one, the other replaces."""
    first: dict[tuple[str, str], str] = {}
    for i, upstream in enumerate(upstreams):
        if upstream.sticky is None or upstream.sticky.cookie is None:
            continue
        other = first.setdefault((upstream.sticky.cookie, upstream.sticky.path), upstream.name)
        if other != upstream.name:
            message = f'"{other}" has a cookie of this name and path, too: clients of both upstreams lose their place'
            yield Problem(pointer_to("upstreams", i, "sticky", "cookie"), message, warning=True)


def _sticky(sticky: Sticky, place: str) -> Iterator[Problem]:
    for name, secret in (("secret", sticky.secret), ("previous_secret", sticky.previous_secret)):
        if secret is not None and _REFERENCE not in secret.get_secret_value():
            yield Problem(f"{place}/{name}", "a secret is given by reference: ${env:NAME} or ${file:PATH}")
    if sticky.previous_secret is not None and sticky.previous_secret == sticky.secret:
        yield Problem(f"{place}/previous_secret", "is the same as the secret")
    path = sticky.path
    if not (path.startswith("/") and path.isascii() and path.isprintable()) or ";" in path:
        yield Problem(f"{place}/path", 'a path begins with "/", and has no ";" or control characters')
    if sticky.ttl is not None and sticky.ttl < 1:
        yield Problem(f"{place}/ttl", "a session lasts a second at least")
    if sticky.same_site == "none" and sticky.secure == "never":
        yield Problem(f"{place}/secure", "browsers take SameSite=None with Secure only")
    yield from _prefix(sticky, place)


def _prefix(sticky: Sticky, place: str) -> Iterator[Problem]:
    """What browsers ask of names that begin so (RFC 6265bis 4.1.3)."""
    lower = (sticky.cookie or "").lower()
    if lower.startswith(("__host-", "__secure-")) and sticky.secure != "always":
        yield Problem(f"{place}/secure", 'a cookie of this name needs secure: "always"')
    if lower.startswith("__host-") and sticky.path != "/":
        yield Problem(f"{place}/path", 'a cookie of this name needs the path "/"')
