"""What a failed connect says of this machine, and what of the target."""

from __future__ import annotations

import errno

import pytest
from twisted.internet import error

from apigateway.dataplane.shortage import short_of
from apigateway.transport.connecting import connect_error


def caused(number: int) -> Exception:
    """An error of the loop's, as the endpoints pass it on."""
    failed = connect_error(OSError(number, "said the kernel"), tls=False)
    assert isinstance(failed, Exception)
    return failed


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL])
def test_what_is_missing_here(number: int) -> None:
    assert short_of(caused(number)) and short_of(OSError(number, "as it is"))
    outer = ValueError("in other words")
    outer.__cause__ = caused(number)
    assert short_of(outer)


@pytest.mark.parametrize(
    "failed",
    [
        caused(errno.ECONNREFUSED), caused(errno.EHOSTUNREACH), caused(errno.ETIMEDOUT), caused(errno.ECONNRESET),
        error.TimeoutError(), error.ConnectError(), ValueError("24"),
    ],
    ids=repr,
)  # fmt: skip
def test_what_the_target_or_the_way_to_it_lacks(failed: Exception) -> None:
    assert not short_of(failed)
