"""Fault 17: routing, guards and the upstream see the same path, or nobody sees any."""

from __future__ import annotations

from itertools import product
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from pytest_twisted import ensureDeferred
from toolkit.client import request
from toolkit.settings import api, route, simple, step, steps
from toolkit.stage import Stage

GUARD = step("mock", status=403, body="guarded")
SECRET = {**GUARD, "when": 'request.path.startsWith("/cond/secret")'}


def guarded(**more: Any) -> list[dict[str, Any]]:
    """An open Api, one that is guarded whole, one with a guarded route, one guarded by a condition."""
    closed = route("/secret", name="secret", pre_flow=steps(GUARD))
    return [
        api(route(), name="open"),
        api(route(), name="admin", base_path="/admin", pre_flow=steps(GUARD), **more),
        api(route(), closed, name="mixed", base_path="/mixed", **more),
        api(route(), name="cond", base_path="/cond", pre_flow=steps(SECRET), **more),
    ]


GUARDED = ("/admin/x", "/mixed/secret/x", "/cond/secret/x")
# {} is where one of them follows, less its leading slash.
WAYS_IN = [
    "/a/../{}", "/a/%2e%2e/{}", "/a/.%2e/{}", "/a/%2E./{}", "/./{}", "/%2e/{}", "//{}", "///{}", "/a/..//{}",
    "/a/b/../../{}", "/../{}", "/..;/{}", "/a/..;x=1/{}", "/;/{}", "/%3b/{}", "/.;x/{}", "/a/..%2f{}", "/a/..%5c{}",
    "/a%2f..%2f{}", "/%2f{}", "/\\{}", "/a\\..\\{}", "/a/..\\{}", "/%5c{}", "/a/..%00/{}", "/%00/{}", "/a/%2e%2e%2f{}",
    "/%252e%252e/{}", "/a/%c0%ae%c0%ae/{}", "/a/%u002e%u002e/{}", "/%2%65/{}", "/a/%/{}", "/a%0a/../{}",
]  # fmt: skip


def spellings(path: str) -> set[str]:
    """A guarded path in spellings that somebody may take for it."""
    first, second, *rest = path.strip("/").split("/")
    tail = "/".join(rest)
    joints = ["/", "//", "/./", "/;/", "/%2e/", "\\", "%5c", "%2f", "/x/../", "/x/%2e%2e/", "%00/", ";x/", "%3bx/"]
    names = [second, f"%{ord(second[0]):02x}{second[1:]}", second + ";v=1", second + "%00", second.upper()]
    heads = [first, f"%{ord(first[0]):02X}{first[1:]}", first + ";a=b", first.upper()]
    paths = {f"/{head}{joint}{name}" for head, joint, name in product(heads, joints, names)}
    return {f"{one}/{tail}" if tail else one for one in paths} | {way.format(path[1:]) for way in WAYS_IN}


@pytest.mark.parametrize(
    "paths", [{}, {"empty_segments": "merge"}, {"encoded_slashes": "refuse"}], ids=["default", "merge", "refuse"]
)
@ensureDeferred
async def test_17_no_spelling_of_a_guarded_path_gets_past_its_guard(stage: Stage, paths: dict[str, str]) -> None:
    origin = await stage.origin()
    await stage.serve({**simple(origin, *guarded()), **({"paths": paths} if paths else {})})
    client = await stage.client()
    seen: dict[int, int] = {}
    for path in GUARDED:
        assert (await client.ask("GET", path)).status == 403
        for spelling in sorted(spellings(path)):
            origin.asked.clear()
            client.send(request("GET", spelling))
            answer = await client.answer()
            seen[answer.status] = seen.get(answer.status, 0) + 1
            assert answer.status in (200, 400, 403), spelling
            if answer.status == 200:
                (asked,) = origin.asked
                assert not leads_to(asked.target, path, paths), (spelling, asked.target)
            else:
                assert origin.asked == [], spelling
            if answer.get("connection") == "close":
                client.close()
                client = await stage.client()
    assert min(seen.get(status, 0) for status in (200, 400, 403)) > 5, seen


def leads_to(target: str, path: str, paths: dict[str, str]) -> bool:
    """Whether a server takes what it got for the guarded path, when it decodes once and drops parameters.

    An encoded separator is data of its segment (RFC 3986 2.2), unless the operator had it refused.
    """
    segments = [unquote_to_bytes(one) for one in target.partition("?")[0].split("/")[1:]]
    for segment in segments:
        assert segment.partition(b";")[0] not in (b"", b".", b".."), target
        assert not any(octet < 32 or octet == 127 for octet in segment), target
        if "encoded_slashes" in paths:
            assert b"/" not in segment and b"\\" not in segment, target
    assert "\\" not in target
    guarded = path.strip("/").encode().split(b"/")[:-1]
    return [segment.partition(b";")[0] for segment in segments][: len(guarded)] == guarded


NORMALISED = [
    ("/a/../admin/x", 403),
    ("/a/%2e%2e/admin/x", 403),
    ("/./admin/./x", 403),
    ("/%2e/mixed/b/../secret/x", 403),
    ("/cond/a/../secret", 403),
    ("/admin/../open/x", 200),
    ("/mixed/secret/../x", 200),
    ("/../admin/x", 400),
    ("/a/..;/admin/x", 400),
]


@ensureDeferred
async def test_17_where_dots_are_resolved_the_guard_and_the_upstream_get_what_is_left(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve({**simple(origin, *guarded()), "paths": {"dot_segments": "normalise"}})
    client = await stage.client()
    for target, status in NORMALISED:
        assert (await client.ask("GET", target)).status == status, target
    assert [asked.target for asked in origin.asked] == ["/open/x", "/mixed/x"]
