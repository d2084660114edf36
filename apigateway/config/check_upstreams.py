"""Checks of upstreams and their targets."""

from __future__ import annotations

from collections.abc import Iterator

from apigateway.config import check_breakers, check_steering
from apigateway.config.addresses import check_host, parse_target_url
from apigateway.config.document import pointer_to
from apigateway.config.doubles import doubles, refusal
from apigateway.config.model import HashOn, Target, Upstream, UpstreamTls
from apigateway.errors import Problem


def check(upstreams: tuple[Upstream, ...]) -> Iterator[Problem]:
    """What is wrong with the upstreams of a revision."""
    yield from doubles((upstream.name for upstream in upstreams), "/upstreams", "name")
    yield from check_steering.check_cookies(upstreams)
    for i, upstream in enumerate(upstreams):
        yield from _upstream(upstream, pointer_to("upstreams", i))


def target_name(target: Target) -> str:
    """What a target is called: as it says, else host:port of its url (the name of its SRV records; the url where that
    is broken)."""
    if target.name is not None:
        return target.name
    try:
        url = parse_target_url(target.url)
    except ValueError:
        return target.url
    return url.address.host if url.service else str(url.address)


def _upstream(upstream: Upstream, place: str) -> Iterator[Problem]:
    for k, target in enumerate(upstream.targets):
        yield from refusal(parse_target_url, target.url, f"{place}/targets/{k}/url")
    yield from doubles(map(target_name, upstream.targets), f"{place}/targets", "name")
    yield from _weights(upstream, place)
    yield from _hash_on(upstream.hash_on, upstream, f"{place}/hash_on")
    if upstream.host not in ("target", "preserve"):
        yield from refusal(check_host, upstream.host, f"{place}/host")
    if upstream.health.host is not None:
        yield from refusal(check_host, upstream.health.host, f"{place}/health/host")
    if upstream.health.path is not None and not upstream.health.path.startswith("/"):
        yield Problem(f"{place}/health/path", 'a path begins with "/"')
    yield from _tls(upstream, f"{place}/tls")
    yield from check_steering.check(upstream, place)
    yield from check_breakers.check(upstream, place)


def _weights(upstream: Upstream, place: str) -> Iterator[Problem]:
    primaries = [target for target in upstream.targets if target.role == "primary"]
    if not any(target.weight for target in primaries):
        what = "every primary target has weight 0" if primaries else "there is no primary target"
        yield Problem(f"{place}/targets", f"{what}: only failover targets would be asked", warning=True)


def _hash_on(hash_on: HashOn, upstream: Upstream, place: str) -> Iterator[Problem]:
    named = hash_on.source in ("header", "cookie", "expression")
    if named and not hash_on.name:
        what = "an expression" if hash_on.source == "expression" else f"the name of the {hash_on.source}"
        yield Problem(f"{place}/name", f'source "{hash_on.source}" needs {what}')
    if not named and hash_on.name is not None:
        yield Problem(f"{place}/name", f'source "{hash_on.source}" takes no name')
    if "hash_on" in upstream.model_fields_set and upstream.balance != "consistent-hash":
        yield Problem(place, f'has no effect while balance is "{upstream.balance}"', warning=True)


def _tls(upstream: Upstream, place: str) -> Iterator[Problem]:
    if upstream.tls.server_name is not None:
        yield from refusal(check_host, upstream.tls.server_name, f"{place}/server_name")
    if upstream.tls != UpstreamTls() and all(target.url.startswith("http:") for target in upstream.targets):
        yield Problem(place, "has no effect: no target's url is https", warning=True)
