"""A buffered body, and what it says when it is read as JSON, XML or a form."""

from apigateway.body.error import BodyError
from apigateway.body.views import Body

__all__ = ["Body", "BodyError"]
