"""`apigateway hash-key`, `hash-password` and `dev-certs`."""

from __future__ import annotations

import hashlib
import ssl
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from click.testing import Result
from cryptography import x509

Call = Callable[..., Result]


@pytest.mark.parametrize("typed", ["k1", "k1\n", "k1\r\n"])
def test_hash_key_reads_standard_input(call: Call, typed: str) -> None:
    result = call("hash-key", stdin=typed)
    assert (result.exit_code, result.stdout) == (0, hashlib.sha256(b"k1").hexdigest() + "\n")


def test_hash_key_is_of_utf_8_and_keeps_spaces(call: Call) -> None:
    assert call("hash-key", stdin=" ä \n").stdout == hashlib.sha256(" ä ".encode()).hexdigest() + "\n"


def test_hash_key_makes_a_new_key(call: Call) -> None:
    made = [call("hash-key", "--generate").stdout.split() for _ in range(2)]
    assert all(hashlib.sha256(key.encode()).hexdigest() == digest for key, digest in made)
    assert made[0] != made[1]


@pytest.mark.parametrize("command", ["hash-key", "hash-password"])
def test_nothing_is_no_secret(call: Call, command: str) -> None:
    assert call(command, stdin="\n").exit_code == 2


def test_hash_password_is_argon2id(call: Call) -> None:
    text = call("hash-password", stdin="open sesame\n").stdout.strip()
    assert text.startswith("$argon2id$")
    assert PasswordHasher().verify(text, "open sesame")
    with pytest.raises(VerifyMismatchError):
        PasswordHasher().verify(text, "open barley")


# ---- dev-certs


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names(path: Path) -> list[str]:
    extension = certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return [str(name.value) for name in extension.value]


def test_dev_certs_writes_what_tls_takes(call: Call, tmp_path: Path) -> None:
    result = call("dev-certs", tmp_path / "certs", "a.example.test", "*.b.example.test", "127.0.0.1")
    assert result.exit_code == 0
    folder = tmp_path / "certs"
    stems = ("a.example.test", "wildcard.b.example.test", "127.0.0.1", "client")
    for stem in stems:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(folder / f"{stem}.pem", folder / f"{stem}.key")
        certificate(folder / f"{stem}.pem").verify_directly_issued_by(certificate(folder / "ca.pem"))
        assert stat.S_IMODE((folder / f"{stem}.key").stat().st_mode) == 0o600
    assert names(folder / "wildcard.b.example.test.pem") == ["*.b.example.test"]
    assert names(folder / "127.0.0.1.pem") == ["127.0.0.1"]


def test_dev_certs_keeps_its_authority(call: Call, tmp_path: Path) -> None:
    call("dev-certs", tmp_path, "one.test")
    authority, first = (tmp_path / "ca.pem").read_bytes(), (tmp_path / "one.test.pem").read_bytes()
    call("dev-certs", tmp_path, "two.test", "one.test")
    assert (tmp_path / "ca.pem").read_bytes() == authority
    assert (tmp_path / "one.test.pem").read_bytes() != first
    certificate(tmp_path / "two.test.pem").verify_directly_issued_by(certificate(tmp_path / "ca.pem"))


def test_dev_certs_is_for_localhost_unless_named(call: Call, tmp_path: Path) -> None:
    call("dev-certs", tmp_path, "--days", "3")
    made = certificate(tmp_path / "localhost.pem")
    assert names(tmp_path / "localhost.pem") == ["localhost"]
    assert (made.not_valid_after_utc - made.not_valid_before_utc).days == 3
