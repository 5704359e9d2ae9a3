"""``painterly health``: ask servers how they are, by the standard health service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from painterly.limits import CHANNEL_OPTIONS
from painterly_client import Credentials
from painterly_client._credentials import endpoint_of, open_channel
from painterly_client.cli.options import output_options
from painterly_client.cli.securing import credentials_of, security_options
from painterly_client.cli.session import Session

_F = TypeVar("_F", bound=Callable[..., Any])

_SERVICES = {"preprocess": "painterly.v1.PreprocessService", "harmonize": "painterly.v1.HarmonizeService"}
_DEFAULT_ENDPOINTS = {"preprocess": "127.0.0.1:50051", "harmonize": "127.0.0.1:50052"}


def _endpoint_option(service: str) -> Callable[[_F], _F]:
    return click.option(
        f"--{service}-endpoint",
        envvar=f"PAINTERLY_{service.upper()}_ENDPOINT",
        default=_DEFAULT_ENDPOINTS[service],
        show_default=True,
        show_envvar=True,
        metavar="HOST:PORT",
        help=f"Where the {service} service is, when no ENDPOINT is given.",
    )


@click.command(short_help="Say whether the services serve.")
@click.argument("endpoint", required=False, metavar="[ENDPOINT]")
@click.option("--service", help="preprocess, harmonize, or a full service name. [default: the server as a whole]")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for each answer.",
)
@_endpoint_option("preprocess")
@_endpoint_option("harmonize")
@security_options
@output_options
@click.pass_context
def health(
    ctx: click.Context,
    endpoint: str | None,
    service: str | None,
    timeout: float,
    preprocess_endpoint: str,
    harmonize_endpoint: str,
) -> None:
    """Say whether a server serves: exit code 0 when it does, 1 otherwise. Without ENDPOINT, ask both services.

    \b
    Examples:
      painterly health
      painterly health localhost:50052 --service harmonize --timeout 2
    """
    session = ctx.ensure_object(Session)
    endpoints = {"preprocess": preprocess_endpoint, "harmonize": harmonize_endpoint}
    if endpoint:
        targets = [(endpoint, _SERVICES.get(service or "", service or ""))]
    elif service is None:
        targets = [(endpoints[name], _SERVICES[name]) for name in endpoints]
    elif service in endpoints:
        targets = [(endpoints[service], _SERVICES[service])]
    else:
        raise click.UsageError(f"--service {service} needs an ENDPOINT to ask", ctx)
    credentials = credentials_of(session)
    checks = [
        {"endpoint": where, "service": name, "status": ask(where, name, timeout, credentials)}
        for where, name in targets
    ]
    for check in checks:
        session.say(f"{check['endpoint']} {check['service'] or '(the whole server)'}: {check['status']}")
    serving = all(check["status"] == "SERVING" for check in checks)
    session.answer({"serving": serving, "checks": checks})
    if not serving:
        ctx.exit(1)


def ask(endpoint: str, service: str, timeout_s: float, credentials: Credentials) -> str:
    """A server's health status by name; UNREACHABLE, SERVICE_UNKNOWN or the status code when it gives none."""
    try:
        with open_channel(endpoint_of("endpoint", endpoint, credentials), credentials, CHANNEL_OPTIONS) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
            return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
    except grpc.RpcError as error:
        code = error.code()
        names = {grpc.StatusCode.UNAVAILABLE: "UNREACHABLE", grpc.StatusCode.NOT_FOUND: "SERVICE_UNKNOWN"}
        return names.get(code, code.name)
