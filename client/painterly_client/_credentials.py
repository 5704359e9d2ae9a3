"""How a client and its servers know each other: certificates, a token, and which endpoints speak TLS."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc

from painterly_client._errors import invalid

Options: TypeAlias = "Sequence[tuple[str, int | str]]"

_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a client trusts and shows. Raises InvalidRequest when the parts do not fit.

    ``ca_certificates`` are the authorities of the servers' certificates (None: gRPC's own list), ``certificate`` and
    ``key`` are this client's own, for servers that ask for one; all are the bytes of PEM files. ``server_name`` is the
    name in the server's certificate when the endpoint has another. ``token`` is sent with every call: without TLS,
    everybody on the way can read it.
    """

    ca_certificates: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    server_name: str | None = None
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for given, missing in (("certificate", "key"), ("key", "certificate")):
            if getattr(self, given) is not None and getattr(self, missing) is None:
                name = f"credentials.{missing}"
                raise invalid("FIELD_REQUIRED", f"{name}: a {given} needs its {missing}", field=name)
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            text = "credentials.token: must be 1 to 1024 visible ASCII characters"
            raise invalid("FIELD_OUT_OF_RANGE", text, field="credentials.token")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call sends along."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    @property
    def has_certificates(self) -> bool:
        """Whether they make sense with TLS alone."""
        return any(part is not None for part in (self.ca_certificates, self.certificate, self.server_name))

    @property
    def options(self) -> tuple[tuple[str, str], ...]:
        """Options of a channel that speaks TLS."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()

    def for_channel(self) -> grpc.ChannelCredentials:
        """Credentials of a channel that speaks TLS."""
        return grpc.ssl_channel_credentials(self.ca_certificates, self.key, self.certificate)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a service is: ``text`` as it was given, ``address`` as ``host:port``."""

    text: str
    address: str
    uses_tls: bool


def endpoint_of(name: str, text: str, credentials: Credentials) -> Endpoint:
    """Read ``host:port``, ``https://host:port`` or ``http://host:port``.

    Without a scheme an endpoint speaks TLS when there are certificates. Raises: InvalidRequest naming the field.
    """
    scheme, separator, rest = text.rpartition("://")
    address = rest.removesuffix("/") if separator else text
    host, _, port = address.rpartition(":")
    is_bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    is_place = bool(host) and "/" not in host and not is_bare_ipv6
    is_port = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not is_place or not is_port or (separator and scheme not in ("http", "https")):
        message = (
            f"{name}: {text!r} is not host:port, for example 127.0.0.1:50051 or [::1]:50051, "
            "with https:// before it for a server that speaks TLS"
        )
        raise invalid("FIELD_OUT_OF_RANGE", message, field=name, value=text)
    if scheme == "http" and credentials.has_certificates:
        message = f"{name}: {text!r} speaks no TLS, but there are certificates; write https:// or leave them out"
        raise invalid("FIELDS_CONFLICT", message, field=name, conflicts_with="credentials")
    return Endpoint(
        text=text, address=address, uses_tls=scheme == "https" or (not scheme and credentials.has_certificates)
    )


def open_channel(endpoint: Endpoint, credentials: Credentials, options: Options) -> grpc.Channel:
    """A blocking channel to an endpoint."""
    if endpoint.uses_tls:
        return grpc.secure_channel(endpoint.address, credentials.for_channel(), (*options, *credentials.options))
    return grpc.insecure_channel(endpoint.address, options)


def open_async_channel(endpoint: Endpoint, credentials: Credentials, options: Options) -> grpc.aio.Channel:
    """A channel to an endpoint, for the event loop that runs."""
    if endpoint.uses_tls:
        return grpc.aio.secure_channel(endpoint.address, credentials.for_channel(), (*options, *credentials.options))
    return grpc.aio.insecure_channel(endpoint.address, options)
