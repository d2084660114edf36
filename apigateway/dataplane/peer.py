"""What a client's certificate says of it."""

from __future__ import annotations

import hashlib
import ssl

from cryptography import x509

from apigateway.flow.exchange import PeerCertificate


def peer_certificate(tls: ssl.SSLObject) -> PeerCertificate | None:
    """The certificate the client showed (verified already), or None."""
    der = tls.getpeercert(binary_form=True)
    if not der:
        return None
    subject = x509.load_der_x509_certificate(der).subject.rfc4514_string()
    return PeerCertificate(der, subject, hashlib.sha256(der).hexdigest())
