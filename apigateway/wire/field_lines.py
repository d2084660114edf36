"""Whether field lines are what RFC 9112 5 allows, without a message around them."""

from __future__ import annotations

import re
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

# RFC 9110 5.5; obs-text is passed on as it is.
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
# A parser that tells nothing still refuses.
NO_CALLBACKS: Final = object()


class LineJudge:
    """llhttp, asked for lines instead of messages: it looks at sixteen octets at once, a pattern at one.

    The lines are put into a request without a body. After that the parser waits for the next one, so a single parser
    serves every connection; making one costs more than what it does here.
    """

    __slots__ = ("_parser",)

    def __init__(self) -> None:
        self._parser: Any = HttpRequestParser(NO_CALLBACKS)

    def accepts(self, lines: list[bytes]) -> bool:
        """Whether all are field lines. None of them may be about framing: no Content-Length, Transfer-Encoding,
        Connection, Proxy-Connection or Upgrade. No line may hold a CR or LF."""
        try:
            self._parser.feed_data(b"GET / HTTP/1.1\r\n%b\r\n\r\n" % b"\r\n".join(lines))
        except (HttpParserError, HttpParserUpgrade):
            self._parser = HttpRequestParser(NO_CALLBACKS)
            return False
        return True


def valid_value(value: bytes) -> bool:
    """Whether a field value holds no control character."""
    return _VALUE.fullmatch(value) is not None
