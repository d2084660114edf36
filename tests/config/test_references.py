"""Secrets by reference: what is resolved, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from apigateway.config.model import References, Settings
from apigateway.config.references import MAX_SECRET, resolve_secrets
from apigateway.errors import Problem

ENVIRON = {"TOKEN": "t-1", "EMPTY": "", "OTHER": "o-1"}


class Inner(Settings):
    password: SecretStr
    note: str = ""


class Outer(Settings):
    token: SecretStr = SecretStr("")
    inner: tuple[Inner, ...] = ()
    headers: dict[str, SecretStr] = Field(default={})
    count: int = 0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "one").write_text("s-1\n")
    (secrets / "windows").write_bytes(b"s-2\r\n")
    (secrets / "two_lines").write_text("a\n\n")
    (secrets / "empty").write_text("\n")
    (secrets / "octets").write_bytes(b"\xff\xfe")
    (secrets / "large").write_text("x" * (MAX_SECRET + 1))
    (secrets / "sub").mkdir()
    (tmp_path / "outside").write_text("no")
    (secrets / "link_out").symlink_to(tmp_path / "outside")
    (secrets / "link_in").symlink_to("one")
    (tmp_path / "secrets2").mkdir()
    (tmp_path / "secrets2" / "x").write_text("no")
    return tmp_path


REFERENCES = References(env=("TOKEN", "EMPTY", "UNSET"), files=("secrets",))


def resolved(folder: Path, text: str, **options: bool) -> tuple[str, tuple[Problem, ...]]:
    model = Outer(token=SecretStr(text))
    result, problems = resolve_secrets(model, REFERENCES, folder, ENVIRON, pointer="/with", **options)
    return result.token.get_secret_value(), problems


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:TOKEN}", "t-1"),
        ("Bearer ${env:TOKEN}", "Bearer t-1"),
        ("${env:TOKEN}:${file:secrets/one}", "t-1:s-1"),
        ("${file:secrets/one}", "s-1"),
        ("${file:secrets/../secrets/one}", "s-1"),
        ("${file:secrets/link_in}", "s-1"),
        ("${file:secrets/windows}", "s-2"),
        ("${file:secrets/two_lines}", "a\n"),
        ("literal", "literal"),
        ("$1 {x} ${1}", "$1 {x} ${1}"),
    ],
)
def test_a_reference_is_resolved(folder: Path, text: str, value: str) -> None:
    assert resolved(folder, text) == (value, ())


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("${env:OTHER}", 'references.env does not allow the variable "OTHER"', ""),
        ("${env:TOKN}", 'references.env does not allow the variable "TOKN"', "TOKEN"),
        ("${env:UNSET}", 'the variable "UNSET" is not set', ""),
        ("${env:EMPTY}", 'the variable "EMPTY" is empty', ""),
        ("${env:TOKEN", 'the reference "${env:" is not closed by a brace', ""),
        ("${vault:x}", 'a reference begins with env: or file:, not "vault:"', ""),
        ("${fiel:x}", 'a reference begins with env: or file:, not "fiel:"', "file"),
        ("${file:outside}", 'references.files does not allow "outside"', ""),
        ("${file:secrets/../outside}", 'references.files does not allow "secrets/../outside"', ""),
        ("${file:secrets/link_out}", 'references.files does not allow "secrets/link_out"', ""),
        ("${file:secrets2/x}", 'references.files does not allow "secrets2/x"', ""),
        ("${file:/etc/hostname}", 'references.files does not allow "/etc/hostname"', ""),
        ("${file:secrets/none}", '"secrets/none" cannot be read: No such file or directory', ""),
        ("${file:secrets/sub}", '"secrets/sub" cannot be read: Is a directory', ""),
        ("${file:secrets/empty}", '"secrets/empty" is empty', ""),
        ("${file:secrets/octets}", '"secrets/octets" is not the name of a file of UTF-8 text', ""),
        ("${file:secrets/large}", '"secrets/large" is larger than 64 KiB', ""),
        ("${file:secrets/a\0b}", '"secrets/a\0b" is not the name of a file of UTF-8 text', ""),
    ],
)
def test_a_reference_that_is_refused_stays_as_written(
    folder: Path, text: str, message: str, hint: str
) -> None:
    assert resolved(folder, text) == (text, (Problem("/with/token", message, hint=hint),))


def test_one_file_may_be_allowed_alone(folder: Path) -> None:
    only = References(files=(str(folder / "secrets" / "one"),))
    model = Inner(password=SecretStr("${file:secrets/one}"))
    result, problems = resolve_secrets(model, only, folder, {})
    assert (result.password.get_secret_value(), problems) == ("s-1", ())


def test_unset_may_be_a_warning_and_what_is_not_allowed_is_never(folder: Path) -> None:
    _, [unset] = resolved(folder, "${env:UNSET}", unset_is_warning=True)
    _, [forbidden] = resolved(folder, "${env:OTHER}", unset_is_warning=True)
    assert (unset.warning, forbidden.warning) == (True, False)


def test_the_whole_model_is_walked_and_the_old_one_kept(folder: Path) -> None:
    model = Outer(
        inner=(Inner(password=SecretStr("plain")), Inner(password=SecretStr("${env:TOKEN}"))),
        headers={"a/b": SecretStr("${env:TOKEN}")},
    )
    result, problems = resolve_secrets(model, REFERENCES, folder, ENVIRON)
    assert problems == ()
    assert [inner.password.get_secret_value() for inner in result.inner] == ["plain", "t-1"]
    assert result.headers["a/b"].get_secret_value() == "t-1"
    assert model.inner[1].password.get_secret_value() == "${env:TOKEN}"
    assert result.inner[0] is model.inner[0]


def test_all_problems_at_once_with_their_places(folder: Path) -> None:
    model = Outer(
        token=SecretStr("${env:OTHER}"),
        inner=(Inner(password=SecretStr("x"), note="to ${env:TOKEN}"),),
        headers={"a/b": SecretStr("${file:outside}")},
    )
    _, problems = resolve_secrets(model, REFERENCES, folder, ENVIRON, pointer="/apis/0/with")
    assert [problem.pointer for problem in problems] == [
        "/apis/0/with/token",
        "/apis/0/with/inner/0/note",
        "/apis/0/with/headers/a~1b",
    ]
    assert "would be sent as it stands" in problems[1].message
