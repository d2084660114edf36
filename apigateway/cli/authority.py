"""A certificate authority for development: EC keys, PEM files in one folder."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 825


class Authority:
    """Signs certificates and writes them, with their keys, into its folder. path: of its own certificate."""

    def __init__(self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, days: int) -> None:
        self.path = folder / "ca.pem"
        self._folder = folder
        self._certificate = certificate
        self._key = key
        self._days = days

    @classmethod
    def of_folder(cls, folder: Path, *, days: int = 90) -> Authority:
        """The authority of a folder; both are made where they are not there.

        days: how long what it issues is valid. OSError and ValueError where its files cannot be used.
        """
        certificate_file, key_file = folder / "ca.pem", folder / "ca.key"
        if certificate_file.exists() and key_file.exists():
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{key_file} is not a key of dev-certs")
            return cls(folder, x509.load_pem_x509_certificate(certificate_file.read_bytes()), key, days)
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = _common_name("apigateway development CA")
        builder = _builder(name, name, key, CA_DAYS).add_extension(x509.BasicConstraints(True, 0), critical=True)
        certificate = builder.add_extension(_key_usage(signs=True), critical=True).sign(key, hashes.SHA256())
        _write(folder / "ca", [certificate], key)
        return cls(folder, certificate, key, days)

    def issue_server(self, name: str) -> Path:
        """Write the certificate and key of a server; the path of the certificate. name: a DNS name or IP address."""
        alternative: x509.GeneralName
        try:
            alternative = x509.IPAddress(ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        file = self._folder / name.replace("*", "wildcard").replace(":", "-")
        return self._issue(file, name, alternative, ExtendedKeyUsageOID.SERVER_AUTH)

    def issue_client(self, name: str) -> Path:
        """Write the certificate and key of a client; the path of the certificate."""
        return self._issue(self._folder / name, name, x509.DNSName(name), ExtendedKeyUsageOID.CLIENT_AUTH)

    def _issue(
        self, file: Path, name: str, alternative: x509.GeneralName, usage: x509.ObjectIdentifier
    ) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self._key.public_key()
        certificate = (
            _builder(_common_name(name), self._certificate.subject, key, self._days)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .add_extension(x509.BasicConstraints(False, None), critical=True)
            .add_extension(_key_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _write(file, [certificate, self._certificate], key)


def _common_name(text: str) -> x509.Name:
    # RFC 5280 allows 64 characters; names are compared by the alternative name anyway.
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # An hour back: clocks of two machines differ.
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs, crl_sign=signs, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _write(file: Path, chain: list[x509.Certificate], key: ec.EllipticCurvePrivateKey) -> Path:
    """FILE.pem and FILE.key, the key first and for its owner only."""
    pem = serialization.Encoding.PEM
    key_file = Path(f"{file}.key")
    with contextlib.suppress(FileNotFoundError):
        key_file.unlink()
    descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as stream:
        plain = serialization.NoEncryption()
        stream.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    path = Path(f"{file}.pem")
    path.write_bytes(b"".join(certificate.public_bytes(pem) for certificate in chain))
    return path
