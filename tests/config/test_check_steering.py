"""What is refused, and warned of, in canaries, mirrors and sticky sessions."""

from __future__ import annotations

from typing import Any

import pytest

from apigateway.config.check import check
from apigateway.config.load import configuration_of
from apigateway.config.model import Configuration
from apigateway.config.revision import canonical, plain, withheld
from apigateway.errors import ConfigurationRefused

from .builders import changed

ONE = {"url": "http://one.test"}
CANARY = {"url": "http://canary.test", "role": "canary"}
MIRROR = {"url": "http://mirror.test", "role": "mirror"}
SECRET = "${env:STICKY}"


def upstream(*targets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return changed("/upstreams/0", {"name": "users", "targets": [ONE, *targets], **more})


def of(value: dict[str, Any]) -> Configuration:
    return configuration_of(value)


def sticky(**settings: Any) -> dict[str, Any]:
    return upstream(sticky={"secret": SECRET, **settings})


@pytest.mark.parametrize(
    "fine",
    [
        upstream(CANARY, MIRROR, canary={"percent": "2.5%", "compare": None}, mirror={"percent": "10%"}),
        upstream(CANARY),
        sticky(),
        sticky(cookie="__Host-place", secure="always", same_site="none", ttl="1h", previous_secret="${file:old}"),
        upstream({"url": "http+srv://_http._tcp.users.test/v1"}, {"url": "https+srv://users.test"}),
    ],
)
def test_nothing_is_wrong(fine: dict[str, Any]) -> None:
    assert check(of(fine)) == ()


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    (upstream(CANARY, canary={"percent": "101%"}), "/upstreams/0/canary/percent", ""),
    (upstream(CANARY, canary={"percent": 5}), "/upstreams/0/canary/percent", "percentage"),
    (upstream(CANARY, canary={"compare": {"minimum": 0}}), "/upstreams/0/canary/compare/minimum", ""),
    (upstream(CANARY, canary={"cool_down": "0s"}), "/upstreams/0/canary/cool_down", ""),
    (upstream(MIRROR, mirror={"concurrent": 0}), "/upstreams/0/mirror/concurrent", ""),
    (upstream({**MIRROR, "weight": -1}), "/upstreams/0/targets/1/weight", ""),
    (upstream(sticky={}), "/upstreams/0/sticky/secret", ""),
    (sticky(cookie="a b"), "/upstreams/0/sticky/cookie", "a cookie's name"),
    (sticky(same_site="all"), "/upstreams/0/sticky/same_site", ""),
]


@pytest.mark.parametrize(("value", "pointer", "message"), REFUSED, ids=[pointer for _, pointer, _ in REFUSED])
def test_what_the_model_refuses(value: dict[str, Any], pointer: str, message: str) -> None:
    with pytest.raises(ConfigurationRefused) as refused:
        of(value)
    assert [one for one in refused.value.problems if one.pointer == pointer and message in one.message]


def alone(target: dict[str, Any]) -> dict[str, Any]:
    return changed("/upstreams/0", {"name": "users", "targets": [target]})


WRONG: list[tuple[dict[str, Any], str, str, bool]] = [
    (alone(CANARY), "/targets", "a canary stands beside primary targets", False),
    (alone(MIRROR), "/targets", "a mirror stands beside primary targets", False),
    (upstream(canary={"percent": "1%"}), "/canary", "no target has the role canary", True),
    (upstream(mirror={"percent": "1%"}), "/mirror", "no target has the role mirror", True),
    (upstream({**MIRROR, "weight": 0}), "/targets", "every mirror target has weight 0", True),
    (upstream({"url": "http+srv://users.test:80"}), "/targets/1/url", "without a port", False),
    (upstream({"url": "http+srv://127.0.0.1"}), "/targets/1/url", "expected a name", False),
    (upstream({"url": "ftp+srv://users.test"}), "/targets/1/url", "http+srv://", False),
    (sticky(secret="0123456789abcdef"), "/sticky/secret", "by reference", False),
    (sticky(previous_secret="0123456789abcdef"), "/sticky/previous_secret", "by reference", False),
    (sticky(previous_secret=SECRET), "/sticky/previous_secret", "the same", False),
    (sticky(path="users"), "/sticky/path", 'begins with "/"', False),
    (sticky(path="/a; Domain=b"), "/sticky/path", 'no ";"', False),
    (sticky(ttl="500ms"), "/sticky/ttl", "a second", False),
    (sticky(same_site="none", secure="never"), "/sticky/secure", "SameSite=None", False),
    (sticky(cookie="__Host-a"), "/sticky/secure", "always", False),
    (sticky(cookie="__Host-a", secure="always", path="/a"), "/sticky/path", 'path "/"', False),
    (sticky(cookie="__secure-a", secure="auto"), "/sticky/secure", "always", False),
]


@pytest.mark.parametrize(
    ("value", "pointer", "message", "warning"), WRONG, ids=[f"{at} {message}" for _, at, message, _ in WRONG]
)
def test_what_is_wrong_as_a_whole(value: dict[str, Any], pointer: str, message: str, warning: bool) -> None:
    found = [one for one in check(of(value)) if one.pointer == f"/upstreams/0{pointer}"]
    assert [one.warning for one in found if message in one.message] == [warning]


def test_two_upstreams_with_one_cookie() -> None:
    both = sticky(cookie="place")
    other = {**both["upstreams"][0], "name": "orders"}
    both["upstreams"].append(other)
    problems = [one for one in check(of(both)) if one.pointer == "/upstreams/1/sticky/cookie"]
    assert [one.warning for one in problems] == [True]
    other["sticky"] = {"secret": SECRET}
    assert not [one for one in check(of(both)) if "sticky" in one.pointer]


def test_a_secrets_reference_is_kept_and_not_shown() -> None:
    configuration = of(sticky(previous_secret="${file:old}"))
    assert '"secret":"${env:STICKY}"' in canonical(configuration.revision)
    assert configuration_of(plain(configuration)) == configuration
    shown = withheld(configuration)["upstreams"][0]["sticky"]
    assert (shown["secret"], shown["previous_secret"], shown["path"]) == ("***", "***", "/")
