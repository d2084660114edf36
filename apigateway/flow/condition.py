"""Conditions: expressions that are true or false of an exchange."""

from __future__ import annotations

from zope.interface import implementer

from apigateway.flow.exchange import Exchange
from apigateway.flow.expression import Expression, check_result, compile_expression
from apigateway.flow.faults import INTERNAL, Fault
from apigateway.flow.interfaces import ICondition
from apigateway.ports.interfaces import IClock


@implementer(ICondition)
class Condition:
    """An expression whose result is a bool, or a Fault: a false `when` on a guard would let the request through."""

    __slots__ = ("_value", "needs_request_body", "needs_response", "source")

    def __init__(self, expression: Expression) -> None:
        """ValueError where the expression is seen to give something else than a bool."""
        check_result(expression, (bool,), "true or false")
        self.source = expression.source
        self.needs_request_body = expression.needs_request_body
        self.needs_response = expression.needs_response
        self._value = expression.value

    def holds(self, exchange: Exchange) -> bool:
        """Whether it is true of this exchange; Faults as Expression.value raises them."""
        value = self._value(exchange)
        if value is True:
            return True
        if value is False:
            return False
        raise Fault(INTERNAL, private=f"condition {self.source!r} gave {type(value).__name__}, not true or false")

    def __repr__(self) -> str:
        return f"Condition({self.source!r})"


def compile_condition(
    source: str, *, response_side: bool = False, clock: IClock | None = None, environment: str = "default"
) -> Condition:
    """Compile; arguments and ValueErrors as of compile_expression."""
    expression = compile_expression(source, response_side=response_side, clock=clock, environment=environment)
    return Condition(expression)
