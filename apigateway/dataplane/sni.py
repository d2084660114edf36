"""TLS of a listener: which certificate is shown to whom, in a table that is replaced whole.

The loop is given one context for as long as the listener lives; handshakes begin with the base behind it. That
holds no certificate: its SNI callback hands every handshake over to a context of the table that is current then.

OpenSSL takes the verify mode, its flags, the protocol versions and the sessions that may be resumed from the
context a handshake began with (the base), and the certificate, the CAs and the ALPN list from the one it was
handed to. So what concerns client certificates is set on all of them, from one place, and cannot differ between
names; and a session is resumed though the table has been swapped.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

from apigateway.dataplane.certificates import Certificate, CertificateRefused, NotPem, read_pem

Refused = Callable[[ssl.SSLError], None]

ALPN = ("http/1.1",)
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
RECORD = 16 * 1024  # octets of a TLS record at most (RFC 8446 5.1)
VERIFY = {"none": ssl.CERT_NONE, "request": ssl.CERT_OPTIONAL, "require": ssl.CERT_REQUIRED}


@dataclass(frozen=True, slots=True)
class ListenerTlsSettings:
    """TLS of one listener, the same for all of its names.

    strict_sni: no name, or one that no certificate covers, ends the handshake; else the first certificate is shown.
    client_auth: request: a certificate may be left out, but one that is shown must be valid; require: it must be.
    client_ca, client_crl: paths, PEM. A CRL file holds a list of every CA in the chain; without a current one
    nobody gets in.
    """

    strict_sni: bool = False
    min_version: Literal["1.2", "1.3"] = "1.2"
    client_auth: Literal["none", "request", "require"] = "none"
    client_ca: str | None = None
    client_crl: str | None = None


class NamedContext(ssl.SSLContext):
    """The context of one certificate, with the names that it is for."""

    names: tuple[str, ...] = ()


class SniTable:
    """Certificates by name. Complete when it is built, and never changed.

    Where two certificates have a name in common, the first keeps it; the first of all is the default.
    Raises CertificateRefused for what OpenSSL does not take, for a missing CA or CRL, and for no certificate.
    """

    def __init__(self, certificates: Sequence[Certificate], settings: ListenerTlsSettings) -> None:
        if not certificates:
            raise CertificateRefused("a listener with TLS needs a certificate")
        self.settings = settings
        self._exact: dict[str, NamedContext] = {}
        self._wildcards: dict[str, NamedContext] = {}
        clients = _client_trust(settings)
        contexts = [_server_context(certificate, settings, clients) for certificate in certificates]
        self._default = None if settings.strict_sni else contexts[0]
        for context in contexts:
            for name in context.names:
                wildcard = name.startswith("*.")
                (self._wildcards if wildcard else self._exact).setdefault(name.removeprefix("*."), context)

    def find(self, server_name: str | None) -> NamedContext | None:
        """The context for a name, or None: end the handshake.

        An exact name comes before a wildcard; a wildcard stands for exactly one label (RFC 9525 6.3).
        """
        if server_name is None:
            return self._default
        name = server_name.lower().removesuffix(".")
        label, _, parent = name.partition(".")
        return self._exact.get(name) or (self._wildcards.get(parent) if label else None) or self._default


class Handshake(ssl.SSLObject):
    """A handshake whose failure reaches the client as an alert (RFC 8446 6.2).

    The loops drop a connection when its handshake fails, with the alert still in their buffer. So a failure
    asks them for more input instead, which makes them send what there is; whatever comes then is thrown away,
    until the client has read its alert and leaves, or the handshake timeout is over.
    """

    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    _listener: TlsListenerContext
    _base: ssl.SSLContext  # OpenSSL goes on calling its SNI callback without keeping it
    _failed = False
    asked_name = ""

    def do_handshake(self) -> None:
        if not self._failed:
            try:
                super().do_handshake()
                self._listener.finished(self)
                return
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as exc:
                self._failed = True
                self._listener.refused(exc)
                if not self._outgoing.pending:
                    raise
        self._incoming.read()
        raise ssl.SSLWantReadError()

    def read(self, len: int = RECORD, buffer: Any = None) -> bytes:
        # There is never more than a record to be had, but so much as is asked for is allocated: 256 KiB, by uvloop.
        return super().read(min(len, RECORD), buffer)


class _BaseContext(ssl.SSLContext):
    """What handshakes begin with."""

    sslobject_class = Handshake


class _ListenerContext(ssl.SSLContext):
    """What the loop is given."""

    listener: TlsListenerContext

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, *args: Any, **kwargs: Any
    ) -> ssl.SSLObject:
        base = self.listener.base
        handshake = cast(Handshake, base.wrap_bio(incoming, outgoing, *args, **kwargs))
        handshake._incoming, handshake._outgoing = incoming, outgoing
        handshake._listener, handshake._base = self.listener, base
        return handshake


class TlsListenerContext:
    """The TLS of a listener: `context` for the loop, and the table its handshakes are answered from.

    refused: told of each handshake that fails (its `reason` is OpenSSL's word for it), for logs and metrics.

    Where client certificates are asked for, no session is resumed, since its certificate would not be checked again.
    TLS 1.3 has tickets only, and none are issued; TLS 1.2 has sessions in the server's memory, too, which `ssl` cannot
    switch off. So the base that has got one is replaced, and who began with it before that and resumes is refused.
    """

    def __init__(self, table: SniTable, refused: Refused = lambda exc: None) -> None:
        self.refused = refused
        self._table = table
        self._begin_anew()
        self.context = _ListenerContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.listener = self

    @property
    def table(self) -> SniTable:
        return self._table

    def swap(self, table: SniTable) -> None:
        """Answer new handshakes from another table. Connections that stand stay as they are.

        A handshake that began before is not asked for a client certificate that is demanded since, as a
        connection that stood before was not.
        """
        self._table = table
        if table.settings.client_auth == "none":
            _set_rules(self.base, table.settings)
        else:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.base = _BaseContext(ssl.PROTOCOL_TLS_SERVER)
        self.base.sni_callback = self._choose
        _set_rules(self.base, self._table.settings)

    def finished(self, handshake: ssl.SSLObject) -> None:
        """Told of each handshake that is over, and went well."""
        if self._table.settings.client_auth != "none" and handshake.version() == "TLSv1.2":
            self._begin_anew()

    def _choose(
        self, ssl_object: ssl.SSLObject, server_name: str | None, base: ssl.SSLContext
    ) -> ssl.AlertDescription | None:
        # Called without SNI as well, with None. Returning None would go on with the base context.
        if isinstance(ssl_object, Handshake):
            ssl_object.asked_name = server_name or ""
        if ssl_object.session_reused and self._table.settings.client_auth != "none":
            return ssl.AlertDescription.ALERT_DESCRIPTION_HANDSHAKE_FAILURE  # it is to forget the session
        chosen = self._table.find(server_name)
        if chosen is None:
            return ssl.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        ssl_object.context = chosen
        return None


def asked_name(ssl_object: ssl.SSLObject) -> str:
    """The name a client asked for by SNI, "" for none."""
    return ssl_object.asked_name if isinstance(ssl_object, Handshake) else ""


def names_for(ssl_object: ssl.SSLObject) -> tuple[str, ...]:
    """The names of the certificate shown on a connection: a request for another host is misdirected (421)."""
    context = ssl_object.context
    return context.names if isinstance(context, NamedContext) else ()


def upstream_context(
    *, verify: bool = True, ca: str | None = None, certificate: Certificate | None = None
) -> ssl.SSLContext:
    """TLS towards a target, 1.2 or newer.

    verify: its certificate must be valid for the server_hostname given when connecting. ca: path of the CAs to
    believe, PEM; the system's unless given. certificate: shown where the target asks for one.
    Raises CertificateRefused.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 9525 2: names are in subjectAltName
    context.set_alpn_protocols(ALPN)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is None:
        context.load_default_certs()
    else:
        _load_trust(context, ca, read_pem(ca))
    if certificate is not None:
        _load_certificate(context, certificate)
    return context


_Trust = tuple[tuple[str, bytes], ...]


def _client_trust(settings: ListenerTlsSettings) -> _Trust:
    """The CA and CRL files with what is in them, read once for all contexts of a table."""
    if settings.client_auth == "none":
        return ()
    if settings.client_ca is None:
        raise CertificateRefused("client certificates are checked against a CA, and none is named")
    paths = [settings.client_ca] + ([settings.client_crl] if settings.client_crl else [])
    return tuple((path, read_pem(path)) for path in paths)


def _server_context(certificate: Certificate, settings: ListenerTlsSettings, trust: _Trust) -> NamedContext:
    context = NamedContext(ssl.PROTOCOL_TLS_SERVER)
    context.names = certificate.names
    context.set_alpn_protocols(ALPN)
    for path, pem in trust:
        _load_trust(context, path, pem)
    _set_rules(context, settings)
    _load_certificate(context, certificate)
    return context


def _set_rules(context: ssl.SSLContext, settings: ListenerTlsSettings) -> None:
    context.minimum_version = VERSIONS[settings.min_version]
    context.verify_mode = VERIFY[settings.client_auth]
    context.verify_flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    # A resumed session is not checked again, neither against a new CA nor against a new CRL.
    if settings.client_auth == "none":
        context.options &= ~ssl.OP_NO_TICKET
        context.num_tickets = 2
        return
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    if settings.client_crl:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def _load_trust(context: ssl.SSLContext, path: str, pem: bytes) -> None:
    try:
        with _as_file(pem) as name:
            context.load_verify_locations(name)
    except ssl.SSLError as exc:
        raise NotPem(f"{path}: no certificate or revocation list in PEM can be read from this file") from exc


def _load_certificate(context: ssl.SSLContext, certificate: Certificate) -> None:
    try:
        with _as_file(certificate.chain_pem + b"\n" + certificate.key_pem) as name:
            context.load_cert_chain(name)
    except ssl.SSLError as exc:
        raise CertificateRefused(f"{certificate.cert_path}: OpenSSL refuses it: {exc.reason}") from exc


@contextmanager
def _as_file(pem: bytes) -> Iterator[str]:
    """A name that OpenSSL can open for octets in memory.

    It loads keys by file name only, and the original may have been renewed since it was read and checked. The
    file has no name on disk where the system can do that, and is readable by its owner alone where it cannot.
    """
    if hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        with open(os.memfd_create("pem"), "wb", buffering=0) as file:
            file.write(pem)
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as named:
            named.write(pem)
            named.flush()
            yield named.name
