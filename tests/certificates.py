"""Authorities and certificates made on the spot."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: bytes
    key: bytes

    def write(self, certificate: Path, key: Path) -> None:
        """Put both in the place of older ones, each at once."""
        for path, content in ((key, self.key), (certificate, self.certificate)):
            fresh = path.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(path)


@dataclass(frozen=True)
class Authority:
    """Signs certificates."""

    name: str = "test authority"
    _key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def certificate(self) -> bytes:
        """Its own certificate, PEM."""
        key = self._key.public_key()
        built = _builder(self.name, self.name, key, days=30).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        return _pem(built.sign(self._key, hashes.SHA256()))

    def issue(self, name: str = "localhost", *, days: int = 30) -> Pair:
        """A certificate for ``name`` and 127.0.0.1 that ends in ``days``, or has ended when it is negative."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        built = _builder(name, self.name, key.public_key(), days).add_extension(
            x509.SubjectAlternativeName(names), critical=False
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Pair(certificate=_pem(built.sign(self._key, hashes.SHA256())), key=private)


def _builder(name: str, issuer: str, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 60 * DAY)
        .not_valid_after(now + days * DAY)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
