"""XML without what makes it dangerous."""

from __future__ import annotations

from typing import Any

from lxml import etree  # type: ignore[import-untyped]

from apigateway.body.error import MAX_DEPTH, BodyError, check_size

_CHARSETS = ("", "utf-8", "us-ascii", "iso-8859-1", "utf-16", "utf-16le", "utf-16be")
_TOO_DEEP = etree.XPath("boolean(" + "/*" * (MAX_DEPTH + 1) + ")")


def parse_xml(data: bytes, charset: str = "") -> Any:
    """The root element (lxml) of a document. Steps share it: look, and change nothing.

    charset: what Content-Type says, which outranks the XML declaration but not a byte order mark (RFC 7303 3.2).
    Refused with a BodyError: what is not well-formed, any DOCTYPE whether it is harmless or not, more than 64 levels,
    charsets other than Unicode's and ISO 8859-1, more than MAX_PARSED octets. Nothing is ever fetched or expanded.
    """
    check_size(data)
    if charset not in _CHARSETS:
        raise BodyError("the charset of the body is not supported for XML")
    marked = data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"))
    parser = _PARSER if marked or not charset else _parser(charset)
    try:
        root = etree.fromstring(data, parser)
    except (etree.LxmlError, ValueError):
        raise BodyError("the body is not well-formed XML") from None
    # A hardened parser drops an external entity in silence, so it is not enough to harden it.
    docinfo = root.getroottree().docinfo
    if docinfo.doctype or docinfo.internalDTD is not None:
        raise BodyError("XML with a DOCTYPE is not accepted")
    if _TOO_DEEP(root):
        raise BodyError(f"XML nested more than {MAX_DEPTH} levels deep")
    return root


def _parser(charset: str | None) -> etree.XMLParser:
    return etree.XMLParser(
        encoding=charset,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        huge_tree=False,
        recover=False,
        collect_ids=False,
    )


_PARSER = _parser(None)
