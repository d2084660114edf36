"""The certificates of a listener on their way from files to handshakes: loaded, renewed, never half."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apigateway.config.model import CertificateFiles as CertificatePaths
from apigateway.config.model import ListenerTls
from apigateway.dataplane.certificates import Certificate, CertificateFiles, CertificateRefused, load_pair
from apigateway.dataplane.sni import ListenerTlsSettings, SniTable, TlsListenerContext
from apigateway.ports.interfaces import IEventLog


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything of a listener's TLS, loaded and checked, ready to be swapped in."""

    table: SniTable
    settings: ListenerTls
    paths: tuple[CertificatePaths, ...]
    good: dict[tuple[str, str], Certificate]
    files: CertificateFiles


class ListenerTlsContext:
    """The certificates of a listener: its own and the revision's, looked at again by time and by reload.

    A pair that is broken leaves what is served as it is: `refresh` says so, and the other names are not touched. One
    that has expired is served, and flagged: clients are to see what is wrong, and operators are told.
    """

    def __init__(self, name: str, settings: ListenerTls, more: tuple[CertificatePaths, ...], events: IEventLog) -> None:
        self._name = name
        self._events = events
        self._paths: tuple[CertificatePaths, ...] = ()
        self._settings = settings
        self._files = CertificateFiles(())
        self._good: dict[tuple[str, str], Certificate] = {}
        self._told_expired: set[str] = set()
        # Pairs that could not be taken over when their files changed; for the metrics.
        self.refused = 0
        self._retry = False
        prepared = self.prepare(settings, more)
        self._holder = TlsListenerContext(prepared.table)
        self.take(prepared)
        self.context = self._holder.context

    def prepare(self, settings: ListenerTls, more: tuple[CertificatePaths, ...]) -> Prepared:
        """New settings with their certificates, read at this moment; CertificateRefused where a pair is broken."""
        return self._load(settings, (*settings.certificates, *more), strict=True)

    def take(self, prepared: Prepared) -> None:
        """Serve what was prepared; nothing can go wrong any more."""
        self._paths, self._good, self._files = prepared.paths, prepared.good, prepared.files
        self._settings = prepared.settings
        self._retry = False
        self._holder.swap(prepared.table)

    def refresh(self, now: datetime) -> None:
        """Look at the files; where some changed, serve what is in them now."""
        if not self._files.changed() and not self._retry:
            self.flag_expired(now)
            return
        before = {certificate.fingerprint for certificate in self._good.values()}
        try:
            prepared = self._load(self._settings, self._paths, strict=False)
        except (CertificateRefused, OSError) as error:
            # It may pass by itself (no descriptors left), so it is tried again whether or not a file changes.
            self._retry = True
            self.refused += 1
            self._events.event("error", "renewed certificate refused", listener=self._name, why=str(error))
            return
        self.take(prepared)
        for certificate in self._good.values():
            if certificate.fingerprint not in before:
                self._tell("info", "certificate in use", certificate)
        self.flag_expired(now)

    def flag_expired(self, now: datetime) -> None:
        """Say once of each certificate that is over that it is."""
        for certificate in self._good.values():
            if certificate.expired(now) and certificate.fingerprint not in self._told_expired:
                self._told_expired.add(certificate.fingerprint)
                self._tell("warn", "certificate expired", certificate)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        """What is served, the default one first."""
        return tuple(self._good.values())

    def _tell(self, level: str, message: str, certificate: Certificate) -> None:
        self._events.event(
            level, message, listener=self._name, names=list(certificate.names),
            serial=format(certificate.serial, "x"), until=certificate.not_after.isoformat(),
        )

    def _load(self, settings: ListenerTls, wanted: tuple[CertificatePaths, ...], *, strict: bool) -> Prepared:
        """Load every pair at one moment. Not strict: of a broken pair the last good one stays."""
        auth = settings.client_auth
        extra = [path for path in (auth.ca, auth.crl) if path is not None]
        # Stamped before they are read: what changes in between is seen as changed the next time.
        files = CertificateFiles([path for pair in wanted for path in (pair.cert, pair.key)] + extra)
        good: dict[tuple[str, str], Certificate] = {}
        for pair in wanted:
            try:
                good[(pair.cert, pair.key)] = load_pair(pair.cert, pair.key)
            except (CertificateRefused, OSError) as error:
                kept = self._good.get((pair.cert, pair.key))
                if strict or kept is None:
                    raise
                good[(pair.cert, pair.key)] = kept
                self.refused += 1
                self._events.event(
                    "error", "renewed certificate refused", listener=self._name, file=pair.cert, why=str(error)
                )
        return Prepared(SniTable(list(good.values()), tls_settings(settings)), settings, wanted, good, files)


def tls_settings(settings: ListenerTls) -> ListenerTlsSettings:
    """A listener's TLS as the SNI table wants it."""
    auth = settings.client_auth
    return ListenerTlsSettings(settings.strict_sni, settings.min_version, auth.mode, auth.ca, auth.crl)
