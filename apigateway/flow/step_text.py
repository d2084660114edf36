"""Text with {CEL} in it, in the settings of a policy."""

from __future__ import annotations

from apigateway.flow.services import Services
from apigateway.flow.template import TextTemplate, compile_template
from apigateway.ports.memory import ManualClock

# While settings are checked nobody has the time yet; it only matters then that `time` is a name.
_ANY_TIME = ManualClock()


def checked_text(source: str, *, response_side: bool = False) -> TextTemplate:
    """A template as a policy's constructor checks it; ValueError with the reason where it is not to be taken.

    The body cannot be named: whoever needs it buffers it, and says so in its kind.
    """
    template = compile_template(source, response_side=response_side, clock=_ANY_TIME)
    if template.needs_request_body:
        raise ValueError(f"the body of the request cannot be named here: {source!r}")
    return template


def ready_text(source: str, services: Services, *, response_side: bool = False) -> TextTemplate:
    """The same as `provision` makes it, with the time and the name of the environment."""
    return compile_template(
        source, response_side=response_side, clock=services.clock, environment=services.environment
    )
