"""Texts of a configuration: values out of YAML and JSON, the small kinds of text in them, and whole files."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from pydantic import SecretStr

from apigateway.checking import check_file
from apigateway.config import last_good
from apigateway.config.addresses import check_host, parse_listen_address, parse_server, parse_target_url
from apigateway.config.fields import Settings, format_percent, parse_percent
from apigateway.config.json_text import read_json
from apigateway.config.model import References
from apigateway.config.references import resolve_secrets
from apigateway.config.yaml_text import read_yaml
from apigateway.errors import ConfigurationRefused
from apigateway.text import format_duration, format_size, nearest, parse_date, parse_duration, parse_size
from fuzzing.target import Target, text_of

# Gone with the process.
_FOLDER = tempfile.TemporaryDirectory(prefix="apigateway-fuzz-")
FOLDER = Path(_FOLDER.name)
EXAMPLES = Path(__file__).parents[3] / "config"


def attempt_yaml(data: bytes) -> None:
    """What is read is plain values: written as JSON it is read as the same."""
    document = read_yaml(text_of(data), "f")
    if not document.problems:
        again = read_json(json.dumps(document.value, allow_nan=False), "f")
        assert not again.problems and again.value == document.value


def attempt_json(data: bytes) -> None:
    """Nothing is taken that the standard library would not take, and as nothing else."""
    text = text_of(data)
    document = read_json(text, "f")
    if not document.problems:
        assert document.value == json.loads(text)


def _round(parse: Callable[[str], object], write: Callable[..., str]) -> Callable[[bytes], None]:
    """Parsed, written and parsed again it is the same."""

    def attempt(data: bytes) -> None:
        try:
            value = parse(text_of(data))
        except ValueError:
            return
        assert parse(write(value)) == value, value

    return attempt


def attempt_addresses(data: bytes) -> None:
    _round(parse_listen_address, str)(data)
    _round(lambda text: parse_server(text, 53), str)(data)
    _round(lambda text: parse_target_url(text), lambda url: f"{url.scheme}://{url.address}{url.path}")(data)
    for wildcard in (False, True):
        try:
            check_host(text_of(data), wildcard=wildcard)
        except ValueError:
            continue


def attempt_units(data: bytes) -> None:
    _round(parse_duration, format_duration)(data)
    _round(parse_size, format_size)(data)
    _round(parse_percent, format_percent)(data)
    _round(parse_date, lambda date: date.isoformat())(data)
    nearest(text_of(data), ("listeners", "upstreams", "apis"))


class _Secrets(Settings):
    secret: SecretStr
    plain: str


def attempt_references(data: bytes) -> None:
    """Only what is allowed is read, whatever the text."""
    text = text_of(data)
    model = _Secrets(secret=SecretStr(text), plain=text)
    allowed = References(env=("TOKEN",), files=("secrets",))
    environ = {"TOKEN": "of the environment", "OTHER": "never to be read"}
    resolved, _ = resolve_secrets(model, allowed, FOLDER, environ)
    assert "never to be read" not in resolved.secret.get_secret_value().replace(text, "")
    assert resolved.plain == text


def _secret_files() -> None:
    (FOLDER / "secrets").mkdir(exist_ok=True)
    (FOLDER / "secrets/key").write_text("of a file\n")
    (FOLDER / "outside").write_text("never to be read")


def attempt_file(suffix: str) -> Callable[[bytes], None]:
    """`apigateway check`: problems that can be printed, and a revision or not."""

    def attempt(data: bytes) -> None:
        # A policy file would be run, and what a folder of this machine holds is not ours to run.
        if b"policy_paths" in data:
            return
        path = FOLDER / f"gateway.{suffix}"
        path.write_bytes(data)
        checked = check_file(str(path))
        "\n".join(str(problem) for problem in checked.problems).encode()
        assert checked.ok or any(not problem.warning for problem in checked.problems)

    return attempt


def attempt_last_good(data: bytes) -> None:
    """Damage is seen; and what has the right checksum is no less looked at."""
    path = FOLDER / "last-good.json"
    for head in (b"", b"apigateway-last-good 1 sha256=%b\n" % hashlib.sha256(data).hexdigest().encode()):
        path.write_bytes(head + data)
        try:
            last_good.load(path)
        except ConfigurationRefused:
            continue


def _examples() -> tuple[bytes, ...]:
    texts = [path.read_bytes() for path in sorted(EXAMPLES.glob("*.yaml"))]
    return tuple(text for text in texts if b"policy_paths" not in text)


def _as_json(text: bytes) -> bytes:
    return json.dumps(read_yaml(text.decode(), "f").value).encode()


_secret_files()
_YAML_WORDS = tuple(
    b"\n|  |- |: |? |,|[|]|{|}|#|&a |*a|!!int |!t |<<: |"
    b"%YAML 1.1\n---\n|---\n|...\n||-\n|>+2\n|\"|'|\\x41|\\ud800|~|.inf|0x1F|0o17|1e400"
    b"|true|name: |policy: |with: |request: |when: |upstream: |url: |"
    b"match: |\t|\xef\xbb\xbf|{{|[[[[[[[[[[|key: value\n".split(
        b"|"
    )
)
_FILE_WORDS = (
    *_YAML_WORDS,
    b"tls: {certificates: []}",
    b"methods: [GET]",
    b'path: "/{id}"',
    b"path_prefix: /",
    b"{rest*}",
    b'hosts: ["*.a.test"]',
    b"when: 'request.path == \"/\"'",
    b"when: '1/0 == 1'",
    b"policy: rate-limit",
    b"policy: cors",
    b"30s",
    b"64KiB",
    b"20%",
    b"${env:TOKEN}",
    b"role: failover",
    b"hash_on: {source: header, name: x}",
    b"balance: consistent-hash",
    b"regex: '(a+)+$'",
    b"unix:/a",
)
TARGETS = (
    Target(
        "yaml text",
        attempt_yaml,
        (b"a: 1\nb: [x, 'y', \"z\"]\nc:\n  - d: {e: f}\n  - |\n    text\n", b"version: 1\n# x\nk: ~\n"),
        _YAML_WORDS,
    ),
    Target(
        "json text",
        attempt_json,
        (b'{"a": [1, 2.5, "x\\n"], "b": {"c": null}}', b"[true, false, -0, 1e5]"),
        (
            b"{",
            b"}",
            b"[",
            b"]",
            b'"a":',
            b",",
            b"NaN",
            b"1e999",
            b"\\ud800",
            b"\n",
            b'"',
            b"[" * 65,
            b"-Infinity",
            b"\x00",
        ),
    ),
    Target(
        "addresses",
        attempt_addresses,
        (
            b"127.0.0.1:8080",
            b"[::1]:443",
            b"unix:/run/a.sock",
            b"http://a.test:9001/base",
            b"https://[2001:db8::1]/x%20y",
            b"*.a.test",
        ),
        (
            b"http://",
            b"https://",
            b"[",
            b"]",
            b":",
            b"/",
            b"@",
            b"?",
            b"#",
            b"*.",
            b"%",
            b"::1",
            b"%25eth0",
            b"65536",
            b".",
            b"-",
            b"_",
            b"\\",
            b"\xc3\xa9",
        ),
    ),
    Target(
        "durations, sizes, dates",
        attempt_units,
        (
            b"250ms",
            b"1.5h",
            b"64KiB",
            b"1MB",
            b"12.5%",
            b"2027-06-30T00:00:00Z",
            b"2027-06-30t01:02:03.123456-05:30",
        ),
        (
            b"ms",
            b"s",
            b"d",
            b"h",
            b"GiB",
            b"B",
            b".",
            b"-",
            b"+",
            b"%",
            b"T",
            b"Z",
            b":60",
            b"99999999999999999999",
            b"\xd9\xa3",
            b"e5",
        ),
    ),
    Target(
        "references",
        attempt_references,
        (
            b"Bearer ${env:TOKEN}",
            b"${file:secrets/key}${env:TOKEN}",
            b"${file:secrets/../outside}",
            b"${env:OTHER}",
        ),
        (
            b"${",
            b"}",
            b"env:",
            b"file:",
            b"../",
            b"/",
            b"secrets/",
            b"outside",
            b"\x00",
            b"~",
            b"TOKEN",
            b"OTHER",
            b"$",
        ),
    ),
    Target("yaml files, checked", attempt_file("yaml"), _examples(), _FILE_WORDS),
    Target(
        "json files, checked",
        attempt_file("json"),
        tuple(map(_as_json, _examples())),
        (
            b"{",
            b"}",
            b"[",
            b"]",
            b'""',
            b'"a"',
            b",",
            b"null",
            b"1",
            b"true",
            b'"30s"',
            b'"policy":',
            b'"with":{}',
            b'"when":"true"',
        ),
    ),
    Target(
        "last good revisions",
        attempt_last_good,
        tuple(map(_as_json, _examples()))[:2],
        (b"{", b"[" * 1000, b"]", b"null", b"1e999", b"NaN", b'"\\ud800"', b",", b'"a":' * 3),
    ),
)
