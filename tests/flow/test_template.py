"""Text with expressions in it."""

from __future__ import annotations

import re

import pytest
from zope.interface.verify import verifyObject

from apigateway.flow.exchange import Connection, Exchange, Identity
from apigateway.flow.faults import BAD_REQUEST, INTERNAL, Fault
from apigateway.flow.interfaces import ITextTemplate
from apigateway.flow.template import compile_template
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request


class FixedClock:
    def monotonic(self) -> float:
        return 1.0

    def wall(self) -> float:
        return 1_700_000_000.5


def exchange_of(target: bytes = b"/", value: bytes = b"yes") -> Exchange:
    made = Exchange("id", Request(b"GET", target, Headers([(b"x", value)])), Connection(), "192.0.2.7", 0.0)
    made.identity = Identity("acme", claims={"n": 3, "f": 2.5, "whole": 4.0, "none": None, "list": [1], "nan": "x"})
    return made


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("{{x}} }}{{", "{x} }{"),
        ('{"id": 1}'.replace("{", "{{").replace("}", "}}"), '{"id": 1}'),
        ("line\nbreak", "line\nbreak"),
    ],
)
def test_constant(source: str, text: str) -> None:
    template = compile_template(source)
    assert template.constant == text
    assert template.render(exchange_of()) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{client.ip}", "192.0.2.7"),
        ("a{ identity.consumer }b{request.headers.x}c", "aacmebyesc"),
        ('{"}" + "{"}', "}{"),
        ("{{{identity.consumer}}}", "{acme}"),
        ('{ {"a": "b"}["a"] }', "b"),
        ("{r'}' // a comment with }\n}", "}"),
        ("{identity.known} {1 < 0}", "true false"),
        ("{identity.claims.n}/{identity.claims.f}/{identity.claims.whole}/{1.0e300}", "3/2.5/4/1e+300"),
        ("{request.headers.absent}", ""),
        ("{time.now}", "2023-11-14T22:13:20.500000Z"),
        ("{env}", "live"),
    ],
)
def test_render(source: str, text: str) -> None:
    template = compile_template(source, clock=FixedClock(), environment="live")
    assert verifyObject(ITextTemplate, template)
    assert template.constant is None
    assert template.source == source
    assert template.render(exchange_of()) == text


@pytest.mark.parametrize(
    ("source", "about"),
    [
        ("{", "never closed"),
        ("a{client.ip", "never closed"),
        ("{'}", "unexpected"),
        ("a}", "lone '}'"),
        ("{}", "mismatched input"),
        ("{client.pi}", "known are cert, ip"),
        ("{identity.roles}", "gives list"),
        ("{null}", "gives NoneType"),
        ("{response.status}", "response side"),
    ],
)
def test_refused(source: str, about: str) -> None:
    with pytest.raises(ValueError, match=re.escape(about)):
        compile_template(source)


@pytest.mark.parametrize("octet", [b"%0d%0aSet-Cookie:%20a=b", b"%0a", b"%00", b"%7f", b"%1b"])
def test_a_client_cannot_put_a_control_character_into_it(octet: bytes) -> None:
    with pytest.raises(Fault) as caught:
        compile_template("v={request.query.v}").render(exchange_of(b"/?v=a" + octet))
    assert caught.value.kind is BAD_REQUEST


def test_a_tab_is_no_control_character_here() -> None:
    assert compile_template("{request.query.v}").render(exchange_of(b"/?v=a%09b")) == "a\tb"


@pytest.mark.parametrize("source", ["{identity.claims.list}", "{identity.claims.none}", "{double(\"NaN\")}",
                                    "{identity.claims.other}", "{int(request.headers.x)}"])
def test_what_is_no_text_is_a_fault(source: str) -> None:
    with pytest.raises(Fault) as caught:
        compile_template(source).render(exchange_of())
    assert caught.value.kind is INTERNAL


def test_needs() -> None:
    template = compile_template("{request.json.a} {response.status}", response_side=True)
    assert (template.needs_request_body, template.needs_response) == (True, True)
    assert not compile_template("x{client.ip}").needs_request_body
