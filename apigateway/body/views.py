"""A body in memory, read at most once as each of the things it may be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apigateway.body.error import BodyError
from apigateway.body.form_view import parse_form
from apigateway.body.json_view import parse_json
from apigateway.body.media_type import MediaType, parse_media_type
from apigateway.body.xml_view import parse_xml


class Body:
    """A whole body, its codings removed.

    data: its octets; set it to change the body, and the views are made anew. Views are made when first asked for and
    shared between steps, which look and change nothing in them. A view raises BodyError, each time with the same
    text and without trying again, where the body is not of that form, or is larger than 256 KiB: such a one is not
    parsed on the reactor, since parsers hold the interpreter.
    """

    __slots__ = ("_data", "_views", "content_type")

    def __init__(self, data: bytes, content_type: bytes | None = None) -> None:
        self._data = data
        self.content_type = content_type
        self._views: dict[str, Any] = {}

    @property
    def data(self) -> bytes:
        """The octets."""
        return self._data

    @data.setter
    def data(self, data: bytes) -> None:
        self._data = data
        self._views = {}

    @property
    def media_type(self) -> MediaType | None:
        """What Content-Type says, or None where it says nothing that can be understood."""
        return None if self.content_type is None else parse_media_type(self.content_type)

    @property
    def json(self) -> Any:
        """The JSON value; numbers keep their digits (parse_json)."""
        return self._view("json", lambda data: parse_json(data, self._charset()))

    @property
    def xml(self) -> Any:
        """The root element (parse_xml)."""
        return self._view("xml", lambda data: parse_xml(data, self._charset()))

    @property
    def form(self) -> tuple[tuple[str, str], ...]:
        """The fields of the form (parse_form)."""
        fields: tuple[tuple[str, str], ...] = self._view("form", parse_form)
        return fields

    def _charset(self) -> str:
        media_type = self.media_type
        return "" if media_type is None else media_type.charset

    def _view(self, name: str, parse: Callable[[bytes], Any]) -> Any:
        if name not in self._views:
            try:
                self._views[name] = parse(self._data)
            except BodyError as error:
                self._views[name] = error
        view = self._views[name]
        if isinstance(view, BodyError):
            raise BodyError(*view.args)
        return view
