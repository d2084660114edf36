"""What a configuration, valid in each part, gets wrong as a whole."""

from __future__ import annotations

import pytest

from apigateway.config.check import check
from apigateway.config.load import configuration_of

from .builders import ABSENT, KEY_HASH, TOKEN_HASH, changed, configuration

LISTENER = {"name": "public", "address": "127.0.0.1:8081"}
CERTIFICATE = {"cert": "a.pem", "key": "a.key"}
READ = {"name": "read", "upstream": "users", "match": {"path": "/x"}}
FLOW = {"name": "partners", "when": "true"}

UPSTREAM, TARGET, API, ROUTE, MATCH = (
    "/upstreams/0",
    "/upstreams/0/targets/0",
    "/apis/0",
    "/apis/0/routes/0",
    "/apis/0/routes/0/match",
)

WRONG: list[tuple[str, object, str, str]] = [
    # names that are there twice
    ("/listeners/-", LISTENER, "/listeners/1/name", '"public" is taken by /listeners/0'),
    (
        "/upstreams/-",
        {"name": "users", "targets": [{"url": "http://b"}]},
        "/upstreams/1/name",
        '"users" is taken by /upstreams/0',
    ),
    ("/apis/-", {"name": "users", "routes": [READ]}, "/apis/1/name", '"users" is taken by /apis/0'),
    (f"{API}/routes/-", READ, "/apis/0/routes/1/name", '"read" is taken by /apis/0/routes/0'),
    ("/consumers/-", {"name": "acme"}, "/consumers/1/name", '"acme" is taken by /consumers/0'),
    (
        f"{UPSTREAM}/targets/-",
        {"url": "http://127.0.0.1:9001/b"},
        "/upstreams/0/targets/1/name",
        '"127.0.0.1:9001" is taken by /upstreams/0/targets/0',
    ),
    (
        "/conditional_flows",
        [FLOW, FLOW],
        "/conditional_flows/1/name",
        '"partners" is taken by /conditional_flows/0',
    ),
    (
        f"{API}/conditional_flows",
        [FLOW, FLOW],
        f"{API}/conditional_flows/1/name",
        '"partners" is taken by /apis/0/conditional_flows/0',
    ),
    (
        f"{ROUTE}/conditional_flows",
        [FLOW, FLOW],
        f"{ROUTE}/conditional_flows/1/name",
        '"partners" is taken by /apis/0/routes/0/conditional_flows/0',
    ),
    (f"{API}/hosts", ["a.test", "A.test"], f"{API}/hosts/1", '"a.test" is taken by /apis/0/hosts/0'),
    (
        "/consumers/-",
        {"name": "other", "api_keys": [{"sha256": KEY_HASH}]},
        "/consumers/1/api_keys/0",
        "this key is also at /consumers/0/api_keys/0: it could not tell who calls",
    ),
    (
        "/consumers/0/api_keys/-",
        {"sha256": KEY_HASH},
        "/consumers/0/api_keys/1",
        "this key is also at /consumers/0/api_keys/0: it could not tell who calls",
    ),
    (
        "/management",
        {"tokens": [{"name": "a", "sha256": TOKEN_HASH}, {"name": "b", "sha256": TOKEN_HASH}]},
        "/management/tokens/1/sha256",
        "this is taken by /management/tokens/0",
    ),
    # listeners and management
    ("/listeners/0/address", "8080", "/listeners/0/address", "a port is missing"),
    ("/listeners/0/address", "127.0.0.1:65536", "/listeners/0/address", "a port is a number from 1 to 65535"),
    ("/listeners/0/address", "::1:80", "/listeners/0/address", "an IPv6 address is written in brackets"),
    (
        "/listeners/-",
        {"name": "b", "address": "127.0.0.1:8080"},
        "/listeners/1/address",
        '"127.0.0.1:8080" is taken by /listeners/0/address',
    ),
    (
        "/management/address",
        "127.0.0.1:8080",
        "/management/address",
        '"127.0.0.1:8080" is taken by /listeners/0/address',
    ),
    (
        "/management/address",
        "0.0.0.0:8001",
        "/management/address",
        "others can reach this address: it needs tokens",
    ),
    (
        "/management/address",
        "[::]:8001",
        "/management/address",
        "others can reach this address: it needs tokens",
    ),
    ("/management/address", "gw.example.test:8001", "/management/address", "others can reach this address"),
    (
        "/listeners/0/tls",
        {},
        "/listeners/0/tls/certificates",
        "there is no certificate, here or in the revision",
    ),
    (
        "/listeners/0/tls",
        {"certificates": [CERTIFICATE], "client_auth": {"mode": "request"}},
        "/listeners/0/tls/client_auth/ca",
        'mode "request" needs the CAs',
    ),
    (
        "/listeners/0/tls",
        {"certificates": [CERTIFICATE], "client_auth": {"crl": "ca.crl"}},
        "/listeners/0/tls/client_auth/crl",
        "a revocation list has no use without its CAs",
    ),
    (
        "/listeners/0/proxy_protocol",
        {"trusted": ["10.0.0.0/8", "10.1.2.3/8"]},
        "/listeners/0/proxy_protocol/trusted/1",
        "10.0.0.0/8 is probably meant",
    ),
    (
        "/listeners/0",
        {"name": "a", "address": "unix:/run/a.sock", "proxy_protocol": {"trusted": ["10.0.0.1"]}},
        "/listeners/0/proxy_protocol",
        "the peers of a Unix socket have no addresses",
    ),
    ("/trusted_proxies", ["10.0.0.0/8", "10.1.2.3/8"], "/trusted_proxies/1", "10.0.0.0/8 is probably meant"),
    ("/trusted_proxies", ["10.0.0.0/33"], "/trusted_proxies/0", "expected an address or a network"),
    ("/resolver/servers", ["dns.example.test"], "/resolver/servers/0", "expected an IP address"),
    ("/resolver/servers", ["127.0.0.1:0"], "/resolver/servers/0", "a port is a number from 1 to 65535"),
    # upstreams
    (f"{TARGET}/url", "127.0.0.1:9001", f"{TARGET}/url", "a url begins with http:// or https://"),
    (f"{TARGET}/url", "http+unix:///run/a", f"{TARGET}/url", "a url begins with http:// or https://"),
    (f"{TARGET}/url", "http://a:0", f"{TARGET}/url", "a port is a number from 1 to 65535"),
    (f"{TARGET}/url", "http://user:pw@a", f"{TARGET}/url", "a url holds no user or password"),
    (f"{TARGET}/url", "http://a?b=c", f"{TARGET}/url", "holds no query or fragment"),
    (
        f"{UPSTREAM}/hash_on",
        {"source": "header"},
        f"{UPSTREAM}/hash_on/name",
        'source "header" needs the name of the header',
    ),
    (
        f"{UPSTREAM}/hash_on",
        {"source": "cookie"},
        f"{UPSTREAM}/hash_on/name",
        'source "cookie" needs the name of the cookie',
    ),
    (
        f"{UPSTREAM}/hash_on",
        {"source": "expression"},
        f"{UPSTREAM}/hash_on/name",
        'source "expression" needs an expression',
    ),
    (
        f"{UPSTREAM}/hash_on",
        {"source": "ip", "name": "x"},
        f"{UPSTREAM}/hash_on/name",
        'source "ip" takes no name',
    ),
    (f"{UPSTREAM}/host", "a b", f"{UPSTREAM}/host", "expected a host name"),
    (f"{UPSTREAM}/health/path", "health", f"{UPSTREAM}/health/path", 'a path begins with "/"'),
    (f"{UPSTREAM}/health/host", "a:80", f"{UPSTREAM}/health/host", "expected a host name"),
    # Apis and routes
    (f"{ROUTE}/upstream", "usres", f"{ROUTE}/upstream", 'there is no upstream "usres"'),
    (
        f"{ROUTE}/upstream",
        [{"when": "true", "upstream": "users"}, {"upstream": "b"}],
        f"{ROUTE}/upstream/1/upstream",
        'there is no upstream "b"',
    ),
    (f"{MATCH}/path_prefix", "/", f"{MATCH}/path_prefix", "a route has path or path_prefix, not both"),
    (MATCH, {"methods": ["GET"]}, MATCH, "needs path or path_prefix"),
    (f"{MATCH}/path", "users", f"{MATCH}/path", 'a path begins with "/"'),
    (f"{MATCH}/path", "/a b", f"{MATCH}/path", "a path has no space, query or fragment in it"),
    (f"{MATCH}/path", "/a?b", f"{MATCH}/path", "a path has no space, query or fragment in it"),
    (f"{MATCH}/path", "/a//b", f"{MATCH}/path", 'an empty segment ("//") never arrives'),
    (f"{MATCH}/path", "/a/../b", f"{MATCH}/path", '"." and ".." are never asked for'),
    (f"{MATCH}/path", "/{id", f"{MATCH}/path", "a parameter fills its segment"),
    (f"{MATCH}/path", "/v{id}", f"{MATCH}/path", "a parameter fills its segment"),
    (f"{MATCH}/path", "/{1}", f"{MATCH}/path", "a parameter fills its segment"),
    (f"{MATCH}/path", "/{id}/{id}", f"{MATCH}/path", 'the parameter "id" is there twice'),
    (f"{MATCH}/path", "/{rest*}/a", f"{MATCH}/path", '"{rest*}" takes the tail, so nothing may follow it'),
    (
        MATCH,
        {"path_prefix": "/{id}"},
        f"{MATCH}/path_prefix",
        "parameters in braces are for the path of a route only",
    ),
    (f"{MATCH}/headers", {"x a": "1"}, f"{MATCH}/headers/x a", "not the name of a header"),
    (f"{API}/base_path", "users", f"{API}/base_path", 'a path begins with "/"'),
    (f"{API}/base_path", "/users/", f"{API}/base_path", 'a base path does not end with "/"'),
    (
        f"{API}/base_path",
        "/{tenant}",
        f"{API}/base_path",
        "parameters in braces are for the path of a route only",
    ),
    (f"{API}/hosts", ["*"], f"{API}/hosts/0", '"*" alone is no host'),
    (f"{API}/hosts", ["api.*.test"], f"{API}/hosts/0", "expected a host name or address, without a port"),
    (f"{API}/hosts", ["a.test:443"], f"{API}/hosts/0", "expected a host name or address, without a port"),
    (f"{API}/hosts", ["bücher.test"], f"{API}/hosts/0", "a host is written in ASCII"),
    (
        f"{API}/versioning",
        {"from": "header"},
        f"{API}/api_version",
        "versioning needs the version that this Api is",
    ),
    (f"{API}/deprecated", "2027-06-30", f"{API}/deprecated", "expected a date and time with its offset"),
    (f"{API}/sunset", "2027-02-30T00:00:00Z", f"{API}/sunset", "no such date"),
    (
        "/consumers/0/api_keys/0/expires",
        "tomorrow",
        "/consumers/0/api_keys/0/expires",
        "expected a date and time",
    ),
    # references where nothing reads them
    (
        f"{MATCH}/headers",
        {"x-a": "${env:X}"},
        f"{MATCH}/headers/x-a",
        "a reference is read in fields for secrets only",
    ),
    ("/logs/access", "${file:log}", "/logs/access", "a reference is read in fields for secrets only"),
]

ODD: list[tuple[str, object, str, str]] = [
    (
        "/upstreams/-",
        {"name": "b", "targets": [{"url": "http://b"}]},
        "/upstreams/1",
        'no route names the upstream "b"',
    ),
    (f"{ROUTE}/upstream", ABSENT, "/upstreams/0", 'no route names the upstream "users"'),
    (f"{TARGET}/weight", 0, f"{UPSTREAM}/targets", "every primary target has weight 0"),
    (f"{TARGET}/role", "failover", f"{UPSTREAM}/targets", "there is no primary target"),
    (
        f"{UPSTREAM}/hash_on",
        {"source": "path"},
        f"{UPSTREAM}/hash_on",
        'has no effect while balance is "round-robin"',
    ),
    (f"{UPSTREAM}/tls", {"verify": False}, f"{UPSTREAM}/tls", "has no effect: no target's url is https"),
    (
        f"{ROUTE}/upstream",
        [{"upstream": "users"}, {"when": "true", "upstream": "users"}],
        f"{ROUTE}/upstream/0",
        "has no condition, so what follows is never taken",
    ),
]

FINE: list[tuple[str, object]] = [
    ("/listeners/0/address", "[::1]:8080"),
    ("/listeners/0/address", "unix:run/gateway.sock"),
    ("/listeners/-", {"name": "b", "address": "127.0.0.1:8081"}),
    ("/listeners/0/proxy_protocol", {"trusted": ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"], "timeout": "3s"}),
    ("/management", {}),
    ("/management/address", "localhost:8001"),
    ("/management/address", "unix:/run/management.sock"),
    ("/management", {"address": "0.0.0.0:8001", "tokens": [{"name": "ops", "sha256": TOKEN_HASH}]}),
    ("/trusted_proxies", ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]),
    ("/resolver/servers", ["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353"]),
    (f"{TARGET}/url", "https://users.example.test/v1/"),
    (f"{UPSTREAM}/targets/-", {"name": "two", "url": "http://127.0.0.1:9001"}),
    (f"{UPSTREAM}/host", "preserve"),
    (f"{MATCH}/path", "/a/{id}/b/{rest*}"),
    (f"{MATCH}/path", "/"),
    (f"{API}/base_path", "/"),
    (f"{API}/hosts", ["api.example.test", "*.example.test", "127.0.0.1", "[::1]"]),
    (f"{API}/sunset", "2027-06-30T00:00:00Z"),
    # What a kind makes of a text, only the kind knows.
    (f"{ROUTE}/pre_flow", {"request": [{"policy": "set-headers", "with": {"set": {"x": "${env:X}"}}}]}),
]


@pytest.mark.parametrize(("pointer", "value", "place", "message"), WRONG)
def test_what_is_wrong_is_an_error_at_its_place(
    pointer: str, value: object, place: str, message: str
) -> None:
    errors = [problem for problem in check(configuration(pointer, value)) if not problem.warning]
    assert place in [error.pointer for error in errors]
    assert any(message in error.message for error in errors if error.pointer == place)
    assert len(errors) == 1


@pytest.mark.parametrize(("pointer", "value", "place", "message"), ODD)
def test_what_is_odd_is_a_warning(pointer: str, value: object, place: str, message: str) -> None:
    [problem] = check(configuration(pointer, value))
    assert (problem.pointer, problem.warning) == (place, True)
    assert message in problem.message


@pytest.mark.parametrize(("pointer", "value"), FINE)
def test_what_is_fine(pointer: str, value: object) -> None:
    assert check(configuration(pointer, value)) == ()


def test_nothing_is_wrong_with_the_plainest() -> None:
    assert check(configuration()) == ()


def test_the_nearest_upstream_is_named() -> None:
    [wrong, _] = sorted(
        check(configuration(f"{ROUTE}/upstream", "usres")), key=lambda problem: problem.warning
    )
    assert wrong.hint == "users"


def test_the_end_comes_after_the_deprecation() -> None:
    broken = changed(f"{API}/deprecated", "2027-07-01T00:00:00Z")
    broken["apis"][0]["sunset"] = "2027-07-01T00:30:00+01:00"
    [problem] = check(configuration_of(broken))
    assert (problem.pointer, problem.message) == (f"{API}/sunset", "the end comes before the deprecation")


def test_empty_segments_may_be_kept() -> None:
    kept = changed("/paths/empty_segments", "keep")
    kept["apis"][0]["routes"][0]["match"]["path"] = "/a//b"
    assert check(configuration_of(kept)) == ()


def test_port_zero_is_the_systems_choice_and_never_taken() -> None:
    broken = changed("/listeners/0/address", "127.0.0.1:0")
    broken["listeners"].append({"name": "b", "address": "127.0.0.1:0"})
    assert check(configuration_of(broken)) == ()


def test_a_certificate_of_the_revision_is_enough() -> None:
    several = changed("/listeners/0/tls", {})
    several["certificates"] = [CERTIFICATE]
    assert check(configuration_of(several)) == ()


def test_all_at_once() -> None:
    broken = changed("/listeners/0/address", "nowhere")
    broken["upstreams"][0]["targets"][0]["url"] = "ftp://a"
    broken["apis"][0]["base_path"] = "users"
    broken["trusted_proxies"] = ["x"]
    places = {problem.pointer for problem in check(configuration_of(broken))}
    assert places == {"/listeners/0/address", f"{TARGET}/url", f"{API}/base_path", "/trusted_proxies/0"}
