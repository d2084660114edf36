"""XML: anything that could fetch, expand or exhaust is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from apigateway.body import BodyError
from apigateway.body.xml_view import parse_xml

LAUGHS = b"""<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">
<!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;"><!ENTITY e "&d;&d;&d;&d;&d;&d;&d;&d;">]><l a="&e;">&e;</l>"""


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE a><a/>",
        b"<!DOCTYPE a []><a/>",
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/x.dtd"><a/>',
        b'<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/x.dtd"><html/>',
        b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>',
        b'<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]><a/>',
        b"<!-- first --><!DOCTYPE a><a/>",
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><a/>'.encode("utf-16"),
        LAUGHS,
    ],
)
def test_any_doctype_is_refused(data: bytes) -> None:
    with pytest.raises(BodyError):
        parse_xml(data)


def test_a_file_is_never_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("top secret")
    data = f'<!DOCTYPE a [<!ENTITY e SYSTEM "{secret.as_uri()}">]><a>&e;</a>'.encode()
    with pytest.raises(BodyError, match="DOCTYPE") as caught:
        parse_xml(data)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"", b"  ", b"text", b"<a>", b"<a></b>", b"<a/><b/>", b"<a>&e;</a>", b"<a>\x00</a>", b"<a b='1' b='2'/>",
     b"<a>\xff</a>", b"<x:a/>", b"<a>" * 100_000, b'<?xml version="1.0" encoding="nonsense"?><a/>'],
)
def test_what_is_not_well_formed_is_refused(data: bytes) -> None:
    with pytest.raises(BodyError):
        parse_xml(data)


def test_depth() -> None:
    assert parse_xml(b"<a>" * 64 + b"</a>" * 64).tag == "a"
    with pytest.raises(BodyError, match="64 levels"):
        parse_xml(b"<a>" * 65 + b"</a>" * 65)


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        ("<a>é</a>".encode(), ""),
        ("<a>é</a>".encode(), "utf-8"),
        (b"\xef\xbb\xbf" + "<a>é</a>".encode(), "iso-8859-1"),
        ('<?xml version="1.0" encoding="utf-16"?><a>é</a>'.encode("utf-16"), ""),
        ("<a>é</a>".encode("latin-1"), "iso-8859-1"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><a>é</a>'.encode("latin-1"), ""),
        ('<?xml version="1.0" encoding="utf-8"?><a>é</a>'.encode("latin-1"), "iso-8859-1"),
    ],
)
def test_charset(data: bytes, charset: str) -> None:
    assert parse_xml(data, charset).text == "é"


def test_an_odd_charset_is_refused() -> None:
    with pytest.raises(BodyError, match="charset"):
        parse_xml(b"<a/>", "utf-7")
