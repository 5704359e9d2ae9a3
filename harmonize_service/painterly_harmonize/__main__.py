"""The command ``painterly-harmonize``: read settings, configure logging, serve or work."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

USAGE_EXIT_CODE = 2


def _fail(*lines: str) -> NoReturn:
    for line in lines:
        click.echo(f"painterly-harmonize: {line}", err=True)
    sys.exit(USAGE_EXIT_CODE)


try:
    from painterly.service_error import ServiceError
    from painterly_harmonize.jobs.context import WorkerBroken
    from painterly_harmonize.jobs.store import StoreUnavailable
    from painterly_harmonize.server import CannotListen, serve
    from painterly_harmonize.settings import Settings, SettingsError, read_settings, resolve_device
    from painterly_harmonize.worker_process import BROKEN_EXIT_CODE, work
except ModuleNotFoundError as missing:
    if (missing.name or "").startswith("painterly"):
        raise
    _fail(f"module {missing.name} is missing; run: pip install 'painterly[harmonize]'")

_FLAGS = {
    "host": "Address to listen on.",
    "port": "Port, 0 for a free one.",
    "device": "auto, cpu, cuda or cuda:N.",
    "threads": "CPU threads of torch; by default the cores.",
    "queue_size": "Jobs that may wait.",
    "style_cache_mib": "Memory for features of paintings that come again, MiB.",
    "memory_limit_mib": "Memory that a job may take, MiB; 0 for what is free.",
    "precision": "Of convolutions: float32, tf32 or bfloat16.",
    "cuda_graphs": "on: a CUDA device replays recorded iterations.",
    "role": "all, front (answers calls) or worker (computes).",
    "data_folder": "Where jobs are kept; temporary for a folder that is removed at the end.",
    "principal_jobs": "Jobs that one authenticated caller may have waiting or running.",
    "attempts": "How often a job is tried whose workers are lost.",
    "request_mib": "Requests that are being read at a time, MiB.",
    "spool_mib": "What is kept of jobs, MiB.",
    "lease_s": "How long a worker's right to a job lasts unless renewed, s.",
    "silence_s": "After how long a silent worker is replaced, s.",
    "orphan_s": "How long a named job runs on while nobody listens, s.",
    "checkpoint_s": "Time between checkpoints at least, s.",
    "run_limit_s": "How long a job may run, s; 0 for ever, -1 for 1800 on a CUDA device alone.",
    "result_retention_s": "How long results are kept, s.",
    "event_retention_s": "How long the events before a result are kept, s.",
    "heartbeat_s": "How long a stream is silent at most, s.",
    "drain_s": "How long a running job may go on when the server stops, s.",
    "log_level": "DEBUG, INFO, WARNING or ERROR.",
}


def _with_flags(command: Callable[..., None]) -> Callable[..., None]:
    defaults = Settings()
    for name, text in reversed(_FLAGS.items()):
        variable = f"PAINTERLY_HARMONIZE_{name.upper()}"
        default: Any = getattr(defaults, name)
        by_machine = name in ("threads", "data_folder")
        shown = f"  [env {variable}]" if by_machine else f"  [env {variable}; default {default}]"
        command = click.option("--" + name.replace("_", "-"), help=text + shown)(command)
    return command


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@_with_flags
@click.option("--exit-with-stdin", is_flag=True, help="Stop when standard input ends.")
def main(*, exit_with_stdin: bool, **flags: str | None) -> None:
    """Serve the harmonization of composites over gRPC.

    Writes one line of JSON to standard output when it listens; its log goes to standard error.
    """
    try:
        settings = read_settings(flags, os.environ, exit_with_stdin=exit_with_stdin)
        if settings.role != "front":
            resolve_device(settings.device)
    except SettingsError as error:
        _fail(*error.faults)
    except ServiceError as error:
        _fail(error.message)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if settings.role == "worker":
            work(settings, Path(settings.data_folder))
        else:
            asyncio.run(serve(settings))
    except CannotListen as error:
        _fail(str(error))
    except StoreUnavailable as error:
        _fail(f"the data folder cannot be used: {error}; choose another with --data-folder")
    except WorkerBroken:
        sys.exit(BROKEN_EXIT_CODE)


if __name__ == "__main__":
    main()
