"""Every target there is."""

from __future__ import annotations

from fuzzing import body, config, flow, http1, outside, wire
from fuzzing.target import Target

TARGETS: tuple[Target, ...] = (
    *http1.TARGETS, *wire.TARGETS, *body.TARGETS, *config.TARGETS, *flow.TARGETS, *outside.TARGETS,
)  # fmt: skip
