"""Where and how a server listens, who may call it, where its metrics are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client import CollectorRegistry

from painterly.configuration import ServerSettings, SettingsError
from painterly.configuration.server import is_loopback
from painterly.limits import SERVER_OPTIONS, server_options
from painterly.serving.authentication import Authentication
from painterly.serving.certificates import CertificateFiles, ReloadedCredentials
from painterly.serving.tokens import TokenFile

_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Where and how a server runs. ``port`` 0 takes a free one. ``grace_s`` is how long running calls may go on.

    ``drain_pause_s`` lies between the health service's NOT_SERVING and the end of new calls, at least. Without ``tls``
    it speaks plain text. ``metrics`` is where ``registry`` is served, ``host:port``.
    """

    host: str = "127.0.0.1"
    port: int = 0
    grace_s: float = 5.0
    drain_pause_s: float = 0.0
    exit_with_stdin: bool = False
    tls: ReloadedCredentials | None = None
    authentication: Authentication = field(default_factory=Authentication)
    metrics: str | None = None
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    options: tuple[tuple[str, int], ...] = SERVER_OPTIONS

    def warning(self) -> str | None:
        """What an operator should know of a listener that others reach."""
        if is_loopback(self.host):
            return None
        if self.tls is None and self.authentication.tokens is None:
            return "everybody who reaches this server may call it, and everybody on the way can read along"
        if self.tls is None:
            return "without TLS everybody on the way can read the tokens"
        return None if self.authentication.is_on else "everybody who reaches this server may call it"


def listener_of(settings: ServerSettings) -> Listener:
    """The listener that settings describe. Raises: SettingsError with the faults of certificate and token files."""
    faults: list[str] = []
    certificate, key, client_ca = settings.tls_certificate, settings.tls_key, settings.tls_client_ca
    tls, tokens = None, None
    if certificate and key:
        files = CertificateFiles(certificate=certificate, key=key, client_ca=client_ca)
        tls = _or_fault(lambda: ReloadedCredentials(files), faults)
    if settings.token_file:
        path = settings.token_file
        tokens = _or_fault(lambda: TokenFile(path), faults)
    if faults:
        raise SettingsError(faults)
    return Listener(
        host=settings.host,
        port=settings.port,
        grace_s=settings.grace_s,
        # Nobody spreads calls over servers that this machine alone reaches.
        drain_pause_s=0.0 if is_loopback(settings.host) else settings.drain_pause_s,
        exit_with_stdin=settings.exit_with_stdin,
        tls=tls,
        authentication=Authentication(service=settings.service, tokens=tokens, certificates=client_ca is not None),
        metrics=settings.metrics,
        options=server_options(
            keepalive_s=settings.keepalive_s,
            keepalive_timeout_s=settings.keepalive_timeout_s,
            min_ping_interval_s=settings.min_ping_interval_s,
            connection_age_s=settings.connection_age_s,
        ),
    )


def _or_fault(make: Callable[[], _T], faults: list[str]) -> _T | None:
    try:
        return make()
    except SettingsError as error:
        faults += error.faults
    except (OSError, UnicodeDecodeError) as error:
        faults.append(str(error))
    return None
