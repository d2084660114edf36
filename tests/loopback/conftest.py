"""A stage for each test over real sockets, and an authority for all of them."""

from __future__ import annotations

from toolkit.fixtures import authority, quick_collections, stage

__all__ = ["authority", "quick_collections", "stage"]
