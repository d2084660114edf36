"""Bodies: what is read and written again is the same, and what is refused is refused in the one way documented."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from lxml import etree  # type: ignore[import-untyped]

from apigateway.body import BodyError
from apigateway.body.form_view import parse_form
from apigateway.body.json_view import parse_json, write_json
from apigateway.body.media_type import parse_media_type
from apigateway.body.xml_view import parse_xml
from fuzzing.target import Target


def attempt_json(data: bytes) -> None:
    try:
        value = parse_json(data)
    except BodyError:
        return
    written = write_json(value)
    again = parse_json(written)
    assert again == value and write_json(again) == written
    json.loads(data)


def attempt_xml(data: bytes) -> None:
    """The first octet decides which charset Content-Type says."""
    charsets = ("", "utf-8", "us-ascii", "iso-8859-1", "utf-16", "utf-16be", "other")
    try:
        root = parse_xml(data[1:], charsets[(data or b"\0")[0] % len(charsets)])
    except BodyError:
        return
    written = etree.tostring(root, encoding="utf-8")
    assert etree.tostring(parse_xml(written), encoding="utf-8") == written
    assert not root.xpath("//processing-instruction()") or b"<?" in written


def attempt_form(data: bytes) -> None:
    try:
        pairs = parse_form(data)
    except BodyError:
        return
    assert parse_form(urlencode(pairs).encode()) == pairs


def attempt_media_type(data: bytes) -> None:
    found = parse_media_type(data)
    if found is None:
        return
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in found.parameters.values())
    parameters = "".join(f'; {name}="{value}"' for name, value in zip(found.parameters, quoted, strict=True))
    assert parse_media_type(f"{found.essence}{parameters}".encode("latin-1")) == found


TARGETS = (
    Target(
        "json bodies",
        attempt_json,
        (
            b'{"a": [1, -0, 1e2, 0.10, 12345678901234567890], "b": {"c": null, "d": true}}',
            b'"\\u00e9\\ud83d\\ude00\\n"',
            b'[[[[]]], {}, "\xc3\xa9"]',
        ),
        (
            b"{",
            b"[",
            b"]",
            b"}",
            b'"',
            b",",
            b":",
            b'"a":',
            b"\\ud800",
            b"NaN",
            b"Infinity",
            b"-",
            b"1e9999",
            b"0.",
            b"\xef\xbb\xbf",
            b"null",
            b"\\u0000",
            b"[" * 65,
            b'{"a":' * 65,
            b"\xed\xa0\x80",
            b"1e-1000",
        ),
    ),
    Target(
        "xml bodies",
        attempt_xml,
        (
            b'\x00<?xml version="1.0" encoding="UTF-8"?>'
            b'<a b="c"><d xmlns="urn:x">e &amp; &#x41;</d><!-- f --><?p i?></a>',
            b"\x01<a><b/></a>",
            b"\x03<a>\xe9</a>",
            b"\x04" + "<a>é</a>".encode("utf-16"),
        ),
        (
            b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>",
            b"&b;",
            b"<![CDATA[",
            b"]]>",
            b"<a>",
            b"</a>",
            b"<a xml:id='1'>",
            b"<a>" * 65,
            b"&#0;",
            b"xmlns:x='y'",
            b"<?xml version='1.0' encoding='utf-7'?>",
            b"<!--",
            b"-->",
            b"\xff\xfe",
            b"\xef\xbb\xbf",
        ),
    ),
    Target(
        "form bodies",
        attempt_form,
        (b"a=1&b=%C3%A9&a=+&c=", b"x", b"a=1;b=2"),
        (b"&", b"=", b"%", b"%zz", b"%ff", b"+", b";", b"a=1&" * 300),
    ),
    Target(
        "media types",
        attempt_media_type,
        (b"application/json; charset=utf-8", b'text/xml;a="b\\"c";d=e', b"application/soap+xml ; ; action=x"),
        (b";", b"=", b'"', b"\\", b"/", b" ", b"\t", b"charset=", b"+json", b"\xe9", b","),
    ),
)
