"""The body of an answer that the gateway makes itself: a problem (RFC 9457) as JSON or XML, or a SOAP fault.

A client that spoke SOAP gets a SOAP fault of its version; else Accept decides between JSON and XML, JSON
where both are as welcome. Nothing here can fail: at worst a fixed JSON text is returned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

import orjson

from apigateway.flow.exchange import Exchange
from apigateway.flow.faults import Fault
from apigateway.wire.accept import preferred

JSON = "application/problem+json"
XML = "application/problem+xml"
# RFC 9457 appendix B kept the namespace of the RFC that it replaced.
XML_NAMESPACE = "urn:ietf:rfc:7807"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"

_OFFERS = (JSON, "application/json", XML, "application/xml", "text/xml")
_XML_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*")
# XML 1.0 2.2 has no way at all to write these, not even as a reference.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LAST_RESORT = b'{"type":"about:blank","title":"Internal error","status":500}'

Rendered = tuple[bytes, bytes]


def render(fault: Fault, exchange: Exchange) -> Rendered:
    """Content-Type and body that tell a client of a fault, in the form it accepts or spoke."""
    try:
        return write_problem(problem(fault, exchange), exchange)
    except Exception:  # whatever it was, the client gets an answer
        return JSON.encode(), _LAST_RESORT


def problem(fault: Fault, exchange: Exchange) -> dict[str, Any]:
    """A problem's members: type, title, status, detail (if there is one), instance, the fault's own."""
    kind = fault.kind
    members: dict[str, Any] = {"type": kind.type, "title": kind.title, "status": kind.status}
    if fault.public:
        members["detail"] = fault.public
    members["instance"] = f"urn:exchange:{exchange.id}"
    return {**fault.members, **members}


def write_problem(members: Mapping[str, Any], exchange: Exchange) -> Rendered:
    """A problem as Content-Type and body. TypeError where a member has no JSON form."""
    soap = _soap_spoken(exchange)
    if soap:
        return _soap_fault(members, soap)
    wanted = preferred(exchange.request.headers.get_all(b"accept"), _OFFERS) or JSON
    if wanted.endswith("xml"):
        return XML.encode(), (_XML_DECLARATION + _problem_element(members)).encode()
    return JSON.encode(), orjson.dumps(members)


def _soap_spoken(exchange: Exchange) -> str:
    """The envelope namespace of the SOAP version that the request spoke, "" for none.

    SOAP 1.2 has its media type (RFC 3902); SOAP 1.1 is text/xml with a SOAPAction field (its section 6.1.1).
    """
    headers = exchange.request.headers
    media_type = headers.text(b"content-type").partition(";")[0].strip().lower()
    if media_type == "application/soap+xml":
        return SOAP_12
    return SOAP_11 if media_type == "text/xml" and b"soapaction" in headers else ""


def _soap_fault(members: Mapping[str, Any], envelope: str) -> Rendered:
    reason = _text(members.get("detail") or members["title"])
    caller = int(members["status"]) < 500
    detail = _problem_element(members)
    if envelope == SOAP_11:
        code = "Client" if caller else "Server"
        fault = (
            f"<faultcode>soap:{code}</faultcode><faultstring>{reason}</faultstring><detail>{detail}</detail>"
        )
        media_type = b"text/xml; charset=utf-8"
    else:
        code = "Sender" if caller else "Receiver"
        fault = (
            f"<soap:Code><soap:Value>soap:{code}</soap:Value></soap:Code>"
            f'<soap:Reason><soap:Text xml:lang="en">{reason}</soap:Text></soap:Reason>'
            f"<soap:Detail>{detail}</soap:Detail>"
        )
        media_type = b"application/soap+xml; charset=utf-8"
    text = (
        f'{_XML_DECLARATION}<soap:Envelope xmlns:soap="{envelope}"><soap:Body><soap:Fault>{fault}'
        "</soap:Fault></soap:Body></soap:Envelope>"
    )
    return media_type, text.encode()


def _problem_element(members: Mapping[str, Any]) -> str:
    return f'<problem xmlns="{XML_NAMESPACE}">{_children(members)}</problem>'


def _children(members: Mapping[str, Any]) -> str:
    """Members as elements; one whose name XML cannot carry is left out."""
    return "".join(
        f"<{name}>{_value(value)}</{name}>" for name, value in members.items() if _XML_NAME.fullmatch(name)
    )


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return _children(value)
    if isinstance(value, list | tuple):
        return "".join(f"<i>{_value(item)}</i>" for item in value)
    return _text(value)


def _text(value: Any) -> str:
    plain = value if isinstance(value, str) else orjson.dumps(value).decode()
    return escape(_NOT_XML.sub("\ufffd", plain))
