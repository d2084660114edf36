"""For authors of policies: a gateway in memory, builders, and the checks that every kind has to pass.

The program itself never imports this package; `apigateway test-policy` does.
"""

from apigateway.testing.builders import exchange, request, response
from apigateway.testing.contract import conformance
from apigateway.testing.examples import ExampleResult, run_examples
from apigateway.testing.harness import Answer, Gateway, Sent

__all__ = [
    "Answer",
    "ExampleResult",
    "Gateway",
    "Sent",
    "conformance",
    "exchange",
    "request",
    "response",
    "run_examples",
]
