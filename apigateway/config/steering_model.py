"""What steers part of an upstream's traffic: canaries, mirrors, sticky sessions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from apigateway.config.fields import CookieName, Duration, Percent, Secret, Settings, Size, Truth, Whole


class Compare(Settings):
    """When canaries do worse than primaries: their share of errors (5xx and no answer at all) is looked at."""

    window: Duration = Field(default=60.0, description="What is looked back on.")
    minimum: Whole = Field(default=20, ge=1, description="Exchanges of canaries in the window, before they are judged.")
    worse_by: Percent = Field(
        default=0.1, description="Of all exchanges: errors of canaries less those of primaries, more than this."
    )


class Canary(Settings):
    """How targets with `role: canary` are tried."""

    percent: Percent = Field(default=0.05, description="Of the exchanges, evenly spread.")
    cool_down: Duration = Field(
        default=60.0, description="Without canaries, after one was wanted and none was usable, or they did worse."
    )
    compare: Compare | None = Field(default=Compare(), description="When they do worse; null: never.")


class Mirror(Settings):
    """How requests are copied to targets with `role: mirror`. Their answers are thrown away."""

    percent: Percent = Field(default=1.0, description="Of the exchanges, evenly spread.")
    buffer: Size = Field(default=64 * 1024, description="Larger request bodies are not copied.")
    concurrent: Whole = Field(default=32, ge=1, description="Copies on their way at once; further ones are left out.")
    timeout: Duration = Field(default=30.0, description="For a copy, to the end of its answer.")


class Sticky(Settings):
    """Clients stay with the target that they had first, by a cookie."""

    cookie: CookieName | None = Field(default=None, description="Its name; one of the upstream's own, unless named.")
    secret: Secret = Field(description="Key of the signature, 16 characters or more; a reference, as ${env:NAME}.")
    previous_secret: Secret | None = Field(
        default=None, description="Cookies signed with this are good, too, and replaced: for changing the secret."
    )
    ttl: Duration | None = Field(default=None, description="Max-Age; none: until the browser is closed.")
    path: str = Field(default="/", description="Where the cookie counts.")
    same_site: Literal["lax", "strict", "none"] = Field(
        default="lax", description="Which sites' requests bring it; none: all, over TLS only."
    )
    secure: Literal["auto", "always", "never"] = Field(
        default="auto", description="Sent over TLS only; auto: where it was set over TLS."
    )
    forward: Truth = Field(default=False, description="Send the cookie on to the target.")
