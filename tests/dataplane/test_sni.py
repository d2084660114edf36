"""Which certificate is shown to whom, by real handshakes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from pytest_twisted import async_yield_fixture, ensureDeferred
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from apigateway.dataplane.certificates import (
    Certificate,
    CertificateFiles,
    CertificateRefused,
    KeyMismatch,
    NotPem,
    load_pair,
)
from apigateway.dataplane.sni import (
    ListenerTlsSettings,
    SniTable,
    TlsListenerContext,
    names_for,
    upstream_context,
)
from apigateway.transport.endpoints import NativeServerEndpoint

NOW = datetime.now(UTC)


class Authority:
    """A CA whose certificates, keys and revocation lists are files."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.path = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.path)

    def write(
        self, name: str, leaf: trustme.LeafCert, *, key_of: trustme.LeafCert | None = None
    ) -> tuple[str, str]:
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        chain = b"".join(pem.bytes() for pem in leaf.cert_chain_pems)
        for path, pem in ((cert, chain), (key, (key_of or leaf).private_key_pem.bytes())):
            new = path.with_suffix(".new")
            new.write_bytes(pem)
            new.rename(path)
        return str(cert), str(key)

    def pair(self, *names: str, **options: Any) -> Certificate:
        file = names[0].replace("*", "any")
        return load_pair(*self.write(file, self.ca.issue_cert(*names, **options)))

    def revoke(self, *certificates: Certificate, until: datetime = NOW + timedelta(days=1)) -> str:
        issuer = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        crl = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.subject)
            .last_update(NOW - timedelta(days=2))
            .next_update(until)
        )
        for certificate in certificates:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial).revocation_date(NOW)
            crl = crl.add_revoked_certificate(entry.build())
        key: Any = load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        path = self.folder / "ca.crl"
        path.write_bytes(crl.sign(key, SHA256()).public_bytes(Encoding.PEM))
        return str(path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class Answers(Protocol):
    """Says which names its certificate has, and the number of octets it was sent so far."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(",".join(names_for(self.transport.ssl_object)).encode() + b"\n")  # type: ignore[attr-defined, union-attr]


@async_yield_fixture
async def serve() -> Any:
    """Serves a TlsListenerContext; gives its port."""
    ports = []

    async def start(tls: TlsListenerContext) -> int:
        endpoint = NativeServerEndpoint(
            reactor, ("127.0.0.1", 0), ssl_context=tls.context, shutdown_timeout=1.0
        )
        factory = Factory.forProtocol(Answers)
        factory.noisy = False
        port = await endpoint.listen(factory)
        ports.append(port)
        return int(port.getHost().port)

    yield start
    for port in ports:
        await port.stopListening()


def trusting(authority: Authority, client: Certificate | None = None, **options: Any) -> ssl.SSLContext:
    context = upstream_context(ca=authority.path, certificate=client)
    context.check_hostname = False
    for name, value in options.items():
        setattr(context, name, value)
    return context


def ask(port: int, context: ssl.SSLContext, name: str | None, session: Any = None) -> tuple[str, int, Any]:
    """One request: what was answered, the serial of the certificate shown, the session. Blocking."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        with context.wrap_socket(plain, server_hostname=name, session=session) as tls:
            tls.sendall(b"?")
            answer = tls.recv(1000)
            if not answer:
                raise ssl.SSLError("closed without an answer")
            shown = x509.load_der_x509_certificate(tls.getpeercert(True) or b"")
            return answer.decode().strip(), shown.serial_number, (tls.session, tls.session_reused)


async def answer(port: int, context: ssl.SSLContext, name: str | None) -> str:
    """The names of the certificate, as the server sees them, or "alert: ..."."""
    try:
        return (await deferToThread(ask, port, context, name))[0]
    except (ssl.SSLError, ConnectionError) as exc:
        return f"alert: {getattr(exc, 'reason', None) or exc}"


UNRECOGNIZED = "alert: TLSV1_UNRECOGNIZED_NAME"


@pytest.mark.parametrize(
    ("name", "strict", "loose"),
    [
        (None, UNRECOGNIZED, "d.test"),
        ("c.test", UNRECOGNIZED, "d.test"),
        ("x.y.b.test", UNRECOGNIZED, "d.test"),
        ("b.test", UNRECOGNIZED, "d.test"),
        ("xb.test", UNRECOGNIZED, "d.test"),
        ("x.b.test", "*.b.test", "*.b.test"),
        ("X.B.TEST", "*.b.test", "*.b.test"),
        ("exact.b.test", "exact.b.test", "exact.b.test"),
        ("A.TEST", "a.test", "a.test"),
        ("a.test", "a.test", "a.test"),
    ],
)
@ensureDeferred
async def test_a_name_gets_its_certificate(
    authority: Authority, serve: Any, name: str | None, strict: str, loose: str
) -> None:
    """RC-O18: unknown names and no name end in an alert, or get the default, never somebody else's."""
    pairs = [authority.pair(n) for n in ("d.test", "a.test", "*.b.test", "exact.b.test")]
    for strict_sni, expected in ((True, strict), (False, loose)):
        table = SniTable(pairs, ListenerTlsSettings(strict_sni=strict_sni))
        port = await serve(TlsListenerContext(table))
        assert await answer(port, trusting(authority), name) == expected
        assert (
            await answer(port, trusting(authority, maximum_version=ssl.TLSVersion.TLSv1_2), name) == expected
        )


def test_the_first_of_two_certificates_keeps_a_name(authority: Authority) -> None:
    first, second = authority.pair("a.test", "b.test"), authority.pair("b.test", "c.test")
    table = SniTable([first, second], ListenerTlsSettings())
    found = {name: context.names for name in ("b.test", "c.test", "c.test.") if (context := table.find(name))}
    assert found == {"b.test": first.names, "c.test": second.names, "c.test.": second.names}


def test_names_of_a_connection_that_is_not_of_a_table() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert names_for(context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a.test")) == ()


@ensureDeferred
async def test_a_handshake_that_fails_is_told_with_its_reason(authority: Authority, serve: Any) -> None:
    told: list[ssl.SSLError] = []
    strict = SniTable([authority.pair("a.test")], ListenerTlsSettings(strict_sni=True))
    port = await serve(TlsListenerContext(strict, told.append))
    assert await answer(port, trusting(authority), "a.test") == "a.test"
    assert told == []
    assert await answer(port, trusting(authority), "b.test") == UNRECOGNIZED
    assert await deferToThread(speak_plainly, port) == b""
    assert [exc.reason for exc in told] == ["CALLBACK_FAILED", "HTTP_REQUEST"]


def speak_plainly(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        return plain.recv(1000)


# ---- renewal


@ensureDeferred
async def test_renewed_files_are_served_and_broken_ones_are_not(authority: Authority, serve: Any) -> None:
    """RC-O17: new handshakes show the new serial, standing connections go on, a broken pair changes nothing."""
    paths = authority.write("a", authority.ca.issue_cert("a.test", not_after=datetime.now(UTC) + timedelta(seconds=60)))
    other = authority.pair("other.test")
    settings = ListenerTlsSettings()
    files = CertificateFiles(paths)
    old = load_pair(*paths)
    tls = TlsListenerContext(SniTable([old, other], settings))
    port = await serve(tls)
    context = trusting(authority)
    standing = await deferToThread(connect, port, context, "a.test")
    assert (await deferToThread(ask, port, context, "a.test"))[1] == old.serial

    authority.write("a", authority.ca.issue_cert("a.test"))
    assert files.changed()
    new = load_pair(*paths)
    tls.swap(SniTable([new, other], settings))
    assert new.serial != old.serial
    assert (await deferToThread(ask, port, context, "a.test"))[1] == new.serial
    assert (await deferToThread(ask, port, context, "other.test"))[1] == other.serial
    assert await deferToThread(exchange, standing) == b"a.test\n"
    standing.close()

    authority.write("a", authority.ca.issue_cert("a.test"), key_of=authority.ca.issue_cert("a.test"))
    assert files.changed()
    with pytest.raises(KeyMismatch):
        load_pair(*paths)
    assert (await deferToThread(ask, port, context, "a.test"))[1] == new.serial

    authority.write(
        "a", authority.ca.issue_cert("a.test", not_before=NOW - timedelta(9), not_after=NOW - timedelta(1))
    )
    assert files.changed()
    assert load_pair(*paths).expired(NOW)


def connect(port: int, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=5), server_hostname=name)


def exchange(connection: ssl.SSLSocket) -> bytes:
    connection.sendall(b"?")
    return connection.recv(1000)


@ensureDeferred
async def test_a_table_of_what_was_read_is_served_though_the_files_are_gone(
    authority: Authority, serve: Any
) -> None:
    pair = authority.pair("a.test")
    for path in (pair.cert_path, pair.key_path):
        Path(path).unlink()
    port = await serve(TlsListenerContext(SniTable([pair], ListenerTlsSettings())))
    assert await answer(port, trusting(authority), "a.test") == "a.test"


# ---- client certificates


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    (tmp_path / "stranger").mkdir()
    return Authority(tmp_path / "stranger")


REFUSED = "alert: "
ALERTS = {
    "nobody": {"HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED"},
    "revoked": {"CERTIFICATE_REVOKED"},
    "expired": {"CERTIFICATE_EXPIRED"},
    "wrong CA": {"UNKNOWN_CA"},
}
MODES = ("none", "request", "require")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
@pytest.mark.parametrize(
    ("client", "let_in"),
    [
        ("nobody", ("none", "request")),
        ("good", MODES),
        ("revoked", ("none",)),
        ("expired", ("none",)),
        ("wrong CA", ("none",)),
    ],
)
@ensureDeferred
async def test_client_certificates_on_every_name(
    authority: Authority, stranger: Authority, serve: Any, client: str, let_in: tuple[str, ...], version: Any
) -> None:
    """The rule of a listener holds for the default name, for others, by wildcard, and without SNI."""
    revoked = authority.pair("revoked@client.test")
    shown = {
        "nobody": None,
        "good": authority.pair("good@client.test"),
        "revoked": revoked,
        "expired": authority.pair(
            "old@client.test", not_before=NOW - timedelta(9), not_after=NOW - timedelta(1)
        ),
        "wrong CA": stranger.pair("good@client.test"),
    }[client]
    pairs = [authority.pair(name) for name in ("d.test", "a.test", "*.b.test")]
    crl = authority.revoke(revoked)
    context = trusting(authority, shown, maximum_version=version)
    for mode in MODES:
        settings = ListenerTlsSettings(client_auth=mode, client_ca=authority.path, client_crl=crl)  # type: ignore[arg-type]
        port = await serve(TlsListenerContext(SniTable(pairs, settings)))
        for name, names in (
            (None, "d.test"),
            ("d.test", "d.test"),
            ("a.test", "a.test"),
            ("x.b.test", "*.b.test"),
        ):
            answered = await answer(port, context, name)
            if mode in let_in:
                assert answered == names, (mode, name)
            else:
                assert any(answered.endswith(alert) for alert in ALERTS[client]), (mode, name, answered)


@ensureDeferred
async def test_an_outdated_revocation_list_lets_nobody_in(authority: Authority, serve: Any) -> None:
    crl = authority.revoke(until=NOW - timedelta(days=1))
    settings = ListenerTlsSettings(client_auth="require", client_ca=authority.path, client_crl=crl)
    port = await serve(TlsListenerContext(SniTable([authority.pair("a.test")], settings)))
    client = trusting(authority, authority.pair("good@client.test"))
    assert (await answer(port, client, "a.test")).startswith(REFUSED)


# ---- resumption


# By ticket, in both versions, and by the session in the server's memory.
RESUMING: dict[str, dict[str, Any]] = {
    "1.3": {"minimum_version": ssl.TLSVersion.TLSv1_3},
    "1.2 with a ticket": {"maximum_version": ssl.TLSVersion.TLSv1_2},
    "1.2 without": {"maximum_version": ssl.TLSVersion.TLSv1_2, "options": ssl.OP_NO_TICKET},
}


def resume(port: int, context: ssl.SSLContext, name: str | None, session: Any = None) -> tuple[bool, Any]:
    """One request over a connection that ends well: whether its session was resumed, and the session. Blocking."""
    return resume_on(socket.create_connection(("127.0.0.1", port), timeout=5), context, name, session)


def resume_on(
    plain: socket.socket, context: ssl.SSLContext, name: str | None, session: Any = None
) -> tuple[bool, Any]:
    with plain, context.wrap_socket(plain, server_hostname=name, session=session) as tls:
        assert exchange(tls)
        said = (bool(tls.session_reused), tls.session)
        # A session whose connection was cut off is forgotten by either side.
        tls.unwrap().close()
        return said


@pytest.mark.parametrize("name", [None, "a.test"])
@pytest.mark.parametrize("options", RESUMING.values(), ids=RESUMING)
@ensureDeferred
async def test_sessions_are_resumed_by_name_and_after_a_renewal(
    authority: Authority, serve: Any, name: str | None, options: dict[str, Any]
) -> None:
    tls = TlsListenerContext(SniTable([authority.pair("d.test"), authority.pair("a.test")], ListenerTlsSettings()))
    port = await serve(tls)
    context = trusting(authority, **options)
    reused, session = await deferToThread(resume, port, context, name)
    assert not reused
    reused, session = await deferToThread(resume, port, context, name, session)
    assert reused
    tls.swap(SniTable([authority.pair("d.test"), authority.pair("a.test")], ListenerTlsSettings()))
    reused, _ = await deferToThread(resume, port, context, name, session)
    assert reused


@pytest.mark.parametrize("mode", ["request", "require"])
@pytest.mark.parametrize("options", RESUMING.values(), ids=RESUMING)
@ensureDeferred
async def test_a_client_revoked_since_cannot_resume(
    authority: Authority, serve: Any, options: dict[str, Any], mode: Any
) -> None:
    """A resumed session is not verified again, so there are none where client certificates count."""
    pairs, client = [authority.pair("a.test")], authority.pair("c@client.test")
    settings = ListenerTlsSettings(client_auth=mode, client_ca=authority.path, client_crl=authority.revoke())
    tls = TlsListenerContext(SniTable(pairs, settings))
    port = await serve(tls)
    context = trusting(authority, client, **options)
    _, session = await deferToThread(resume, port, context, "a.test")
    reused, _ = await deferToThread(resume, port, context, "a.test", session)
    assert not reused
    authority.revoke(client)
    tls.swap(SniTable(pairs, settings))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await deferToThread(resume, port, context, "a.test", session)


@ensureDeferred
async def test_a_session_of_before_client_certificates_counted_is_no_way_around_them(
    authority: Authority, serve: Any
) -> None:
    pairs = [authority.pair("a.test")]
    required = ListenerTlsSettings(client_auth="require", client_ca=authority.path)
    for options in RESUMING.values():
        tls = TlsListenerContext(SniTable(pairs, ListenerTlsSettings()))
        port = await serve(tls)
        context = trusting(authority, **options)
        _, session = await deferToThread(resume, port, context, "a.test")
        tls.swap(SniTable(pairs, required))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await deferToThread(resume, port, context, "a.test", session)


@ensureDeferred
async def test_who_connected_before_a_session_began_cannot_resume_it_either(authority: Authority, serve: Any) -> None:
    """It is told to forget the session, and is served when it has."""
    told: list[ssl.SSLError] = []
    settings = ListenerTlsSettings(client_auth="require", client_ca=authority.path)
    port = await serve(TlsListenerContext(SniTable([authority.pair("a.test")], settings), told.append))
    context = trusting(authority, authority.pair("c@client.test"), **RESUMING["1.2 without"])
    # Accepted before the other, because it comes before it in the backlog.
    early = await deferToThread(socket.create_connection, ("127.0.0.1", port), 5)
    _, session = await deferToThread(resume, port, context, "a.test")
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        await deferToThread(resume_on, early, context, "a.test", session)
    assert [exc.reason for exc in told] == ["CALLBACK_FAILED"]
    reused, _ = await deferToThread(resume, port, context, "a.test", session)
    assert not reused


@ensureDeferred
async def test_a_swap_changes_the_rule_for_new_handshakes(authority: Authority, serve: Any) -> None:
    pairs = [authority.pair("d.test"), authority.pair("a.test")]
    required = ListenerTlsSettings(client_auth="require", client_ca=authority.path)
    tls = TlsListenerContext(SniTable(pairs, ListenerTlsSettings()))
    port = await serve(tls)
    for settings, expected in ((required, False), (ListenerTlsSettings(), True), (required, False)):
        tls.swap(SniTable(pairs, settings))
        assert tls.table.settings is settings
        assert (await answer(port, trusting(authority), "a.test") == "a.test") is expected


# ---- versions, ALPN


@ensureDeferred
async def test_the_oldest_version_taken(authority: Authority, serve: Any) -> None:
    pairs = [authority.pair("a.test")]
    old = trusting(authority, maximum_version=ssl.TLSVersion.TLSv1_2)
    port = await serve(TlsListenerContext(SniTable(pairs, ListenerTlsSettings())))
    assert await answer(port, old, "a.test") == "a.test"
    port = await serve(TlsListenerContext(SniTable(pairs, ListenerTlsSettings(min_version="1.3"))))
    assert (await answer(port, old, "a.test")).startswith(REFUSED)
    assert await answer(port, trusting(authority), "a.test") == "a.test"


@ensureDeferred
async def test_alpn_offers_http_1_1(authority: Authority, serve: Any) -> None:
    port = await serve(TlsListenerContext(SniTable([authority.pair("a.test")], ListenerTlsSettings())))
    context = trusting(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with await deferToThread(connect, port, context, "a.test") as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"


# ---- what is refused when it is built


def refusals(authority: Authority) -> Iterator[tuple[str, Any]]:
    pair, nonsense = authority.pair("a.test"), authority.folder / "nonsense"
    nonsense.write_text("no PEM")
    require = {"client_auth": "require"}
    yield "needs a certificate", lambda: SniTable([], ListenerTlsSettings())
    yield "none is named", lambda: SniTable([pair], ListenerTlsSettings(**require))  # type: ignore[arg-type]
    for options in ({"client_ca": str(nonsense)}, {"client_ca": authority.path, "client_crl": str(nonsense)}):
        yield (
            "nonsense: no certificate",
            lambda o=options: SniTable([pair], ListenerTlsSettings(**require, **o)),
        )
    yield "gone: No such file", lambda: SniTable([pair], ListenerTlsSettings(**require, client_ca="/gone"))  # type: ignore[arg-type]
    yield "nonsense: no certificate", lambda: upstream_context(ca=str(nonsense))
    yield "gone: No such file", lambda: upstream_context(ca="/gone")


def test_refusals_say_why(authority: Authority) -> None:
    for message, build in refusals(authority):
        with pytest.raises(CertificateRefused, match=message):
            build()


def test_a_chain_that_openssl_does_not_take(authority: Authority) -> None:
    pair = authority.pair("a.test")
    broken = Certificate(
        names=pair.names,
        not_before=pair.not_before,
        not_after=pair.not_after,
        serial=pair.serial,
        fingerprint=pair.fingerprint,
        cert_path=pair.cert_path,
        key_path=pair.key_path,
        chain_pem=pair.chain_pem,
        key_pem=authority.pair("b.test").key_pem,
    )
    with pytest.raises(CertificateRefused, match="OpenSSL refuses it: KEY_VALUES_MISMATCH"):
        SniTable([broken], ListenerTlsSettings())


# ---- upstreams


@ensureDeferred
async def test_upstream_contexts(authority: Authority, stranger: Authority, serve: Any) -> None:
    client = authority.pair("gateway@client.test")
    settings = ListenerTlsSettings(client_auth="require", client_ca=authority.path)
    port = await serve(TlsListenerContext(SniTable([authority.pair("a.test")], settings)))
    for context, name, expected in (
        (upstream_context(ca=authority.path, certificate=client), "a.test", "a.test"),
        (
            upstream_context(ca=authority.path, certificate=client),
            "b.test",
            "alert: CERTIFICATE_VERIFY_FAILED",
        ),
        (
            upstream_context(ca=stranger.path, certificate=client),
            "a.test",
            "alert: CERTIFICATE_VERIFY_FAILED",
        ),
        (upstream_context(certificate=client), "a.test", "alert: CERTIFICATE_VERIFY_FAILED"),
        (upstream_context(verify=False, certificate=client), "b.test", "a.test"),
    ):
        assert await answer(port, context, name) == expected
    assert (await answer(port, upstream_context(ca=authority.path), "a.test")).startswith(REFUSED)


def test_upstream_contexts_speak_nothing_older_than_1_2() -> None:
    assert upstream_context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_ca_that_holds_nothing(authority: Authority) -> None:
    empty = authority.folder / "empty"
    empty.write_bytes(b"")
    with pytest.raises(NotPem):
        upstream_context(ca=str(empty))
