"""The services that a command talks to: given ones, or ones started for it alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import TracebackType

from painterly_client import Client, Reattachment
from painterly_client._embedded import EmbeddedServer, EmbeddedServerFailed
from painterly_client.cli.exits import is_server_trouble
from painterly_client.cli.securing import credentials_of
from painterly_client.cli.session import Session


class Services:
    """Context manager over a command's services.

    Those of ``needed`` that have no endpoint start at once, side by side; ``client`` waits for the one it is asked for.
    ``reattachment`` and ``waits_when_busy`` are the harmonize client's. On leaving the services are stopped. Their logs
    are removed, unless the command fails in a way that they may explain.
    """

    def __init__(
        self,
        needed: Sequence[str],
        endpoints: Mapping[str, str | None],
        session: Session,
        *,
        environment: Mapping[str, str] | None = None,
        reattachment: Reattachment | None = None,
        waits_when_busy: bool = False,
    ) -> None:
        """``environment`` are variables for those that start."""
        self._environment = environment
        self._reattachment, self._waits_when_busy = reattachment, waits_when_busy
        self._needed = needed
        self._endpoints = endpoints
        self._session = session
        self._servers: dict[str, EmbeddedServer] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Services:
        # The stack stops those that have started when a later one cannot.
        with ExitStack() as starting:
            for service in self._needed:
                if not self._endpoints.get(service):
                    self._session.say(f"starting the {service} service on this machine")
                    self._servers[service] = server = EmbeddedServer(service, environment=self._environment)
                    starting.callback(server.stop)
            self._stack = starting.pop_all()
        return self

    def client(self, service: str) -> Client:
        """A client of one service (``preprocess`` or ``harmonize``). Raises: EmbeddedServerFailed."""
        given = self._endpoints.get(service)
        endpoint = given or self._servers[service].endpoint()
        # A service of our own knows nobody's certificates and tokens.
        credentials = credentials_of(self._session) if given else None
        if service == "preprocess":
            return self._stack.enter_context(Client(preprocess_endpoint=endpoint, credentials=credentials))
        return self._stack.enter_context(
            Client(
                harmonize_endpoint=endpoint,
                credentials=credentials,
                reattachment=self._reattachment,
                waits_when_busy=self._waits_when_busy,
            )
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        explaining = error is not None and is_server_trouble(error)
        for server in self._servers.values():
            own = not isinstance(error, EmbeddedServerFailed) or error.log_path == server.log_path
            if explaining and own:
                self._session.logs.append(server.log_path)
            else:
                server.discard_log()
