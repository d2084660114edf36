"""Conditions and expressions: what they may name, what it reads as, and what is refused."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zope.interface.verify import verifyObject

from apigateway.body import Body
from apigateway.flow.condition import compile_condition
from apigateway.flow.exchange import Connection, Exchange, Identity, PeerCertificate
from apigateway.flow.expression import compile_expression
from apigateway.flow.faults import BAD_REQUEST, INTERNAL, Fault
from apigateway.flow.interfaces import ICondition
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request, Response

FIELDS = (
    (b"x-partner", b"yes"),
    (b"x-many", b"one"),
    (b"x-many", b"two"),
    (b"x-latin", b"caf\xe9"),
    (b"cookie", b"session=abc; theme=dark"),
    (b"cookie", b"session=second"),
)


class FixedClock:
    def monotonic(self) -> float:
        return 1.0

    def wall(self) -> float:
        return 1_700_000_000.0


def exchange_of(
    target: bytes = b"/users/a%2Fb%20c?tier=gold&tier=tin&empty&q=a+b%26", *, body: bytes | None = None
) -> Exchange:
    request = Request(b"POST", target, Headers(FIELDS), authority=b"API.example.test:8443", scheme="https")
    if body is not None:
        request.body = Body(body, b"application/json")
    made = Exchange("id", request, Connection(), "192.0.2.7", 0.0)
    made.api, made.route, made.version, made.params = "users", "read", "v1", {"id": "42"}
    return made


def identified() -> Exchange:
    made = exchange_of()
    made.identity = Identity(
        "acme", "sub-1", frozenset({"partner"}), frozenset({"read"}), {"tenant": {"id": 7}, "wide": 2**80}
    )
    made.connection = Connection(certificate=PeerCertificate(b"der", "CN=a", "ab12"))
    return made


def fault_of(source: str, exchange: Exchange, **around: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        compile_condition(source, **around).holds(exchange)
    return caught.value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("request.method", "POST"),
        ("request.scheme", "https"),
        ("request.host", "api.example.test"),
        ("request.path", "/users/a/b c"),
        ("request.target", "/users/a%2Fb%20c?tier=gold&tier=tin&empty&q=a+b%26"),
        ("request.version", "1.1"),
        ('request.headers["x-partner"]', "yes"),
        ('request.headers["X-Partner"]', "yes"),
        ('request.headers["x-many"]', "one"),
        ('request.headers["absent"]', ""),
        ('request.headers["host"]', "API.example.test:8443"),
        ('request.headers["x-latin"]', "café"),
        ('request.headers["x-" + "partner"]', "yes"),
        ('request.headers["ab" + "sent"]', ""),
        ('request.headers[request.headers["none"] + "X-Many"]', "one"),
        ('request.headers_all["x-many"]', ["one", "two"]),
        ('request.headers_all["absent"]', []),
        ('request.headers_all["host"]', ["API.example.test:8443"]),
        ("request.query.tier", "gold"),
        ('request.query["q"]', "a b&"),
        ('request.query["absent"]', ""),
        ("request.cookies.session", "abc"),
        ('request.cookies["theme"]', "dark"),
        ("request.cookies.none", ""),
        ("size(request.query)", 3),
        ("request.cookies.size()", 2),
        ("client.ip", "192.0.2.7"),
        ("client.cert.subject", ""),
        ("identity.known", False),
        ("identity.consumer", ""),
        ("identity.roles", []),
        ("identity.claims", {}),
        ("route.api + route.name + route.version", "usersreadv1"),
        ("route.params.id", "42"),
        ("env", "default"),
    ],
)
def test_reads(source: str, value: object) -> None:
    assert compile_expression(source).value(exchange_of()) == value


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/cond;x/secret", "/cond/secret"),
        (b"/cond%3Bx/secret;v=1?a;b", "/cond/secret"),
        (b"/cond%3bx/secret;", "/cond/secret"),
        (b"/cond/;/secret", "/cond//secret"),
        (b"/cond;a%2Fb/secret", "/cond/secret"),
        (b"/cond%2F;x/c%C3%A9;y", "/cond//c\u00e9"),
        (b"/a;b%FF/%FF", "/a/\u00ff"),
        (b"*", "*"),
    ],
)
def test_the_path_is_without_the_parameters_that_match_drops(target: bytes, path: str) -> None:
    made = exchange_of(target)
    assert compile_expression("request.path").value(made) == path
    assert compile_expression("request.target").value(made) == target.decode()


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"secret.test.", "secret.test"),
        (b"Secret.TEST.:8080", "secret.test"),
        (b"[2001:DB8:0::1]:80", "[2001:db8::1]"),
        (b"", ""),
    ],
)
def test_the_host_is_the_one_that_routes(authority: bytes, host: str) -> None:
    made = exchange_of()
    made.request.authority = authority
    assert compile_expression("request.host").value(made) == host


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("identity.known", True),
        ("identity.consumer + identity.subject", "acmesub-1"),
        ('"partner" in identity.roles', True),
        ('"write" in identity.scopes', False),
        ("identity.claims.tenant.id", 7),
        ('identity.claims["tenant"]["id"]', 7),
        ("has(identity.claims.tenant.id)", True),
        ("has(identity.claims.other)", False),
        ("identity.claims.wide > 1", True),
        ("client.cert.fingerprint", "ab12"),
    ],
)
def test_reads_what_a_policy_learnt(source: str, value: object) -> None:
    assert compile_expression(source).value(identified()) == value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("has(request.query.empty)", True),
        ("has(request.query.tier)", True),
        ("has(request.query.none)", False),
        ("has(request.cookies.theme)", True),
        ('"x-partner" in request.headers', True),
        ('"X-Partner" in request.headers', True),
        ('"absent" in request.headers', False),
        ('true && "absent" in request.headers', False),
        ('("x-partner" in request.headers) == true', True),
        ('"x-partner" in request.headers && "absent" in request.headers_all', False),
        ('"x-" + "partner" in request.headers', True),
        ('"two" in request.headers_all["x-many"]', True),
        ('request.headers.exists(name, name.startsWith("x-m"))', True),
        ('request.headers_all.x_none.all(v, v == "never")', True),
        ('request.headers_all["x-many"].exists(v, v == request.headers["x-partner"])', False),
        ('["a", "yes"].exists(client_, client_ == request.headers["x-partner"])', True),
        ('request.path.matches("^/users/")', True),
        ('request.path.matches(r"\\d$")', False),
        ('["users", "x"].exists(v, v.matches("^u"))', True),
        ("identity.known ? false : true", True),
        ('request.method in ["GET", "POST"]', True),
        ("'request.none' != \"\" // request.unknown", True),
    ],
)
def test_holds(source: str, value: bool) -> None:
    condition = compile_condition(source)
    assert verifyObject(ICondition, condition)
    assert condition.holds(exchange_of()) is value


def test_a_repeated_evaluation_sees_each_exchange_anew() -> None:
    condition = compile_condition('request.headers["x-partner"] == "yes"')
    other = exchange_of()
    other.request.headers.remove(b"x-partner")
    assert [condition.holds(exchange) for exchange in (exchange_of(), other, exchange_of())] == [True, False, True]


def test_time_and_environment() -> None:
    assert compile_expression("time.now", clock=FixedClock()).value(exchange_of()) == datetime(
        2023, 11, 14, 22, 13, 20, tzinfo=UTC
    )
    source = 'time.now > timestamp("2023-01-01T00:00:00Z") && time.now.getHours() == 22 && env == "live"'
    assert compile_condition(source, clock=FixedClock(), environment="live").holds(exchange_of())


def test_response_side() -> None:
    condition = compile_condition(
        'response.status >= 500 && response.headers["Retry-After"] != "" && "x" in response.headers', response_side=True
    )
    assert condition.needs_response
    exchange = exchange_of()
    exchange.response = Response(503, Headers([(b"retry-after", b"1"), (b"x", b"")]))
    assert condition.holds(exchange)


def test_the_response_before_there_is_one_is_a_fault() -> None:
    assert fault_of("response.status == 200", exchange_of(), response_side=True).kind is INTERNAL


@pytest.mark.parametrize(
    ("source", "about"),
    [
        ("request.metod == 'GET'", "did you mean 'method'"),
        ("reqest.method == 'GET'", "did you mean 'request'"),
        ("identity.rolls == []", "did you mean 'roles'"),
        ("client.cert.subjct == ''", "did you mean 'subject'"),
        ("request", "no value by itself"),
        ("client.cert == 1", "no value by itself"),
        ("request['method'] == 'GET'", "no value by itself"),
        ("time.now == time.now", "time cannot be named"),
        ("response.status == 200", "response side only"),
        ("other", "unknown name"),
        ("[1].exists(x, x > 0) && x == 1", "unknown name 'x'"),
        (".request.method == ''", "does not begin with a dot"),
        ("__0 == 1", "unknown name"),
        ("request.path.startWith('/')", "did you mean 'startsWith'"),
        ("siz(request.path) == 1", "did you mean 'size'"),
        ("request.path.size(", "mismatched input"),
        ("request.method == ", "mismatched input"),
        ("", "mismatched input"),
        ("request.method == 'GET' && §", "token recognition error"),
        ("Person{name: 1} == 1", "no message types"),
        ("has(request.method)", "always there"),
        ("has(request.headers)", "member of a map"),
        ("has(request.json)", "member of a map"),
        ("request.path.matches('(')", "does not compile"),
        ("request.path.matches('(?=a)')", "does not compile"),
        ("request.path.matches(request.headers.x)", "written out"),
        ("request.headers['content-length'] == '1'", "cannot be named"),
        ("request.headers.connection == '1'", "cannot be named"),
        ("'te' in request.headers", "cannot be named"),
        ("request.headers['X-Forwarded-For'] == '1'", "client.ip"),
        ("request.headers[b'x'] == ''", "no text"),
        ("request.method", "gives str"),
        ("size(request.headers)", "gives int"),
        ("request.method > 5", "cannot be evaluated"),
        ("request.method && true", "cannot be evaluated"),
        ("[1].map(x, x) == [1]", "may cost too much"),
        ("[1].filter(x, x > 1).size() == 0", "may cost too much"),
        ("[[1]].all(x, x.all(y, y > 0))", "inside another"),
        (" && ".join(["[1].all(x, x > 0)"] * 5), "more than 4 macros"),
        ("[1].all(request, request > 0)", "name of an item"),
        ("[1].all(response, response > 0)", "name of an item"),
        ("[1].all(__0, __0 > 0)", "name of an item"),
        ("size(" + "+".join(["identity.roles"] * 33) + ") > 0", "more than 32 times"),
        ("[1].all(x, x in " + "+".join(["identity.roles"] * 3) + ")", "inside macros"),
        ("[1].all(x, x " + "+ x" * 5 + " > 0)", "sums inside a macro"),
        ("true" + " " * 4096, "more than 4096"),
        ("(" * 2000 + "true" + ")" * 2000, "character 97"),
    ],
)
def test_refused_when_it_is_compiled(source: str, about: str) -> None:
    with pytest.raises(ValueError, match=re.escape(about)):
        compile_condition(source)


@pytest.mark.parametrize(
    "source",
    [
        'int(request.headers["x-partner"]) == 1',
        'request.headers_all["x-many"][7] == "one"',
        'route.params.other == "1"',
        'identity.claims.tenant == "1"',
        "1 / size(identity.roles) == 1",
        "[1, 2].exists(x, x / size(identity.roles) == 1)",
        'request.headers[b"x"+b"y"] == ""',
        'request.headers["connec" + "tion"] != "close"',
        'size(identity.roles).matches("1") == false',
        'size(identity.roles).matches("1") || true',
    ],
)
def test_any_error_is_a_fault_and_never_false(source: str) -> None:
    fault = fault_of(source, exchange_of())
    assert fault.kind is INTERNAL
    assert fault.public == ""
    assert source in fault.private


def test_nothing_of_a_request_reaches_the_engines_log(caplog: pytest.LogCaptureFixture) -> None:
    fault_of('request.headers[request.headers_all["x-many"]] == ""', exchange_of())
    fault_of("request.json.a == 1", exchange_of(body=b"secret"))
    assert caplog.records == []


def test_a_result_that_is_no_bool_is_a_fault() -> None:
    fault = fault_of("identity.claims.tenant", identified())
    assert fault.kind is INTERNAL
    assert "dict" in fault.private


# -- bodies

ORDER = b'{"order": {"total": 12.50, "lines": [{"id": 1}, {"id": 2}], "ref": null}, "big": 12345678901234567890123}'


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("request.json.order.total > 12.4", True),
        ('request.json["order"]["total"] == 12.5', True),
        ("request.json.order.lines.exists(l, l.id == 2)", True),
        ("request.json.order.lines[1].id == 2 && request.json.order.ref == null", True),
        ("has(request.json.order.none)", False),
        ("has(request.json.order.ref)", True),
        ("request.json.big > 1", True),
        ('request.json[request.query.none + "order"].total == 12.5', True),
        ("size(request.json) == 2", True),
    ],
)
def test_json(source: str, value: bool) -> None:
    condition = compile_condition(source)
    assert condition.needs_request_body
    assert condition.holds(exchange_of(body=ORDER)) is value


@pytest.mark.parametrize("source", ["request.json.order.total.deep == 1", "request.json.none == 1",
                                    "request.json.order.lines.id == 1"])
def test_a_missing_member_is_a_fault(source: str) -> None:
    assert fault_of(source, exchange_of(body=ORDER)).kind is INTERNAL


@pytest.mark.parametrize(
    "source",
    ["request.json.a == 1", 'request.json.a == 1 || request.method == "POST"',
     '!(request.json.a == 1) && request.method == "GET"'],
)
@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b"[" * 100_000, b" " * 300_000])
def test_a_body_that_cannot_be_read_is_the_clients_fault(source: str, body: bytes) -> None:
    fault = fault_of(source, exchange_of(body=body))
    assert fault.kind is BAD_REQUEST
    assert fault.public == "The request body could not be read as JSON"


def test_a_body_is_only_read_where_the_evaluation_gets_there() -> None:
    condition = compile_condition('request.method == "GET" && request.json.a == 1')
    assert condition.holds(exchange_of(body=b"not JSON")) is False


def test_a_body_that_was_not_buffered_is_our_fault() -> None:
    assert fault_of("request.json.a == 1", exchange_of()).kind is INTERNAL


XML = b"""<?xml version="1.0"?><o:order xmlns:o="urn:o" o:id="7"><total>5</total><line>a</line><line n="2">b</line>
<!-- no --><empty/></o:order>"""


@pytest.mark.parametrize(
    "source",
    [
        'request.xml.order.total == "5"',
        'request.xml.order["@id"] == "7"',
        'request.xml.order.line[0] == "a"',
        'request.xml.order.line[1]["#text"] == "b" && request.xml.order.line[1]["@n"] == "2"',
        'request.xml.order.empty == "" && !has(request.xml.order.none) && !has(request.xml.other)',
        "size(request.xml.order) == 4",
    ],
)
def test_xml(source: str) -> None:
    condition = compile_condition(source)
    assert condition.needs_request_body
    assert condition.holds(exchange_of(body=XML))


def test_a_doctype_is_refused() -> None:
    fault = fault_of('request.xml.a == "x"', exchange_of(body=b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>'))
    assert fault.kind is BAD_REQUEST
    assert fault.private == "XML with a DOCTYPE is not accepted"


# -- what a client can make it cost

MANY = b'{"few": [1], "many": [' + b",".join([b"1"] * 5000) + b"]}"


@pytest.mark.parametrize(
    ("source", "exchange"),
    [
        ("request.json.many.all(x, x > 0)", exchange_of(body=MANY)),
        ("size(request.json) > 0", exchange_of(body=MANY)),
        ("size(request.query) > 0", exchange_of(b"/?" + b"&".join(b"%d" % i for i in range(2000)))),
        ("size(request.xml) > 0", exchange_of(body=b"<a>" + b"<b/>" * 2000 + b"</a>")),
    ],
)
def test_too_many_values_are_a_fault(source: str, exchange: Exchange) -> None:
    assert fault_of(source, exchange).kind is BAD_REQUEST


def test_what_is_not_named_does_not_count() -> None:
    assert compile_condition("request.json.few.all(x, x > 0)").holds(exchange_of(body=MANY))


def test_a_body_named_for_each_item_is_bounded() -> None:
    body = b'{"l": [' + b",".join([b"1"] * 900) + b"]}"
    assert fault_of("request.json.l.all(x, x in request.json.l)", exchange_of(body=body)).kind is BAD_REQUEST


def test_the_dearest_that_is_allowed_does_not_stop_the_worker() -> None:
    exchange = exchange_of(b"/?" + b"&".join(b"n%d=1" % i for i in range(999)))
    source = "request.query.all(x, request.query == request.query)"
    condition = compile_condition(source)
    begin = time.process_time()
    assert condition.holds(exchange)
    assert time.process_time() - begin < 1.0


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x"])
def test_a_pattern_takes_linear_time(pattern: str) -> None:
    condition = compile_condition(f"request.query.v.matches({pattern!r})")
    begin = time.process_time()
    assert condition.holds(exchange_of(b"/?v=" + b"a" * 8000 + b"!")) is False
    assert time.process_time() - begin < 0.5


@given(st.text("requst.mhodap()[]{}'\"=&|!?:,<>+-/\\ \n01inx_", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_source_is_compiled_or_refused_with_a_reason(source: str) -> None:
    try:
        expression = compile_expression(source)
    except ValueError as error:
        assert str(error)
    else:
        assert expression.source == source


@given(st.binary(max_size=60), st.binary(max_size=60).filter(lambda value: b"?" not in value))
@settings(max_examples=200, deadline=None)
def test_any_request_can_be_read(value: bytes, path: bytes) -> None:
    exchange = exchange_of(b"/" + path + b"?" + value)
    exchange.request.headers.lines = [(b"x", value), (b"cookie", value)]
    sizes = "size(request.path) > 0 && size(request.query) >= 0 && size(request.cookies) >= 0"
    source = f"{sizes} && request.headers.x == ''"
    assert compile_condition(source).holds(exchange) is (value == b"")
