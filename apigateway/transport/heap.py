"""How the C library keeps the buffers of connections apart."""

from __future__ import annotations

import ctypes

# <malloc.h> of glibc.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3

APART = 256 * 1024
"""Octets from which on a block of memory is mapped for itself: as many as uvloop takes to read TLS into."""
KEPT = 1024 * 1024
"""Octets at the top of the heap that are kept for the next who asks."""


def keep_large_blocks_apart() -> None:
    """Have every block of APART or more mapped for itself, for as long as the process lives. Nothing without glibc.

    glibc does so until one of them is freed, then takes blocks of that size from the heap, too. But uvloop has one of
    256 KiB for each TLS connection, uses a page of it, and has it lie on the pages that the handshake before has
    written to: an idle connection held 48 KiB, and holds 32 this way.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    set_option(_MMAP_THRESHOLD, APART)
    # It follows the other until that is set; at its default every read of a large body would grow the heap and give
    # it back (830 instead of 500 us of processor time for a MiB).
    set_option(_TRIM_THRESHOLD, KEPT)
