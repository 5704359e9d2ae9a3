"""TLS and mTLS from files, read again when they change."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from painterly.configuration import SettingsError

logger = logging.getLogger("painterly.serving")


@dataclass(frozen=True, kw_only=True)
class CertificateFiles:
    """PEM files: the server's certificate chain and its key, and the authorities of callers' certificates, if any."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def signature(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when a file does. Raises: OSError."""
        stats = [path.stat() for path in (self.certificate, self.key, self.client_ca) if path]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

    def read(self) -> grpc.ServerCertificateConfiguration:
        """The files' contents. Raises: SettingsError when they do not fit together, OSError."""
        faults = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key, password=lambda: "")
        except ssl.SSLError as error:
            faults.append(
                f"{self.certificate} and {self.key} must be a certificate and its key, in PEM and not "
                f"encrypted: {error.reason or error}"
            )
        try:
            if self.client_ca:
                context.load_verify_locations(self.client_ca)
        except ssl.SSLError as error:
            faults.append(f"{self.client_ca} must hold certificates in PEM: {error.reason or error}")
        if faults:
            raise SettingsError(faults)
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration(
            [pair], self.client_ca.read_bytes() if self.client_ca else None
        )


class ReloadedCredentials:
    """Credentials whose files are looked at before each new connection; faulty ones change nothing.

    Raises: SettingsError, OSError at first.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._seen: object = files.signature()
        self.credentials = grpc.dynamic_ssl_server_credentials(
            files.read(),
            self._fetch,  # type: ignore[arg-type]  # None means: as before
            require_client_authentication=files.client_ca is not None,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        try:
            signature: object = self._files.signature()
        except OSError as error:
            signature = str(error)
        if signature == self._seen:
            return None
        self._seen = signature
        try:
            configuration = self._files.read()
        except (OSError, SettingsError) as error:
            logger.error("the certificate files cannot be used, those read before stay: %s", error)
            return None
        logger.info("certificate files read again")
        return configuration
