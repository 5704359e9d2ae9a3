"""Options for servers that speak TLS or want a token."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from painterly_client import Credentials
from painterly_client.cli.session import Session

_F = TypeVar("_F", bound=Callable[..., Any])

TOKEN = "token"
_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def _note(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None:
        ctx.ensure_object(Session).security[param.name or ""] = value


def _option(name: str, kind: Any, metavar: str, text: str) -> Callable[[_F], _F]:
    variable = "PAINTERLY_" + name.upper().replace("-", "_")
    return click.option(
        f"--{name}",
        type=kind,
        metavar=metavar,
        envvar=variable,
        show_envvar=True,
        expose_value=False,
        callback=_note,
        help=text,
    )


_OPTIONS = (
    _option("tls-ca", _FILE, "FILE", "Authorities of the servers' certificates, PEM."),
    _option("tls-certificate", _FILE, "FILE", "Certificate of this client, PEM, for servers that ask for one."),
    _option("tls-key", _FILE, "FILE", "Key of that certificate, PEM."),
    _option("tls-name", str, "NAME", "Name in the server's certificate, where the endpoint has another."),
    _option(
        TOKEN, str, "TOKEN", "Token for the servers; others on this machine can read it here, not in the variable."
    ),
)


def security_options(function: _F) -> _F:
    """``--tls-ca`` and its kin, once for each command; for :func:`credentials_of`."""
    known = {param.name for param in getattr(function, "__click_params__", ())}
    if TOKEN not in known:
        for option in reversed(_OPTIONS):
            function = option(function)
    return function


def credentials_of(session: Session) -> Credentials:
    """What the options say. Raises: OSError, InvalidRequest."""

    def content(name: str) -> bytes | None:
        path = session.security.get(name)
        return path.read_bytes() if isinstance(path, Path) else None

    def text(name: str) -> str | None:
        value = session.security.get(name)
        return str(value) if value else None

    return Credentials(
        ca_certificates=content("tls_ca"),
        certificate=content("tls_certificate"),
        key=content("tls_key"),
        server_name=text("tls_name"),
        token=text(TOKEN),
    )
