"""What a request costs where units are counted: a constant, or an expression over the exchange."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from apigateway.config.model import Whole
from apigateway.flow.exchange import Exchange
from apigateway.flow.expression import Expression, check_result, compile_expression
from apigateway.flow.faults import INTERNAL, Fault
from apigateway.flow.services import Services
from apigateway.ports.interfaces import IClock
from apigateway.ports.memory import ManualClock

MOST = 1_000_000_000
Cost = Annotated[Whole, Field(ge=0, le=MOST)] | Annotated[str, Field(min_length=1)]

# While settings are checked nobody has the time yet; it only matters then that `time` is a name.
_ANY_TIME = ManualClock()


class _WholeNumbers(type):
    """True and false are numbers to Python; a cost they are not."""

    def __instancecheck__(cls, value: object) -> bool:
        return value.__class__ is int


class _Whole(metaclass=_WholeNumbers):
    """What an expression for a cost gives."""


def check_cost(cost: Cost) -> None:
    """As a policy's constructor checks it; ValueError with the reason where it is not to be taken."""
    if isinstance(cost, str):
        _compiled(cost, _ANY_TIME, "default")


def cost_of(cost: Cost, services: Services) -> Callable[[Exchange], int] | None:
    """A function from an exchange to its cost, as `provision` makes it; None for a constant.

    It gives 0 <= cost <= MOST + 1, the last for everything that is more than any limit can be. Fault(INTERNAL) where
    the expression fails or gives anything but a whole number from 0 on: a cost that cannot be told must not be free.
    """
    if not isinstance(cost, str):
        return None
    expression = _compiled(cost, services.clock, services.environment)

    def asked(exchange: Exchange) -> int:
        value = expression.value(exchange)
        if value.__class__ is not int or value < 0:
            raise Fault(INTERNAL, private=f"cost {cost!r} gave {value!r}, not a whole number from 0 on")
        return min(value, MOST + 1)

    return asked


def _compiled(source: str, clock: IClock, environment: str) -> Expression:
    try:
        expression = compile_expression(source, clock=clock, environment=environment)
        if expression.needs_request_body:
            raise ValueError("the body of the request cannot be named here")
        check_result(expression, (_Whole,), "a whole number")
    except ValueError as error:
        raise ValueError(f"cost: {error}") from None
    return expression
