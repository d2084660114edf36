"""Certificate files: read at one moment, checked, watched."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from apigateway.dataplane import certificates
from apigateway.dataplane.certificates import (
    CertificateFiles,
    CertificateRefused,
    KeyMismatch,
    NotPem,
    load_pair,
    read_pem,
)

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def write(folder: Path, leaf: trustme.LeafCert, name: str = "a") -> tuple[str, str]:
    """Certificate and key as files, put in place by rename."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    for path, pem in (
        (cert, b"".join(p.bytes() for p in leaf.cert_chain_pems)),
        (key, leaf.private_key_pem.bytes()),
    ):
        new = path.with_suffix(".new")
        new.write_bytes(pem)
        new.rename(path)
    return str(cert), str(key)


def test_what_a_pair_tells(authority: trustme.CA, tmp_path: Path) -> None:
    leaf = authority.issue_cert("A.test", "*.b.test", "10.0.0.1", not_after=NOW + timedelta(days=3))
    paths = write(tmp_path, leaf)
    pair = load_pair(*paths)
    parsed = x509.load_pem_x509_certificate(leaf.cert_chain_pems[0].bytes())
    assert pair.names == ("a.test", "*.b.test")
    assert pair.serial == parsed.serial_number
    assert pair.fingerprint == parsed.fingerprint(SHA256()).hex()
    assert (pair.cert_path, pair.key_path) == paths
    assert pair.not_after - NOW < timedelta(days=3, seconds=1)
    assert "PRIVATE" not in repr(pair)


def test_an_expired_one_is_loaded_and_says_so(authority: trustme.CA, tmp_path: Path) -> None:
    leaf = authority.issue_cert(
        "a.test", not_before=NOW - timedelta(days=2), not_after=NOW - timedelta(days=1)
    )
    pair = load_pair(*write(tmp_path, leaf))
    assert pair.expired(NOW)
    assert not pair.expired(NOW - timedelta(hours=25))


def self_signed(folder: Path, common_name: str, san: list[str] | None) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if san is not None:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.DNSName(n) for n in san]), critical=False
        )
    certificate = builder.sign(key, SHA256())
    (folder / "own.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (folder / "own.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        if common_name == "locked"
        else key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return str(folder / "own.pem"), str(folder / "own.key")


@pytest.mark.parametrize(
    ("san", "names"),
    [(None, ("old.test",)), (["new.test"], ("new.test",)), ([], ())],
    ids=["cn", "san", "empty san"],
)
def test_the_common_name_counts_only_without_alternatives(
    tmp_path: Path, san: list[str] | None, names: tuple[str, ...]
) -> None:
    assert load_pair(*self_signed(tmp_path, "Old.test", san)).names == names


def test_a_key_of_another_certificate(authority: trustme.CA, tmp_path: Path) -> None:
    cert, _ = write(tmp_path, authority.issue_cert("a.test"), "a")
    _, key = write(tmp_path, authority.issue_cert("a.test"), "b")
    with pytest.raises(KeyMismatch, match="does not belong") as refused:
        load_pair(cert, key)
    assert cert in str(refused.value)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(
    ("cert", "key", "message"),
    [
        (b"", None, "no certificate in PEM"),
        (b"\x30\x82\x01\x00", None, "no certificate in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None, "no certificate in PEM"),
        (None, b"", "no private key in PEM"),
        (None, b"nonsense", "no private key in PEM"),
    ],
)
def test_not_pem(
    authority: trustme.CA, tmp_path: Path, cert: bytes | None, key: bytes | None, message: str
) -> None:
    paths = write(tmp_path, authority.issue_cert("a.test"))
    for path, content in zip(paths, (cert, key), strict=True):
        if content is not None:
            Path(path).write_bytes(content)
    with pytest.raises(NotPem, match=message):
        load_pair(*paths)


def test_an_encrypted_key_is_refused_not_asked_for(tmp_path: Path) -> None:
    with pytest.raises(NotPem, match="encrypted"):
        load_pair(*self_signed(tmp_path, "locked", None))


def test_a_missing_file_is_named(authority: trustme.CA, tmp_path: Path) -> None:
    cert, _ = write(tmp_path, authority.issue_cert("a.test"))
    with pytest.raises(CertificateRefused, match=r"gone\.key: No such file"):
        load_pair(cert, str(tmp_path / "gone.key"))
    with pytest.raises(NotPem, match="Is a directory"):
        read_pem(str(tmp_path))


def test_a_renewal_between_the_two_reads_is_read_again(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = write(tmp_path, authority.issue_cert("a.test"))
    newer = authority.issue_cert("a.test")
    read = certificates.read_pem
    reads: list[str] = []

    def renewed_meanwhile(path: str) -> bytes:
        content = read(path)
        reads.append(path)
        if len(reads) == 1:
            write(tmp_path, newer)
        return content

    monkeypatch.setattr(certificates, "read_pem", renewed_meanwhile)
    pair = load_pair(*paths)
    assert pair.serial == x509.load_pem_x509_certificate(newer.cert_chain_pems[0].bytes()).serial_number
    assert pair.key_pem == newer.private_key_pem.bytes()
    assert len(reads) == 4


def test_changes_are_told_once(authority: trustme.CA, tmp_path: Path) -> None:
    paths = write(tmp_path, authority.issue_cert("a.test"))
    files = CertificateFiles(paths)
    assert not files.changed()
    write(tmp_path, authority.issue_cert("a.test"))
    assert files.changed()
    assert not files.changed()
    os.unlink(paths[1])
    assert files.changed()
    write(tmp_path, authority.issue_cert("a.test"))
    assert files.changed()
    assert not files.changed()


def test_a_moved_symbolic_link_is_a_change(authority: trustme.CA, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, authority.issue_cert("a.test"))
    link = tmp_path / "current"
    link.symlink_to("one")
    files = CertificateFiles([str(link / "a.pem")])
    (tmp_path / "next").symlink_to("two")
    (tmp_path / "next").rename(link)
    assert files.changed()
