"""What this machine has too little of, for which no target is to blame."""

from __future__ import annotations

import errno
from typing import Final

# Descriptors (of the process, of the system), memory, buffers; EADDRNOTAVAIL: connect(2) found no free local port.
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})


def short_of(error: BaseException | None) -> bool:
    """Whether a connect failed for want of something here, before the target was asked.

    Looked for in the error and in what caused it: Twisted's ConnectError keeps the number as osError.
    """
    cause = error
    while cause is not None:
        if getattr(cause, "osError", None) in _OURS or getattr(cause, "errno", None) in _OURS:
            return True
        cause = cause.__cause__
    return False
