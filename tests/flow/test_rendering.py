"""The body of the gateway's own answers: JSON, XML or SOAP, and never a failure."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.faults import FORBIDDEN, INTERNAL, UNAVAILABLE, Fault
from apigateway.flow.rendering import render
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request

PROBLEM = "{urn:ietf:rfc:7807}"
ENVELOPES = {
    "1.1": "{http://schemas.xmlsoap.org/soap/envelope/}",
    "1.2": "{http://www.w3.org/2003/05/soap-envelope}",
}


def exchange(*lines: tuple[bytes, bytes]) -> Exchange:
    return Exchange("e7", Request(b"POST", b"/", Headers(lines)), Connection(), "192.0.2.1", 0.0)


def test_json_is_the_rule():
    fault = Fault(FORBIDDEN, public="Not here.", private="secret", members={"errors": [{"pointer": "/a"}]})
    content_type, body = render(fault, exchange())
    assert content_type == b"application/problem+json"
    assert json.loads(body) == {
        "type": "https://apigateway.dev/problems/forbidden",
        "title": "Forbidden",
        "status": 403,
        "detail": "Not here.",
        "instance": "urn:exchange:e7",
        "errors": [{"pointer": "/a"}],
    }


def test_members_never_replace_what_every_problem_has():
    body = render(Fault(FORBIDDEN, members={"status": 200, "type": "x"}), exchange())[1]
    assert json.loads(body)["status"] == 403
    assert "detail" not in json.loads(body)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (b"*/*", b"application/problem+json"),
        (b"application/json", b"application/problem+json"),
        (b"application/problem+json, application/xml;q=0.9", b"application/problem+json"),
        (b"application/xml", b"application/problem+xml"),
        (b"text/xml", b"application/problem+xml"),
        (b"application/problem+xml;q=0.5, application/json;q=0.4", b"application/problem+xml"),
        (b"image/png", b"application/problem+json"),
    ],
)
def test_accept_decides(accept, content_type):
    assert render(Fault(FORBIDDEN), exchange((b"accept", accept)))[0] == content_type


def test_xml():
    members = {"errors": [{"at": 1}, {"at": None}], "not a name": 1, "text": "a\x00<b>&\ud800"}
    fault = Fault(FORBIDDEN, public='<"&>', members=members)
    body = render(fault, exchange((b"accept", b"application/xml")))[1]
    root = ElementTree.fromstring(body)
    assert root.tag == f"{PROBLEM}problem"
    assert root.findtext(f"{PROBLEM}detail") == '<"&>'
    assert root.findtext(f"{PROBLEM}status") == "403"
    assert [item.findtext(f"{PROBLEM}at") for item in root.find(f"{PROBLEM}errors")] == ["1", "null"]
    assert root.findtext(f"{PROBLEM}text") == "a\ufffd<b>&\ufffd"


@pytest.mark.parametrize(
    ("fields", "version", "content_type"),
    [
        (
            [(b"content-type", b"text/xml; charset=utf-8"), (b"soapaction", b'""')],
            "1.1",
            b"text/xml; charset=utf-8",
        ),
        (
            [(b"content-type", b"application/soap+xml;action=x")],
            "1.2",
            b"application/soap+xml; charset=utf-8",
        ),
    ],
)
@pytest.mark.parametrize(
    ("kind", "code"), [(FORBIDDEN, ("Client", "Sender")), (UNAVAILABLE, ("Server", "Receiver"))]
)
def test_soap_faults(fields, version, content_type, kind, code):
    rendered = render(Fault(kind, public="A & B"), exchange(*fields, (b"accept", b"application/json")))
    assert rendered[0] == content_type
    namespace = ENVELOPES[version]
    fault = ElementTree.fromstring(rendered[1]).find(f"{namespace}Body/{namespace}Fault")
    if version == "1.1":
        assert (fault.findtext("faultcode"), fault.findtext("faultstring")) == (f"soap:{code[0]}", "A & B")
        detail = fault.find("detail")
    else:
        assert fault.findtext(f"{namespace}Code/{namespace}Value") == f"soap:{code[1]}"
        assert fault.findtext(f"{namespace}Reason/{namespace}Text") == "A & B"
        detail = fault.find(f"{namespace}Detail")
    assert detail.findtext(f"{PROBLEM}problem/{PROBLEM}status") == str(kind.status)


def test_text_xml_without_soapaction_is_no_soap():
    assert (
        render(Fault(FORBIDDEN), exchange((b"content-type", b"text/xml")))[0] == b"application/problem+json"
    )


@pytest.mark.parametrize("accept", [b"*/*", b"application/xml"])
def test_it_cannot_fail(accept):
    fault = Fault(INTERNAL, members={"thing": object()})
    content_type, body = render(fault, exchange((b"accept", accept)))
    assert content_type == b"application/problem+json"
    assert json.loads(body)["status"] == 500
