"""The command ``painterly-harmonize``: read settings, configure logging, serve or work."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from painterly.configuration import SettingsError, configure, settings_options
from painterly.configuration.options import fail
from painterly.logs import set_up_logging

PROGRAM = "painterly-harmonize"

try:
    from painterly.service_error import ServiceError
    from painterly_harmonize.jobs.context import WorkerBroken
    from painterly_harmonize.jobs.store import StoreUnavailable
    from painterly_harmonize.server import CannotListen, serve
    from painterly_harmonize.settings import Settings, resolve_device
    from painterly_harmonize.worker_process import BROKEN_EXIT_CODE, work
except ModuleNotFoundError as missing:
    if (missing.name or "").startswith("painterly"):
        raise
    fail(PROGRAM, f"module {missing.name} is missing; run: pip install 'painterly[harmonize]'")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@settings_options(Settings)
def main(**options: Any) -> None:
    """Serve the harmonization of composites over gRPC.

    Writes one line of JSON to standard output when it listens; its log goes to standard error.
    """
    settings = configure(Settings, PROGRAM, options)
    try:
        if settings.role != "front":
            resolve_device(settings.device)
        set_up_logging(settings.log_level, settings.log_format)
        if settings.role == "worker":
            work(settings, Path(settings.data_folder))
        else:
            asyncio.run(serve(settings))
    except ServiceError as error:
        fail(PROGRAM, error.message)
    except SettingsError as error:
        fail(PROGRAM, *error.faults)
    except CannotListen as error:
        fail(PROGRAM, str(error))
    except StoreUnavailable as error:
        fail(PROGRAM, f"the data folder cannot be used: {error}; choose another with --data-folder")
    except WorkerBroken:
        sys.exit(BROKEN_EXIT_CODE)


if __name__ == "__main__":
    main()
