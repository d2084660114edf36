"""`apigateway hash-key` and `hash-password`: what a configuration holds in place of a secret."""

from __future__ import annotations

import hashlib
import secrets
import sys

import click
from argon2 import PasswordHasher

# 256 bits: what nobody guesses needs no slow hash, which is why keys are kept by plain SHA-256.
KEY_OCTETS = 32


@click.command()
@click.option("--generate", is_flag=True, help="Make a new key; print it, then its hash.")
def hash_key(generate: bool) -> None:
    """Print the SHA-256 of an API key or token, for `sha256:` in a configuration.

    The key is read from standard input (one line end is dropped), or asked for on a terminal.
    """
    key = secrets.token_urlsafe(KEY_OCTETS) if generate else _secret("Key")
    if generate:
        click.echo(key)
    click.echo(hashlib.sha256(key.encode()).hexdigest())


@click.command()
def hash_password() -> None:
    """Print the argon2id hash of a password.

    The password is read from standard input (one line end is dropped), or asked for twice on a terminal.
    """
    click.echo(PasswordHasher().hash(_secret("Password", twice=True)))


def _secret(what: str, *, twice: bool = False) -> str:
    """What was typed or piped in, without its line end; a usage error for nothing."""
    if sys.stdin.isatty():
        text: str = click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)
    else:
        text = sys.stdin.read()
        text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise click.UsageError(f"there is no {what.lower()} on standard input")
    return text
