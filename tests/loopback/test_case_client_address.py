"""RC-O23: who the client is, when anybody can write X-Forwarded-For.

The peers of the case are addresses of the loopback: 10.0.0.0/8 is 127.10.0.0/16 here, 203.0.113.9 is 127.1.0.9.
"""

from __future__ import annotations

from pytest_twisted import ensureDeferred
from toolkit.settings import api, simple, step, steps
from toolkit.stage import Stage

ALLOWED, OTHER, PROXY, NEAR_PROXY = "198.51.100.7", "127.1.0.9", "127.10.0.2", "127.10.0.3"
FILTER = api(pre_flow=steps(step("ip-filter", allow=[ALLOWED])))
TRUST = ["127.10.0.0/16"]

CASES = [
    ("a", OTHER, ["X-Forwarded-For: 198.51.100.7"], 403),
    ("b", PROXY, ["X-Forwarded-For: 198.51.100.7, 127.1.0.9"], 403),
    ("c", PROXY, ["X-Forwarded-For: 127.1.0.9, 198.51.100.7"], 200),
    ("d", PROXY, ["X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 127.1.0.9, 127.10.0.3"], 403),
    ("e", PROXY, ["X-Forwarded-For: garbage"], 403),
    ("e, behind what is allowed", PROXY, ["X-Forwarded-For: 198.51.100.7, garbage"], 403),
    (
        "c over two lines and two proxies",
        PROXY,
        ["X-Forwarded-For: 1.2.3.4", "x-forwarded-for: 198.51.100.7,127.10.0.3"],
        200,
    ),
    ("no field at all", PROXY, [], 403),
    ("an empty one", PROXY, ["X-Forwarded-For:"], 403),
    ("with a port", PROXY, ["X-Forwarded-For: 198.51.100.7:4711"], 200),
    ("as IPv6", PROXY, ["X-Forwarded-For: ::ffff:198.51.100.7"], 200),
    ("in X-Real-IP, which no list ends in", PROXY, ["X-Real-IP: 198.51.100.7"], 403),
    ("in a field that these proxies do not write", PROXY, ["Forwarded: for=198.51.100.7"], 403),
    ("in both", PROXY, ["Forwarded: for=198.51.100.7", "X-Forwarded-For: 127.1.0.9"], 403),
    ("whatever the client adds", PROXY, ["Forwarded: for=127.1.0.9", "X-Forwarded-For: 198.51.100.7"], 200),
    ("named by Connection", OTHER, ["X-Forwarded-For: 198.51.100.7", "Connection: x-forwarded-for"], 403),
]


@ensureDeferred
async def test_rc_o23_a_to_e_the_list_is_walked_from_the_right_past_trusted_hops(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, FILTER, trusted_proxies=TRUST))
    for name, peer, lines, status in CASES:
        before = len(origin.asked)
        answer = await stage.ask("GET", "/", *lines, source=peer)
        assert answer.status == status, name
        assert len(origin.asked) - before == (status == 200), name


BY_FORWARDED = [
    ("the last", ['Forwarded: for=127.1.0.9, for="198.51.100.7:80"'], 200),
    ("not the last", ["Forwarded: for=198.51.100.7, for=127.1.0.9"], 403),
    ("in a field that these proxies do not write", ["X-Forwarded-For: 198.51.100.7"], 403),
    ("whatever the client adds", ["Forwarded: for=198.51.100.7", "X-Forwarded-For: 127.1.0.9"], 200),
]


@ensureDeferred
async def test_rc_o23_where_proxies_write_forwarded_only_that_counts(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, FILTER, trusted_proxies=TRUST, trusted_fields="rfc7239"))
    for name, lines, status in BY_FORWARDED:
        assert (await stage.ask("GET", "/", *lines, source=PROXY)).status == status, name


@ensureDeferred
async def test_rc_o23_f_without_trusted_proxies_nobody_is_believed(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, FILTER))
    for _, peer, lines, _ in CASES:
        assert (await stage.ask("GET", "/", *lines, source=peer)).status == 403
    assert origin.asked == []


@ensureDeferred
async def test_rc_o23_the_upstream_gets_the_list_with_the_peer_appended(stage: Stage) -> None:
    origin = await stage.origin()
    await stage.serve(simple(origin, trusted_proxies=TRUST))
    given = [
        "X-Forwarded-For: 1.2.3.4, 198.51.100.7",
        "X-Forwarded-For: 127.10.0.3",
        "X-Forwarded-Proto: https",
    ]
    await stage.ask("GET", "/", *given, source=PROXY)
    assert origin.last.get("x-forwarded-for") == "1.2.3.4, 198.51.100.7, 127.10.0.3, 127.10.0.2"
    assert origin.last.get("x-forwarded-proto") == "https"
    # What a peer says that is not trusted is replaced, not continued.
    await stage.ask("GET", "/", *given, "X-Forwarded-Host: evil.test", "X-Real-IP: 1.2.3.4", source=OTHER)
    assert origin.last.get("x-forwarded-for") == OTHER
    assert origin.last.get("x-forwarded-proto") == "http"
    assert origin.last.get("x-forwarded-host") == "gw.test"
    assert origin.last.get("x-real-ip") is None


@ensureDeferred
async def test_rc_o23_limits_by_address_and_the_log_use_the_same_address(stage: Stage) -> None:
    origin = await stage.origin()
    limited = api(pre_flow=steps(step("rate-limit", limit=1, per="1m", by="ip")))
    await stage.serve(simple(origin, limited, trusted_proxies=TRUST))

    async def status(forwarded: str, peer: str) -> int:
        return (await stage.ask("GET", "/", f"X-Forwarded-For: {forwarded}", source=peer)).status

    assert await status("198.51.100.7", PROXY) == 200
    # The same client by another way, and with more in front: it has had its one request.
    assert await status("9.9.9.9, 198.51.100.7, 127.10.0.9", NEAR_PROXY) == 429
    assert await status("198.51.100.8", PROXY) == 200
    # What is written does not count: each of these is the same peer.
    assert [await status(f"198.51.100.{number}", OTHER) for number in (7, 8, 9)] == [200, 429, 429]
    await stage.gateway.line(lambda line: line["client"] == OTHER)
    assert {line["client"] for line in stage.gateway.access()} == {"198.51.100.7", "198.51.100.8", OTHER}
