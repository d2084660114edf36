"""Certificates and their keys, read from PEM files and checked before anything serves them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

Stamp = tuple[int, int, int] | None
"""What tells one state of a file from another: mtime in ns, size, inode; None where there is no file."""


class CertificateRefused(ValueError):
    """A certificate file that cannot be used; says which file and why, in one sentence."""


class NotPem(CertificateRefused):
    """A file that does not hold what it should, or cannot be read."""


class KeyMismatch(CertificateRefused):
    """A private key that does not belong to the certificate beside it."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate with its chain and its key, as they were in their files at one moment.

    names: DNS names it is for, lower-case, "*." in front of a wildcard; the subject's CN only where it has no
    subjectAltName (RFC 9525 6.3 does away with the CN; old private CAs still live by it).
    fingerprint: hex of SHA-256 of the leaf, DER.
    """

    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    serial: int
    fingerprint: str
    cert_path: str
    key_path: str
    chain_pem: bytes = field(repr=False)
    key_pem: bytes = field(repr=False)

    def expired(self, now: datetime) -> bool:
        """Whether it is over at `now` (with a time zone). It is served all the same, and flagged."""
        return now > self.not_after


def load_pair(cert_path: str, key_path: str) -> Certificate:
    """Read a chain (PEM, the leaf first) and its key, and make sure that they belong together.

    Raises NotPem or KeyMismatch, both CertificateRefused. A renewal that is under way between the two reads
    is told by the files' stamps, and read again.
    """
    chain_pem, key_pem = _read_at_one_moment(cert_path, key_path)
    leaf = _leaf(cert_path, chain_pem)
    if _public_key(cert_path, leaf) != _public_half(key_path, key_pem):
        raise KeyMismatch(f"{key_path}: this key does not belong to the certificate in {cert_path}")
    return Certificate(
        names=_names(leaf),
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        serial=leaf.serial_number,
        fingerprint=leaf.fingerprint(SHA256()).hex(),
        cert_path=cert_path,
        key_path=key_path,
        chain_pem=chain_pem,
        key_pem=key_pem,
    )


def read_pem(path: str) -> bytes:
    """The octets of a file. Raises NotPem where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise NotPem(f"{path}: {exc.strerror}") from exc


def _read_at_one_moment(cert_path: str, key_path: str) -> tuple[bytes, bytes]:
    for _ in range(3):
        before = (stamp(cert_path), stamp(key_path))
        pair = (read_pem(cert_path), read_pem(key_path))
        if before == (stamp(cert_path), stamp(key_path)):
            break
    return pair  # files that change without end: what was read last, and whether it is a pair is checked next


def _leaf(path: str, pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError as exc:
        raise NotPem(f"{path}: no certificate in PEM can be read from this file") from exc


def _public_key(path: str, leaf: x509.Certificate) -> bytes:
    try:
        return leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise NotPem(f"{path}: the certificate's kind of key is not known") from exc


def _public_half(path: str, pem: bytes) -> bytes:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as exc:
        raise NotPem(
            f"{path}: the private key is encrypted; nobody is there to be asked for its password"
        ) from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise NotPem(f"{path}: no private key in PEM can be read from this file") from exc
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    with suppress(x509.ExtensionNotFound):
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return tuple(name.lower() for name in alternative.get_values_for_type(x509.DNSName))
    common = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return tuple(str(attribute.value).lower() for attribute in common)


def stamp(path: str) -> Stamp:
    """The state of a file now, through symbolic links (a mounted secret is renewed by moving one)."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class CertificateFiles:
    """Tells whether any of some files changed since it was last asked.

    Make it before the files are read, so that no change between the two is lost.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._stamps = {path: stamp(path) for path in paths}

    def changed(self) -> bool:
        """Whether a file was replaced, rewritten, removed or came back since the last call; once per change."""
        now = {path: stamp(path) for path in self._stamps}
        before, self._stamps = self._stamps, now
        return now != before
