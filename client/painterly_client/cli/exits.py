"""Exit codes, and the one place where an error becomes lines for people and a code for scripts."""

from __future__ import annotations

import os
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from painterly_client import InvalidRequest, PainterlyError, PreconditionFailed, ServerUnavailable
from painterly_client._embedded import EmbeddedServerFailed
from painterly_client.cli.session import Session

OK = 0
FAILED = 1
BAD_INPUT = 2
UNAVAILABLE = 3
PRECONDITION = 4
INTERRUPTED = 130

BUG = "BUG"

HELP = """\b
Exit codes: 0 done, 1 the work failed, 2 wrong usage or input, 3 server unavailable, 4 something is missing first
(weights, device), 130 interrupted."""


class CommandFailed(Exception):
    """The command cannot go on, for a reason of its own; ``exit_code`` is one of the above."""

    def __init__(self, message: str, exit_code: int = FAILED, *, reason: str = "COMMAND_FAILED") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An error as it is told. ``reason`` is the server's, or the error's name; ``metadata`` is the server's."""

    message: str
    exit_code: int
    reason: str
    metadata: Mapping[str, str] = field(default_factory=dict)


def failure_of(error: BaseException) -> Failure:
    """Tell an error: an expected one in its own words, any other as the bug that it is."""
    if isinstance(error, PainterlyError):
        return Failure(
            message=_server_message(error),
            exit_code=_server_code(error),
            reason=error.reason or _name(error),
            metadata=error.metadata,
        )
    if isinstance(error, KeyboardInterrupt):
        return Failure(message="interrupted", exit_code=INTERRUPTED, reason="INTERRUPTED")
    if isinstance(error, CommandFailed):
        return Failure(message=str(error), exit_code=error.exit_code, reason=error.reason)
    if isinstance(error, EmbeddedServerFailed):
        return Failure(message=str(error), exit_code=UNAVAILABLE, reason=_name(error))
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return Failure(message=f"{place}{error.strerror or error}", exit_code=FAILED, reason=_name(error))
    return Failure(message=f"this is a bug: {_name(error)}: {error}", exit_code=FAILED, reason=BUG)


def write_crash_log(error: BaseException) -> Path:
    """Keep a bug's traceback in a temporary file."""
    descriptor, name = tempfile.mkstemp(prefix="painterly-crash-", suffix=".log")
    with os.fdopen(descriptor, "w", encoding="utf-8") as log:
        log.writelines(traceback.format_exception(type(error), error, error.__traceback__))
    return Path(name)


def report_failure(failure: Failure, session: Session) -> None:
    """Say what went wrong, what is kept nevertheless and how to go on; as JSON too, when that was asked for."""
    click.echo(f"painterly: {failure.message}", err=True)
    if session.logs:
        click.echo(f"log: {_joined(session.logs)}", err=True)
    if session.kept:
        click.echo(f"kept: {_joined(list(session.kept.values()))}", err=True)
    # The same input would be refused again.
    go_on = session.go_on if failure.exit_code != BAD_INPUT else []
    for purpose, command in go_on:
        click.echo(f"{purpose}: {command}", err=True)
    session.answer(
        {
            "error": {
                "message": failure.message,
                "reason": failure.reason,
                "metadata": dict(failure.metadata),
            },
            "exit_code": failure.exit_code,
            "kept": session.kept,
            "go_on": [command for _, command in go_on],
            "logs": session.logs,
        }
    )


def is_server_trouble(error: BaseException) -> bool:
    """Whether a server's log may tell more about the error: not when the input or the user is the cause."""
    harmless = (InvalidRequest, PreconditionFailed)
    return isinstance(error, (PainterlyError, EmbeddedServerFailed)) and not isinstance(error, harmless)


def _server_message(error: PainterlyError) -> str:
    path = error.metadata.get("field", "")
    named = f"{path}: " if path and path not in error.message else ""
    weights = error.metadata.get("weights", "")
    way_out = f"painterly weights fetch {weights}"
    hint = f"; run: {way_out}" if weights and way_out not in error.message else ""
    return f"{named}{error.message}{hint}"


def _server_code(error: PainterlyError) -> int:
    if isinstance(error, InvalidRequest):
        return BAD_INPUT
    if isinstance(error, PreconditionFailed):
        return PRECONDITION
    return UNAVAILABLE if isinstance(error, ServerUnavailable) else FAILED


def _name(error: BaseException) -> str:
    return type(error).__name__


def _joined(paths: Sequence[object]) -> str:
    return ", ".join(str(path) for path in paths)
