"""CEL expressions over an exchange, compiled once and cheap to evaluate.

What an evaluation may cost is bounded when it is compiled, since the engine sets no limit: at most 4 KiB of source;
four macros (all, exists, exists_one; map and filter copy their result at each item and are refused), none inside
another; patterns of `matches()` written out, and matched in linear time by RE2. While it is evaluated, a map, list or
body of more than 1000 values is a Fault, and only what an expression names of a body counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from apigateway.flow.cel_alone import cel
from apigateway.flow.exchange import Connection, Exchange
from apigateway.flow.expression_names import MAX_SOURCE, Names
from apigateway.flow.faults import INTERNAL, Fault
from apigateway.flow.variables import NOTHING_AROUND, Surroundings, variables
from apigateway.ports.interfaces import IClock
from apigateway.ports.local_cache import CACHES
from apigateway.wire.headers import Headers
from apigateway.wire.message import Request, Response

# A configuration of a thousand Apis has about ten thousand, of 6 KB each.
_COMPILED = CACHES.cache("expressions", 20_000)
_PLACE = re.compile(r"<input>:(\d+):(\d+): (?:Syntax error: )?(.*)")


class Expression:
    """A compiled expression.

    source: as written. needs_request_body: names request.json or request.xml. needs_response: names the response.
    """

    __slots__ = ("_execute", "_functions", "_getters", "needs_request_body", "needs_response", "source")

    def __init__(self, source: str, around: Surroundings = NOTHING_AROUND) -> None:
        """ValueError with the reason where the source is not to be taken."""
        if len(source) > MAX_SOURCE:
            raise ValueError(f"an expression of more than {MAX_SOURCE} characters")
        # First as written, so that what is said about the syntax is about what its author sees.
        _check_syntax(source)
        names = Names(source, variables(around))
        self.source = source
        self.needs_request_body = names.needs_body
        self.needs_response = names.needs_response
        self._getters = tuple(names.getters.items())
        self._functions = tuple(names.functions.items())
        self._execute = cel.compile(names.source).execute

    def value(self, exchange: Exchange) -> Any:
        """What it gives: bool, int, float, str, bytes, list, dict, datetime, timedelta or None.

        Fault(INTERNAL) where it fails, its private text telling why; Fault(BAD_REQUEST) where the body that it names
        cannot be read, or it would have to look at too much. As CEL has it, a failure on one side of && or || does
        not count where the other side alone decides; an unreadable body always does, and so does what is no text
        where a pattern is matched or a name looked up.
        """
        given: dict[str, Any] = {name: get(exchange) for name, get in self._getters}
        if self._functions:
            return self._value_by_calls(given, exchange)
        try:
            return self._execute(given)
        except BaseException as error:
            raise self._fault(error) from error

    def _value_by_calls(self, given: dict[str, Any], exchange: Exchange) -> Any:
        faults: list[Fault] = []

        def noting_faults(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any) -> Any:
                # What leaves a call is logged by the engine, with what the client sent: so nothing does.
                try:
                    return call(*arguments)
                except Fault as fault:
                    faults.append(fault)
                except Exception as error:
                    faults.append(self._fault(error))
                return None

            return called

        for name, make in self._functions:
            given[name] = noting_faults(make(exchange))
        try:
            value = self._execute(given)
        except BaseException as error:
            raise (faults[0] if faults else self._fault(error)) from error
        if faults:
            raise faults[0]
        return value

    def _fault(self, error: BaseException) -> Fault:
        # A panic of the engine is no Exception, and is as much its failure as any other error.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise error
        return Fault(INTERNAL, private=f"expression {self.source!r}: {error}")


def compile_expression(
    source: str, *, response_side: bool = False, clock: IClock | None = None, environment: str = "default"
) -> Expression:
    """Compile; ValueError with the reason for a syntax error, an unknown name (with the nearest one) or too much work.

    response_side: the response may be named. clock: what `time.now` reads; without one `time` is unknown.
    environment: what `env` reads.
    """
    return expression_of(source, Surroundings(response_side, clock, environment))


def expression_of(source: str, around: Surroundings) -> Expression:
    """The same; one that was compiled before is taken from the cache "expressions". Compiling takes 60 to 200 us, and a
    reload would do it again for everything that stayed as it was."""
    key = (source, around)
    expression: Expression | None = _COMPILED.get(key)
    if expression is None:
        expression = Expression(source, around)
        _COMPILED.put(key, expression)
    return expression


def _check_syntax(source: str) -> None:
    try:
        cel.compile(source)
    except ValueError as error:
        # The engine shows the source again with each thing that it says.
        told = _PLACE.search(str(error))
        raise ValueError(f"line {told[1]}, character {told[2]}: {told[3]}" if told else str(error)) from None


def check_result(expression: Expression, wanted: tuple[type, ...], what: str) -> None:
    """Try it on an empty exchange, so that a result of the wrong kind is found now and not by a client.

    ValueError where it gives none of the types wanted, or compares or adds what cannot be. Other failures say
    nothing: a parameter that is not there now is there later.
    """
    if expression.needs_request_body:
        return
    exchange = Exchange("", Request(b"GET", b"/", Headers()), Connection(), "", 0.0)
    exchange.response = Response(200, Headers())
    try:
        value = expression.value(exchange)
    except Fault as fault:
        if isinstance(fault.__cause__, TypeError):
            raise ValueError(f"cannot be evaluated: {fault.__cause__}") from None
        return
    if isinstance(value, wanted):
        return
    raise ValueError(f"gives {type(value).__name__}, not {what}")
