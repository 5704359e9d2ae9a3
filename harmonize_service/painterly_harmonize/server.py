"""The server: a front over the data folder's jobs and, unless others compute, a supervised worker process beside it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import grpc.aio
import torch

from painterly.serving import Server, listener_of, serve_until_signal
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import harmonize_service_pb2_grpc as pb_grpc
from painterly.weights import WeightStore
from painterly_harmonize.algorithm.params import NetworkName
from painterly_harmonize.jobs.front import Front
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.sqlite_store import open_folder
from painterly_harmonize.jobs.store import JobStore
from painterly_harmonize.jobs.supervisor import Supervisor
from painterly_harmonize.metrics import FrontMetrics, StoreMetrics
from painterly_harmonize.servicer import HarmonizeServicer
from painterly_harmonize.settings import TEMPORARY, Settings, policy_of
from painterly_harmonize.worker_process import STORED_NETWORKS, command

logger = logging.getLogger("painterly_harmonize")

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["HarmonizeService"].full_name
_LOOK_EVERY_S = 0.05


class CannotListen(Exception):
    """The port cannot be opened."""


async def serve(settings: Settings, *, networks: str = STORED_NETWORKS) -> None:
    """Serve until a signal; then let the running job go on for a while, interrupt it at a checkpoint, and stop.

    ``networks`` names what makes the worker's networks, ``module:name``. Raises: CannotListen, SettingsError,
    StoreUnavailable.
    """
    policy, listener = policy_of(settings), listener_of(settings)
    observer = FrontMetrics(listener.registry)
    # What is computed is computed by the worker; here are plans and measures of single pictures.
    torch.set_num_threads(1)
    with _data_folder(settings) as folder:
        store, blobs = open_folder(folder, policy)
        worker = None
        front = None
        try:
            store.collect_strays()
            front = Front(store=store, blobs=blobs, policy=policy, observer=observer)
            weights = WeightStore()
            servicer = HarmonizeServicer(front, weights)
            listener.registry.register(StoreMetrics(store, policy))

            def register(server: grpc.aio.Server) -> Sequence[str]:
                pb_grpc.add_HarmonizeServiceServicer_to_server(servicer, server)
                return (SERVICE_NAME,)

            async def on_drain() -> None:
                await drain(front, worker, policy.drain_s)

            try:
                server = Server(register, listener, on_drain=on_drain, checks=checks_of(store, policy, weights))
            except (RuntimeError, OSError) as error:
                raise CannotListen(
                    f"cannot listen on {settings.host}:{settings.port}: {error}; choose another --host, --port or"
                    " --metrics"
                ) from None
            if settings.role == "all":
                worker = Supervisor(
                    partial(command, settings, folder, networks, is_temporary=settings.data_folder == TEMPORARY),
                    worker_id=f"{os.uname().nodename}-{os.getpid()}",
                    store=store,
                    policy=policy,
                    observer=observer,
                )
            await serve_until_signal(server, listener, "harmonize")
        finally:
            if worker is not None:
                await asyncio.to_thread(worker.stop)
            if front is not None:
                await front.close()
            store.close()


def checks_of(store: JobStore, policy: Policy, weights: WeightStore) -> dict[str, Callable[[], bool]]:
    """What has to be well for jobs to be computed, by name."""

    def is_store_well() -> bool:
        store.change_mark()
        return True

    def is_worker_well() -> bool:
        return any(time.time() - worker.reported_at <= policy.silence_s for worker in store.workers())

    def has_weights() -> bool:
        return any(weights.has(name.value) for name in NetworkName)

    return {"store": is_store_well, "worker": is_worker_well, "weights": has_weights}


async def drain(front: Front, worker: Supervisor | None, patience_s: float) -> None:
    """Take no more jobs, let the worker end its job or, after a while, interrupt it, and end all streams."""
    front.drain()
    end_s = time.monotonic() + patience_s
    if worker is not None:
        await asyncio.to_thread(worker.drain)
        while worker.is_alive() and time.monotonic() < end_s:
            await asyncio.sleep(_LOOK_EVERY_S)
        await asyncio.to_thread(worker.stop)
    front.end_streams()


@contextlib.contextmanager
def _data_folder(settings: Settings) -> Iterator[Path]:
    if settings.data_folder != TEMPORARY:
        yield Path(settings.data_folder)
        return
    folder = Path(tempfile.mkdtemp(prefix="painterly-jobs-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
