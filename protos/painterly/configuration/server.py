"""The settings that both services have."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from painterly.configuration.fields import Between, Matching, OneOf, SettingsError, settings_of

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_HOST = Matching(r"\S+", "a host name or an address")
_ENDPOINT = Matching(r"(\[[0-9a-fA-F:.]+\]|[^\s:\[\]]+):\d{1,5}", "host:port, for example 127.0.0.1:9464")


def available_cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How one server runs. Raises: SettingsError with every fault.

    A subclass names its ``service``; its fields are annotated with what they may be and with a line of help.
    """

    service: ClassVar[str]

    host: Annotated[str, _HOST, "Address to listen on."] = "127.0.0.1"
    port: Annotated[int, Between(0, 65_535), "Port, 0 for a free one."] = 0
    tls_certificate: Annotated[
        Path | None, "PEM file with the server's certificate chain; read again when it changes."
    ] = None
    tls_key: Annotated[Path | None, "PEM file with the certificate's key."] = None
    tls_client_ca: Annotated[Path | None, "PEM file; callers must show a certificate that one of these signed."] = None
    token_file: Annotated[
        Path | None, "Who may call: a line each, name and sha256 of the token; read again when it changes."
    ] = None
    insecure: Annotated[bool, "Listen beyond this machine with neither TLS nor tokens."] = False
    metrics: Annotated[str | None, _ENDPOINT, "HOST:PORT where Prometheus finds metrics, port 0 for a free one."] = None
    grace_s: Annotated[float, Between(0, 3600), "Seconds that running calls may go on once the server stops."] = 5.0
    drain_pause_s: Annotated[
        float,
        Between(0, 600),
        "Seconds for others to notice by its health that the server stops, before it refuses calls; 0 on loopback.",
    ] = 5.0
    keepalive_s: Annotated[int, Between(10, 3600), "Seconds of silence after which a caller is pinged."] = 30
    keepalive_timeout_s: Annotated[int, Between(1, 600), "Seconds that a caller has to answer a ping."] = 10
    min_ping_interval_s: Annotated[
        int, Between(1, 3600), "Seconds that callers leave between pings; more often ends them."
    ] = 10
    connection_age_s: Annotated[int, Between(0, 86_400), "Seconds after which callers connect anew, 0 for never."] = 0
    log_level: Annotated[str, OneOf(*LOG_LEVELS), "Least level to log."] = "INFO"
    log_format: Annotated[str, OneOf("auto", "json", "text"), "auto: text on a terminal, else JSON lines."] = "auto"
    exit_with_stdin: Annotated[bool, "Stop when standard input ends."] = False

    def __post_init__(self) -> None:
        faults = [
            fault for name, setting in settings_of(type(self)).items() for fault in setting.check(getattr(self, name))
        ]
        faults += self.conflicts()
        if faults:
            raise SettingsError(faults)

    def conflicts(self) -> list[str]:
        """The faults of settings that do not go together, a line each."""
        faults = []
        if (self.tls_certificate is None) != (self.tls_key is None):
            missing, given = ("key", "certificate") if self.tls_key is None else ("certificate", "key")
            faults.append(self.fault(f"tls_{given}", f"needs --tls-{missing} beside it"))
        if self.tls_client_ca is not None and self.tls_certificate is None:
            faults.append(self.fault("tls_client_ca", "needs --tls-certificate and --tls-key beside it"))
        is_open = self.tls_certificate is None and self.token_file is None
        if is_open and not self.insecure and self.host and not is_loopback(self.host):
            faults.append(
                self.fault(
                    "host",
                    "must be of this machine alone, such as 127.0.0.1, unless there is --tls-certificate, --token-file "
                    "or, for a network that keeps everybody else out, --insecure",
                )
            )
        return faults

    def fault(self, name: str, words: str) -> str:
        """The line that says what is wrong with the value of a setting: that it ``words``."""
        return settings_of(type(self))[name].fault(words, getattr(self, name))
