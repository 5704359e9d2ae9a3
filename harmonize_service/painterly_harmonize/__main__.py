"""The command ``painterly-harmonize``: read settings, configure logging, serve."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

USAGE_EXIT_CODE = 2


def _fail(*lines: str) -> NoReturn:
    for line in lines:
        click.echo(f"painterly-harmonize: {line}", err=True)
    sys.exit(USAGE_EXIT_CODE)


try:
    import grpc.aio
    import torch

    from painterly.service_error import ServiceError
    from painterly.serving import Listener, Server, serve_until_signal
    from painterly.v1 import harmonize_service_pb2 as pb
    from painterly.v1 import harmonize_service_pb2_grpc as pb_grpc
    from painterly.weights import WeightStore
    from painterly_harmonize.algorithm.style_cache import StyleCache
    from painterly_harmonize.jobs import JobQueue
    from painterly_harmonize.planning import Planner
    from painterly_harmonize.servicer import HarmonizeServicer, StoredNetworks
    from painterly_harmonize.settings import (
        Settings,
        SettingsError,
        describe_device,
        layer_dtype,
        read_settings,
        resolve_device,
        set_up_torch,
    )
except ModuleNotFoundError as missing:
    if (missing.name or "").startswith("painterly"):
        raise
    _fail(f"module {missing.name} is missing; run: pip install 'painterly[harmonize]'")

logger = logging.getLogger("painterly_harmonize")

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["HarmonizeService"].full_name
# A running job that is still there this long before the end of the grace is told so, instead of being cut off.
_FAREWELL_S = 1.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", help="Address to listen on.  [env PAINTERLY_HARMONIZE_HOST; default 127.0.0.1]")
@click.option("--port", help="Port, 0 for a free one.  [env PAINTERLY_HARMONIZE_PORT; default 50052]")
@click.option("--device", help="auto, cpu, cuda or cuda:N.  [env PAINTERLY_HARMONIZE_DEVICE; default auto]")
@click.option("--threads", help="CPU threads of torch.  [env PAINTERLY_HARMONIZE_THREADS; default: the cores]")
@click.option("--queue-size", help="Jobs that may wait.  [env PAINTERLY_HARMONIZE_QUEUE_SIZE; default 32]")
@click.option(
    "--style-cache-mib",
    help="Memory for features of paintings that come again.  [env PAINTERLY_HARMONIZE_STYLE_CACHE_MIB; default 1024]",
)
@click.option(
    "--memory-limit-mib",
    help="Memory that a job may take, 0 for what is free.  [env PAINTERLY_HARMONIZE_MEMORY_LIMIT_MIB; default 0]",
)
@click.option(
    "--precision",
    help="Of convolutions: float32, tf32 or bfloat16.  [env PAINTERLY_HARMONIZE_PRECISION; default float32]",
)
@click.option(
    "--cuda-graphs",
    help="on: a CUDA device replays recorded iterations.  [env PAINTERLY_HARMONIZE_CUDA_GRAPHS; default off]",
)
@click.option("--log-level", help="DEBUG, INFO, WARNING or ERROR.  [env PAINTERLY_HARMONIZE_LOG_LEVEL; default INFO]")
@click.option("--exit-with-stdin", is_flag=True, help="Stop when standard input ends.")
def main(*, exit_with_stdin: bool, **flags: str | None) -> None:
    """Serve the harmonization of composites over gRPC.

    Writes one line of JSON to standard output when it listens; its log goes to standard error.
    """
    try:
        settings = read_settings(flags, os.environ, exit_with_stdin=exit_with_stdin)
        device = resolve_device(settings.device)
    except SettingsError as error:
        _fail(*error.faults)
    except ServiceError as error:
        _fail(error.message)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    torch.set_num_interop_threads(1)
    set_up_torch(settings.threads, settings.precision)
    asyncio.run(serve(settings, device))


async def serve(settings: Settings, device: torch.device) -> None:
    """Serve until a signal; then end waiting jobs, let the running one go on for the grace, and stop."""
    queue = JobQueue(device=device, size=settings.queue_size)
    replays = settings.cuda_graphs == "on" and device.type == "cuda"
    networks = StoredNetworks(device, WeightStore(), layer_dtype(settings.precision), replays=replays)
    styles = StyleCache(settings.style_cache_mib << 20)
    planner = Planner(device, limit_bytes=settings.memory_limit_mib << 20 or None)
    servicer = HarmonizeServicer(device=device, queue=queue, networks=networks, styles=styles, planner=planner)
    listener = Listener(host=settings.host, port=settings.port, exit_with_stdin=settings.exit_with_stdin)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        pb_grpc.add_HarmonizeServiceServicer_to_server(servicer, server)
        return (SERVICE_NAME,)

    try:
        server = Server(register, listener, on_drain=lambda: queue.drain(listener.grace_s - _FAREWELL_S))
    except RuntimeError as error:
        _fail(f"cannot listen on {settings.host}:{settings.port}: {error}; choose another --host or --port")
    logger.info("computing on %s in %s, %d CPU threads", describe_device(device), settings.precision, settings.threads)
    try:
        await serve_until_signal(server, listener, "harmonize")
    finally:
        await queue.close()


if __name__ == "__main__":
    main()
