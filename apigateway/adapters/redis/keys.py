"""How keys are called in the server.

    apigateway:ENVIRONMENT:{OWNER}:KIND:REST

A port's key is "ENVIRONMENT/a/b/rest", where a/b begins the place of a step: "api/NAME", or "gateway/STEP". OWNER is
"a/b": the keys of one call have that in common, and most of one exchange do, so that Redis Cluster would keep them
together. A key that is not made so is OWNER itself, and has no REST.
KIND: "s", "f" or "b" and the period in seconds for a counter of a limit (sliding window, fixed window, bucket), "v" for
a value, "l" for leases, "q" for quotas.
"""

from __future__ import annotations

import re

VALUE = "v"
LEASES = "l"
QUOTA = "q"
ALGORITHMS = {"sliding-window": "s", "fixed-window": "f", "token-bucket": "b"}

# What means something in a pattern of SCAN.
_SPECIAL = re.compile(rb"([*?\[\]\\^])")


def number(value: float) -> str:
    """The shortest text that is this number."""
    return repr(float(value)).removesuffix(".0")


class Keys:
    """Names of the keys of an environment."""

    __slots__ = ("_environment", "_prefix")

    def __init__(self, environment: str) -> None:
        self._environment = environment
        self._prefix = f"apigateway:{environment}:{{"

    def name(self, kind: str, key: str) -> bytes:
        """The name of a port's key. Characters that are no UTF-8 (octets of a client) stay apart."""
        parts = key.split("/", 3)
        if len(parts) == 4 and parts[0] == self._environment:
            text = f"{self._prefix}{parts[1]}/{parts[2]}}}:{kind}:{parts[3]}"
        else:
            text = f"{self._prefix}{key}}}:{kind}"
        return text.encode("utf-8", "surrogatepass")

    def key(self, kind: str, name: bytes) -> str | None:
        """The port's key that has this name; None for what is of another kind."""
        text = name.decode("utf-8", "surrogatepass").removeprefix(self._prefix)
        owner, _, behind = text.partition("}:")
        if behind.startswith(f"{kind}:"):
            return f"{self._environment}/{owner}/{behind[len(kind) + 1:]}"
        return text.removesuffix(f"}}:{kind}") if text.endswith(f"}}:{kind}") else None

    def pattern(self, kind: str, prefix: str) -> bytes:
        """A pattern of SCAN that all names of keys match that begin so, and perhaps some others."""
        begin = self.name(kind, prefix) if prefix.count("/") >= 3 else self._prefix.encode()
        return _SPECIAL.sub(rb"\\\1", begin) + b"*"
