"""The command ``painterly-preprocess``: read settings, configure logging, serve."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import click

from painterly.configuration import SettingsError, configure, settings_options
from painterly.configuration.options import fail
from painterly.logs import set_up_logging
from painterly_preprocess.settings import Settings

PROGRAM = "painterly-preprocess"

# Pictures are worked on beside each other, one thread for each: libraries must not add threads of their own. They read
# this when they are loaded.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

try:
    from painterly.serving import serve_until_signal
    from painterly.weights import WeightStore
    from painterly_preprocess.servicer import build_server
except ModuleNotFoundError as missing:
    module = (missing.name or "").partition(".")[0]
    if module.startswith("painterly"):
        raise
    fail(PROGRAM, f"module {module} is missing; run: pip install 'painterly[preprocess]'")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@settings_options(Settings)
def main(**options: Any) -> None:
    """Serve background removal, compositing and mask dilation over gRPC.

    Writes one line of JSON to standard output when it listens; its log goes to standard error.
    """
    settings = configure(Settings, PROGRAM, options)
    set_up_logging(settings.log_level, settings.log_format)
    asyncio.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serve until a signal, then let running calls end and stop."""
    try:
        server, listener = build_server(settings, WeightStore())
    except SettingsError as error:
        fail(PROGRAM, *error.faults)
    except (RuntimeError, OSError) as error:
        fail(
            PROGRAM,
            f"cannot listen on {settings.host}:{settings.port}: {error}; choose another --host, --port or --metrics",
        )
    await serve_until_signal(server, listener, "preprocess")


if __name__ == "__main__":
    main()
