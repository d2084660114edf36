"""How the wire says no: to the peer, and to ourselves."""

from __future__ import annotations

from apigateway.wire.message import Refusal


class LocalProtocolError(Exception):
    """We were about to write something that is not HTTP; the connection has to be aborted, not ended.

    A body longer or shorter than announced, a target with a space in it, a second head: the peer must
    never take the octets written so far for a whole message (RFC 9112 8).
    """


class Refused(Exception):
    """What the peer sent breaks a rule. Never leaves the machines: there it becomes an event."""

    def __init__(self, status: int, detail: str, section: str = "") -> None:
        self.refusal = Refusal(status, detail, section)
        super().__init__(detail)
