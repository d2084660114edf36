"""What routes, conditions and templates are written in, and what a request makes of them."""

from __future__ import annotations

from collections.abc import Callable

from apigateway.body import Body
from apigateway.flow.condition import compile_condition
from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import Fault
from apigateway.flow.hostnames import HostTable, covers, normal_host
from apigateway.flow.path_tree import Node, exact_template, prefix_template, strip_prefix, walk
from apigateway.flow.template import compile_template
from apigateway.ports.memory import ManualClock
from apigateway.testing.builders import exchange, request, response
from apigateway.wire.message import Refusal
from apigateway.wire.target import split_path
from fuzzing.target import Target, text_of

_CLOCK = ManualClock()


def attempt_hosts(data: bytes) -> None:
    """The one form of a name is its own form; a pattern finds the names below it."""
    host = normal_host(data.decode("latin-1"))
    assert normal_host(host) == host or ":" in host or host.endswith(".")
    covers([host, f"*.{host}"], f"a.{host}")
    table: HostTable[str] = HostTable()
    table.put("*", "any")
    table.put("*.a.test", "below")
    table.put(host, "itself")
    found = table.over(data)
    assert found and found[-1] == ("itself" if host == "*" else "any")


def attempt_templates(data: bytes) -> None:
    """Templates, one a line, in one tree; then the last line as a path that leads through it."""
    lines = text_of(data).split("\n")
    root: Node[int] = Node()
    for number, line in enumerate(lines[:64]):
        try:
            for template in [*exact_template("/base", line), prefix_template("/", line)]:
                node = root.reach(template.shape)
                node.exact, node.prefix = number, number
        except ValueError:
            continue
    path = data.rpartition(b"\n")[2]
    split = split_path(b"/base" + path)
    if not isinstance(split, Refusal):
        assert len(list(walk(root, split[1]))) <= 2 * 64 * 64
    assert strip_prefix(path, 2).startswith(b"/") or not path.startswith(b"/")


def _exchanges() -> list[Exchange]:
    plain = exchange(
        request(
            "POST",
            "/a/b%20c?x=1&x=2&y",
            {"X-A": "1", "Cookie": "a=b; c=d", "Content-Type": "application/json"},
        )
    )
    plain.request.body = Body(
        b'{"a": {"b": [1, 2.5, "x", null, true]}, "items": [{"n": 1}, {"n": 2}]}', b"application/json"
    )
    bare = exchange(request("GET", "/", {"X-A": "\xe9"}), response(503, {"X-R": "2"}))
    return [plain, bare]


_EXCHANGES = _exchanges()


def _evaluated(compiled: Callable[[Exchange], object]) -> None:
    for one in _EXCHANGES:
        try:
            compiled(one)
        except Fault:
            continue


def attempt_conditions(data: bytes) -> None:
    """Refused when it is compiled, or true, false or a Fault, and in time."""
    for response_side in (False, True):
        try:
            condition = compile_condition(text_of(data), response_side=response_side, clock=_CLOCK)
        except ValueError:
            continue
        _evaluated(condition.holds)


def attempt_texts(data: bytes) -> None:
    """Refused when it is compiled, or a text without a control that was not written there, or a Fault."""
    try:
        template = compile_template(text_of(data), clock=_CLOCK)
    except ValueError:
        return
    _evaluated(template.render)


_CONDITIONS = (
    b'request.method == "GET" && request.headers["x-a"] != ""',
    b'request.path.startsWith("/a") || request.query["x"] == "1"',
    b"request.json.items.exists(i, i.n > 1) ? size(request.json.a.b) == 5 : false",
    b'request.headers_all["x-a"].all(v, v.matches("^[0-9]+$"))',
    b"response.status >= 500 && has(request.json.a)",
    b'time.now > timestamp("2020-01-01T00:00:00Z") && client.ip in ["203.0.113.9"]',
    b'"admin" in identity.roles && int(request.cookies["a"]) + 1 < 0x10 || {"a": 1u}["a"] == 1u',
)
_CEL_WORDS = tuple(
    b'request.@headers@["x-a"]@.path@.json@.xml@.query@.cookies@response.status@client.ip@identity.claims@time.now@env'
    b"@ == @ != @ < @ + @ - @ * @ / @ % @ && @ || @!@?@:@(@)@[@]@{@}@,@.exists(i, @.all(x, "
    b"@.map(x, @.filter(x, @.exists_one(y, "
    b'@size(@int(@string(@double(@duration("1s")@timestamp(@bytes(@has(@.matches("a")@.contains("a")@1@-9223372036854775808'
    b"@18446744073709551615u@1e308@null@true@\"a\"@b'\\xff'@r\"\\\"@'''@//"
    b"@ in @dyn(@type(@[1,2,3]@{1: 2}@x@i@.@\\u0000@\xc3\xa9"
    b"@((((((((((((((((@[[[[[[[[[[[[[[[[@!!!!!!!!!!!!!!!!@----------------".split(b"@")
)
TARGETS = (
    Target(
        "host names",
        attempt_hosts,
        (b"Api.Example.test:8080", b"[2001:DB8::1]:443", b"a.b.a.test.", b"*.a.test"),
        (b".", b":", b"[", b"]", b"*", b"::", b"%", b"..", b"\xe9", b"a.test"),
    ),
    Target(
        "path templates",
        attempt_templates,
        (b"/users/{id}\n/users/{id}/orders/{rest*}\n/a%20b/\n/users/7/orders/x/y", b"/{a}/{b}\n/{a}/b\n/a/b"),
        (b"/", b"{", b"}", b"{x}", b"{rest*}", b"%7B", b"%ff", b";v=1", b"\n", b"//", b"{a}{b}", b"/a/b/c/d"),
    ),
    Target("conditions", attempt_conditions, _CONDITIONS, _CEL_WORDS),
    Target(
        "templates",
        attempt_texts,
        tuple(
            b"a {" + one + b"} {{b}}"
            for one in (
                b'request.headers["x-a"]',
                b'request.method == "GET" ? "a" : "b"',
                b'{"a": "b"}["a"]',
                b"size(request.path)",
                b"time.now",
            )
        ),
        (*_CEL_WORDS, b"{{", b"}}", b"{", b"}"),
    ),
)
