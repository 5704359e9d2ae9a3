"""The command ``painterly-harmonize``: read settings, configure logging, serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import click

from painterly.configuration import SettingsError, configure, settings_options
from painterly.configuration.options import fail
from painterly.logs import set_up_logging

PROGRAM = "painterly-harmonize"

try:
    import grpc.aio
    import torch

    from painterly.errors import ServiceError
    from painterly.serving import Listener, Server, listener_of, serve_until_signal
    from painterly.v1 import harmonize_service_pb2 as pb
    from painterly.v1 import harmonize_service_pb2_grpc as pb_grpc
    from painterly.weights import WeightStore
    from painterly_harmonize.algorithm.style_cache import StyleCache
    from painterly_harmonize.jobs import JobQueue
    from painterly_harmonize.planning import Planner
    from painterly_harmonize.servicer import HarmonizeServicer, StoredNetworks
    from painterly_harmonize.settings import (
        Settings,
        describe_device,
        layer_dtype,
        resolve_device,
        set_up_torch,
    )
except ModuleNotFoundError as missing:
    if (missing.name or "").startswith("painterly"):
        raise
    fail(PROGRAM, f"module {missing.name} is missing; run: pip install 'painterly[harmonize]'")

logger = logging.getLogger("painterly_harmonize")

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["HarmonizeService"].full_name
# A running job that is still there this long before the end of the grace is told so, instead of being cut off.
_FAREWELL_S = 1.0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@settings_options(Settings)
def main(**options: Any) -> None:
    """Serve the harmonization of composites over gRPC.

    Writes one line of JSON to standard output when it listens; its log goes to standard error.
    """
    settings = configure(Settings, PROGRAM, options)
    try:
        device = resolve_device(settings.device)
    except ServiceError as error:
        fail(PROGRAM, error.message)
    set_up_logging(settings.log_level, settings.log_format)
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
    listener = _listener(settings)

    def register(server: grpc.aio.Server) -> Sequence[str]:
        pb_grpc.add_HarmonizeServiceServicer_to_server(servicer, server)
        return (SERVICE_NAME,)

    async def on_drain() -> None:
        queue.drain(listener.grace_s - _FAREWELL_S)

    try:
        server = Server(register, listener, on_drain=on_drain)
    except (RuntimeError, OSError) as error:
        fail(
            PROGRAM,
            f"cannot listen on {settings.host}:{settings.port}: {error}; choose another --host, --port or --metrics",
        )
    logger.info("computing on %s in %s, %d CPU threads", describe_device(device), settings.precision, settings.threads)
    try:
        await serve_until_signal(server, listener, "harmonize")
    finally:
        await queue.close()


def _listener(settings: Settings) -> Listener:
    try:
        return listener_of(settings)
    except SettingsError as error:
        fail(PROGRAM, *error.faults)


if __name__ == "__main__":
    main()
