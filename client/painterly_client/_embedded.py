"""Services that live as long as one command: started on a free port of this host, stopped at the end.

A service runs in its own session, so a Ctrl-C at the terminal reaches the command alone, and reads a pipe of ours as
its standard input, so it ends with us however we end.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

MODULES = {"preprocess": "painterly_preprocess", "harmonize": "painterly_harmonize"}

START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 10.0
_SHOWN_LOG_LINES = 3


class EmbeddedServerFailed(Exception):
    """A service could not be started. The message ends with its last words; ``log_path`` holds all of them."""

    def __init__(self, message: str, log_path: Path) -> None:
        super().__init__(message)
        self.log_path = log_path


def service_command(service: str) -> list[str]:
    """The command that runs a service (``preprocess`` or ``harmonize``) on a free port until its input ends."""
    # What the environment says of servers for others does not hold for one that serves a single command.
    own = ["--host", "127.0.0.1", "--port", "0", "--exit-with-stdin", "--log-format", "text"]
    shared = [f"--{name}=" for name in ("tls-certificate", "tls-key", "tls-client-ca", "token-file", "metrics")]
    # Jobs end with the command, and so does what is kept of them.
    jobs = ["--data-folder", "temporary"] if service == "harmonize" else []
    return [sys.executable, "-m", MODULES[service], *own, *shared, *jobs]


class EmbeddedServer:
    """One running service; its log goes to the temporary file ``log_path``. The process starts at once."""

    def __init__(
        self, service: str, command: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """``environment`` holds variables beside this process's own."""
        self.service = service
        descriptor, name = tempfile.mkstemp(prefix=f"painterly-{service}-", suffix=".log")
        self.log_path = Path(name)
        with os.fdopen(descriptor, "wb") as log:
            self._process = subprocess.Popen(
                list(command or service_command(service)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, **(environment or {})},
            )
        self._endpoint: str | None = None
        self._announcements: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def endpoint(self, timeout_s: float = START_TIMEOUT_S) -> str:
        """Wait until the service listens; ``host:port``.

        Raises: EmbeddedServerFailed when the process ends first or says nothing within ``timeout_s``.
        """
        if self._endpoint is None:
            try:
                announced = self._announcements.get(timeout=timeout_s)
            except queue.Empty:
                raise self._failure(f"did not listen within {timeout_s:g} s") from None
            if announced is None:
                raise self._failure(f"ended with exit code {self._process.wait(_STOP_TIMEOUT_S)} before it listened")
            self._endpoint = announced
        return self._endpoint

    def stop(self) -> None:
        """End the process: close its input, SIGTERM, and SIGKILL when it has not ended within ten seconds."""
        if self._process.stdin:
            # The pipe may be broken already when the process has died.
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_STOP_TIMEOUT_S)
        if self._process.stdout and not self._reader.is_alive():
            self._process.stdout.close()

    def discard_log(self) -> None:
        """Remove the log file, when nobody will need it."""
        self.log_path.unlink(missing_ok=True)

    def _read_output(self) -> None:
        # Read to the end: a full pipe would block whatever else the process prints.
        for line in self._process.stdout or ():
            endpoint = _announced_endpoint(line)
            if endpoint is not None:
                self._announcements.put(endpoint)
        self._announcements.put(None)

    def _failure(self, what: str) -> EmbeddedServerFailed:
        lines = [line for line in self.log_path.read_text("utf-8", "replace").splitlines() if line.strip()]
        last_words = "".join(f"\n  {line}" for line in lines[-_SHOWN_LOG_LINES:])
        return EmbeddedServerFailed(f"the {self.service} service {what}{last_words}", self.log_path)


def _announced_endpoint(line: bytes) -> str | None:
    try:
        announcement = json.loads(line)
    except ValueError:
        return None
    if not isinstance(announcement, dict) or announcement.get("event") != "listening":
        return None
    return f"{announcement['host']}:{announcement['port']}"
