"""``painterly serve``: run a service, or both under one roof."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, TypeVar

import click

from painterly_client._embedded import MODULES
from painterly_client.cli.exits import CommandFailed

_F = TypeVar("_F", bound=Callable[..., Any])

_POLL_S = 0.1
# The services let running calls end for five seconds first.
_STOP_TIMEOUT_S = 15.0


@click.group()
def serve() -> None:
    """Run the services.

    Their settings come from options, from the environment (PAINTERLY_PREPROCESS_..., PAINTERLY_HARMONIZE_...) and
    from the file that PAINTERLY_CONFIG names; `painterly config show` prints them.

    \b
    Examples:
      painterly serve all
      painterly serve harmonize --port 50052 --queue-size 8
    """


def _command(service: str, host: str | None, port: int | None) -> list[str]:
    flags = [*(["--host", host] if host else []), *(["--port", str(port)] if port is not None else [])]
    return [sys.executable, "-m", MODULES[service], *flags]


_host_option = click.option("--host", metavar="ADDRESS", help="Where to listen. [default: 127.0.0.1]")


def _port_option(name: str, default: int) -> Callable[[_F], _F]:
    return click.option(
        name, type=click.IntRange(0, 65_535), metavar="PORT", help=f"0 takes a free port. [default: {default}]"
    )


# Its own options are not known here: the service may have been built by somebody else.
_more_options = click.argument("more", nargs=-1, type=click.UNPROCESSED, metavar="[SERVICE OPTIONS]...")


@serve.command(context_settings={"ignore_unknown_options": True})
@_host_option
@_port_option("--port", 50051)
@_more_options
def preprocess(host: str | None, port: int | None, more: tuple[str, ...]) -> None:
    """Run the preprocess service, in place of this process. It has more options: painterly-preprocess --help."""
    _become([*_command("preprocess", host, port), *more])


@serve.command(context_settings={"ignore_unknown_options": True})
@_host_option
@_port_option("--port", 50052)
@_more_options
def harmonize(host: str | None, port: int | None, more: tuple[str, ...]) -> None:
    """Run the harmonize service, in place of this process. It has more options: painterly-harmonize --help."""
    _become([*_command("harmonize", host, port), *more])


def _become(command: list[str]) -> None:
    sys.stdout.flush()
    os.execv(command[0], command)


@serve.command("all")
@_host_option
@_port_option("--preprocess-port", 50051)
@_port_option("--harmonize-port", 50052)
def serve_all(host: str | None, preprocess_port: int | None, harmonize_port: int | None) -> None:
    """Run both services; when one ends, or on a signal, both are stopped."""
    commands = {
        "preprocess": _command("preprocess", host, preprocess_port),
        "harmonize": _command("harmonize", host, harmonize_port),
    }
    ended = supervise(commands)
    if ended is not None:
        service, code = ended
        raise CommandFailed(f"the {service} service ended by itself with exit code {code}; both are stopped")


def supervise(commands: dict[str, list[str]]) -> tuple[str, int] | None:
    """Run processes until SIGINT or SIGTERM (None), or until one ends by itself (its name and exit code).

    The others are stopped before this returns. They end with this process also when it is killed.
    """
    processes: dict[str, subprocess.Popen[bytes]] = {}
    with _signals_noted() as noted:
        try:
            for name, command in commands.items():
                # A session of their own: a Ctrl-C at the terminal reaches them once, through us.
                processes[name] = subprocess.Popen(
                    [*command, "--exit-with-stdin"], stdin=subprocess.PIPE, start_new_session=True
                )
            while not noted:
                for name, process in processes.items():
                    code = process.poll()
                    if code is not None:
                        return name, code
                time.sleep(_POLL_S)
            return None
        finally:
            _stop(list(processes.values()))


@contextlib.contextmanager
def _signals_noted() -> Iterator[list[int]]:
    noted: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        noted.append(number)

    previous = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
