"""Text with {CEL} in it."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Any

from zope.interface import implementer

from apigateway.flow.exchange import Exchange
from apigateway.flow.expression import Expression, check_result, expression_of
from apigateway.flow.expression_tokens import next_token
from apigateway.flow.faults import BAD_REQUEST, INTERNAL, Fault
from apigateway.flow.interfaces import ITextTemplate
from apigateway.flow.variables import Surroundings
from apigateway.ports.interfaces import IClock

_LITERAL = re.compile(r"(?:[^{}]|\{\{|\}\})+")
# What a field value cannot hold (RFC 9110 5.5): nothing a client sent may end the line it is written into.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_RENDERED = (str, bool, int, float, datetime)


@implementer(ITextTemplate)
class TextTemplate:
    """Literal text and expressions in braces; "{{" and "}}" stand for braces.

    source: as written. constant: the text where there is no expression in it, else None. needs_request_body,
    needs_response: as of its expressions.
    """

    __slots__ = ("_parts", "constant", "needs_request_body", "needs_response", "source")

    def __init__(self, source: str, around: Surroundings) -> None:
        """ValueError with the reason where braces do not pair or an expression is not to be taken."""
        self.source = source
        self._parts = _parse(source, around)
        expressions = [part for part in self._parts if isinstance(part, Expression)]
        self.constant = None if expressions else "".join(part for part in self._parts if isinstance(part, str))
        self.needs_request_body = any(expression.needs_request_body for expression in expressions)
        self.needs_response = any(expression.needs_response for expression in expressions)

    def render(self, exchange: Exchange) -> str:
        """The text: bools as true and false, whole numbers without a fraction, times as RFC 3339.

        Faults as Expression.value raises them; Fault(BAD_REQUEST) where a value holds a control character (a line
        break above all), Fault(INTERNAL) where one is no text, number, bool or time.
        """
        if self.constant is not None:
            return self.constant
        return "".join(
            [part if isinstance(part, str) else _rendered(part, part.value(exchange)) for part in self._parts]
        )

    def __repr__(self) -> str:
        return f"TextTemplate({self.source!r})"


def compile_template(
    source: str, *, response_side: bool = False, clock: IClock | None = None, environment: str = "default"
) -> TextTemplate:
    """Compile; arguments and ValueErrors as of compile_expression."""
    return TextTemplate(source, Surroundings(response_side, clock, environment))


def _parse(source: str, around: Surroundings) -> list[str | Expression]:
    parts: list[str | Expression] = []
    at = 0
    while at < len(source):
        literal = _LITERAL.match(source, at)
        if literal is not None:
            parts.append(literal[0].replace("{{", "{").replace("}}", "}"))
            at = literal.end()
        elif source[at] == "}":
            raise ValueError(f"a lone '}}' at character {at + 1}; write '}}}}' for a brace")
        else:
            end = _end_of_expression(source, at)
            expression = expression_of(source[at + 1 : end].strip(), around)
            check_result(expression, _RENDERED, "text")
            parts.append(expression)
            at = end + 1
    return parts


def _end_of_expression(source: str, begin: int) -> int:
    """Where the brace stands that closes the one at `begin`; braces in strings do not count."""
    depth = 0
    at = begin
    while at < len(source):
        token, after = next_token(source, at)
        if token is not None and token.text in ("{", "}"):
            depth += 1 if token.text == "{" else -1
            if depth == 0:
                return at
        at = after
    raise ValueError(f"'{{' at character {begin + 1} is never closed; write '{{{{' for a brace")


def _rendered(expression: Expression, value: Any) -> str:
    if isinstance(value, str):
        if _CONTROL.search(value) is not None:
            raise Fault(
                BAD_REQUEST,
                public="The request holds a control character where none can be",
                private=f"expression {expression.source!r} gave a control character",
            )
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    raise Fault(INTERNAL, private=f"expression {expression.source!r} gave {type(value).__name__}, which is no text")
