"""The command ``painterly-preprocess``: read settings, configure logging, serve."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import NoReturn

import click

from painterly_preprocess.settings import LOG_LEVELS, RemoveBgSettings, Settings, available_cores

USAGE_EXIT_CODE = 2


def _fail(line: str) -> NoReturn:
    click.echo(f"painterly-preprocess: {line}", err=True)
    sys.exit(USAGE_EXIT_CODE)


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
    _fail(f"module {module} is missing; run: pip install 'painterly[preprocess]'")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--host", envvar="PAINTERLY_PREPROCESS_HOST", show_envvar=True, default="127.0.0.1", help="Address.")
@click.option(
    "--port",
    envvar="PAINTERLY_PREPROCESS_PORT",
    show_envvar=True,
    type=click.IntRange(0, 65_535),
    default=50051,
    help="Port, 0 for a free one.",
)
@click.option(
    "--log-level",
    envvar="PAINTERLY_PREPROCESS_LOG_LEVEL",
    show_envvar=True,
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    default="INFO",
    help="Least level to log.",
)
@click.option(
    "--threads",
    envvar="PAINTERLY_PREPROCESS_THREADS",
    show_envvar=True,
    type=click.IntRange(1, 1024),
    default=available_cores,
    show_default="one per core",
    help="Pictures worked on at once.",
)
@click.option(
    "--network-threads",
    envvar="PAINTERLY_PREPROCESS_NETWORK_THREADS",
    show_envvar=True,
    type=click.IntRange(1, 1024),
    default=1,
    help="Threads of the network on each picture; more than 1 only for a server with few calls.",
)
@click.option(
    "--remove-bg-endpoint",
    envvar="PAINTERLY_REMOVE_BG_ENDPOINT",
    show_envvar=True,
    default=RemoveBgSettings.endpoint,
    help="Where remove.bg is. Its key is read from PAINTERLY_REMOVE_BG_API_KEY alone.",
)
@click.option("--exit-with-stdin", is_flag=True, help="Stop when standard input ends.")
def main(
    *,
    host: str,
    port: int,
    log_level: str,
    threads: int,
    network_threads: int,
    remove_bg_endpoint: str,
    exit_with_stdin: bool,
) -> None:
    """Serve background removal, compositing and mask dilation over gRPC.

    Writes one line of JSON to standard output when it listens; its log goes to standard error.
    """
    try:
        settings = Settings(
            host=host,
            port=port,
            thread_count=threads,
            network_thread_count=network_threads,
            # Not an option: what stands on a command line everybody on the machine can read.
            remove_bg=RemoveBgSettings(
                endpoint=remove_bg_endpoint, api_key=os.environ.get("PAINTERLY_REMOVE_BG_API_KEY") or None
            ),
            log_level=log_level,
            exit_with_stdin=exit_with_stdin,
        )
    except ValueError as error:
        _fail(str(error))
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Serve until a signal, then let running calls end and stop."""
    try:
        server, listener = build_server(settings, WeightStore())
    except RuntimeError as error:
        _fail(f"cannot listen on {settings.host}:{settings.port}: {error}; choose another --host or --port")
    await serve_until_signal(server, listener, "preprocess")


if __name__ == "__main__":
    main()
