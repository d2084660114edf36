"""The last configuration that served, on disk, so that a worker can start when its file is broken or gone.

One line that names the format and the SHA-256 of what follows, then JSON. References stand in it unresolved:
no secret is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

from apigateway.config.load import configuration_of
from apigateway.config.model import Configuration
from apigateway.config.revision import text_of
from apigateway.errors import ConfigurationRefused, Problem

# Seconds after which a file that is not in its place yet is somebody's who was killed.
_STALE_AFTER = 60.0
_FORMAT = "apigateway-last-good 1 sha256="


def store(path: str | Path, configuration: Configuration) -> None:
    """Put a configuration in the place of the one stored before, whole or not at all; mode 0600.

    Its paths should be absolute (paths.absolute), since they will be read from another folder. Safe against a
    loss of power: file and folder are synced. Of several processes that do, the last one's stays; one writer at a
    time in each. Raises OSError.
    """
    path = Path(path)
    text = written(configuration)
    line = f"{_FORMAT}{hashlib.sha256(text).hexdigest()}\n".encode()
    passing = path.with_name(f".{path.name}.{os.getpid()}.new")
    passing.unlink(missing_ok=True)  # left by one of this number that was killed
    try:
        _write_synced(passing, line + text + b"\n")
        _remove_stale(passing, f".{path.name}.*new")
        passing.replace(path)
    except OSError:
        passing.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def load(path: str | Path) -> Configuration:
    """The configuration stored last. Raises ConfigurationRefused where there is none, or a damaged one."""
    path = Path(path)
    try:
        first, _, rest = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise _refused(path, f"the last good configuration cannot be read: {error.strerror}") from error
    text = rest.removesuffix(b"\n")
    if not first.startswith(_FORMAT.encode()):
        raise _refused(path, "this is no last good configuration of a format that is known")
    if first.decode("ascii", "replace") != f"{_FORMAT}{hashlib.sha256(text).hexdigest()}":
        raise _refused(path, "the last good configuration is damaged: its checksum does not match")
    try:
        return read(text)
    except (ValueError, RecursionError) as error:
        raise _refused(path, "the last good configuration is not JSON") from error


def written(configuration: Configuration) -> bytes:
    """The JSON in which a configuration is kept, or passed on to another process."""
    return text_of(configuration).encode()


def read(text: bytes) -> Configuration:
    """The configuration that was written. Raises ValueError where it is no JSON, or ConfigurationRefused."""
    return configuration_of(json.loads(text))


def _refused(path: Path, message: str) -> ConfigurationRefused:
    return ConfigurationRefused([Problem("", message, str(path))])


def _write_synced(path: Path, octets: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(octets)
        stream.flush()
        os.fsync(stream.fileno())


def _remove_stale(passing: Path, names: str) -> None:
    """Remove what writers left behind that were killed: it is much older than what was just written. Who has a number
    that is not known here may write all the same, in a container of its own."""
    now = passing.stat().st_mtime
    for other in passing.parent.glob(names):
        with contextlib.suppress(OSError):
            if other.stat().st_mtime < now - _STALE_AFTER:
                other.unlink()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
