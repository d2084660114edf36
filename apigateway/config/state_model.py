"""The settings of the shared state: a url, or a url with what does not fit in one."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, SecretStr
from pydantic_core import CoreSchema

from apigateway.config.fields import CertificateFiles, Duration, FilePath, Secret, Settings
from apigateway.config.state_url import StateUrl, parse_state_url, split_password


class State(Settings):
    """Where what workers share is kept. A url alone may stand in the place of all of it."""

    url: Annotated[str, Field(min_length=1)] = Field(
        default="memory:",
        description='"memory:": each process has its own; "redis://[user@]host[:port][/db]", "rediss://…" (TLS, '
        'verified), "redis+unix:///path[?db=N]", "redis+sentinel://[user@]host[:port],…/service[/db]".',
    )
    password: Secret | None = Field(
        default=None, description="Of the user; may be written in the url, as user:password@, instead."
    )
    sentinel_password: Secret | None = Field(default=None, description="Where Sentinels want one of their own.")
    timeout: Duration = Field(
        default=0.03, description="The longest that a request waits for an answer; then on_store_failure."
    )
    ca: FilePath | None = Field(
        default=None, description="Path of the CAs to believe, PEM; the system's unless named. With rediss://."
    )
    certificate: CertificateFiles | None = Field(
        default=None, description="Shown to a server that asks for one. With rediss://."
    )

    @property
    def remote(self) -> bool:
        """Whether workers share it."""
        return self.url != "memory:"

    @property
    def where(self) -> StateUrl:
        """The url, read. ValueError where it is none: see check_process."""
        return parse_state_url(self.url)


def read_state(value: object) -> object:
    """What a file may write, as the settings: a text is a url. A password is taken out of the url before anything can
    show it. ValueError where there are two."""
    given: Any = {"url": value} if isinstance(value, str) else value
    if not isinstance(given, dict) or not isinstance(given.get("url"), str):
        return given
    url, password = split_password(given["url"])
    if password is None:
        return given
    if given.get("password") is not None:
        raise ValueError("there are two passwords, one of them in the url")
    return {**given, "url": url, "password": SecretStr(password)}


class _OrUrl:
    """Says in the JSON Schema that a text will do."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


StateOrUrl = Annotated[State, BeforeValidator(read_state), _OrUrl()]
