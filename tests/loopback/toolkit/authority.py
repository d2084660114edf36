"""Certificates for the tests, by an authority of theirs."""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme
from cryptography import x509


class Authority:
    """Signs, writes pairs of files, and makes the contexts of those who believe it."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def issue(self, *names: str, expired: bool = False) -> trustme.LeafCert:
        """A certificate; expired: it ended an hour ago."""
        ends = datetime.now(UTC) + (timedelta(hours=-1) if expired else timedelta(days=1))
        return self.ca.issue_cert(*names, not_before=datetime(2000, 1, 1, tzinfo=UTC), not_after=ends)

    def pair(self, folder: Path, file: str, *names: str, expired: bool = False) -> dict[str, str]:
        """A certificate and its key as files, for a configuration."""
        issued = self.issue(*names, expired=expired)
        return write_pair(folder, file, issued, issued)

    def server(self, *names: str) -> ssl.SSLContext:
        """A context for an origin."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.issue(*names).configure_cert(context)
        return context

    def client(self, identity: str | None = None) -> ssl.SSLContext:
        """A context that believes the authority, and shows a certificate for an identity."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.ca.configure_trust(context)
        if identity is not None:
            self.issue(identity).configure_cert(context)
        return context


def write_pair(folder: Path, file: str, cert: trustme.LeafCert, key: trustme.LeafCert) -> dict[str, str]:
    """Write a chain and a key, each by renaming: nobody reads half of one."""
    paths = {"cert": folder / f"{file}.pem", "key": folder / f"{file}.key"}
    chain = b"".join(blob.bytes() for blob in cert.cert_chain_pems)
    for path, content in ((paths["key"], key.private_key_pem.bytes()), (paths["cert"], chain)):
        new = path.with_suffix(path.suffix + ".new")
        new.write_bytes(content)
        os.replace(new, path)
    return {name: str(path) for name, path in paths.items()}


def blind_client() -> ssl.SSLContext:
    """A context that takes any certificate: what a test wants to see then is which."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def served_certificate(tls: ssl.SSLObject) -> x509.Certificate:
    """What a server showed."""
    return x509.load_der_x509_certificate(tls.getpeercert(True) or b"")


def names_of(certificate: x509.Certificate) -> list[str]:
    """The DNS names in a certificate."""
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)
