"""The process that computes, ``python -m painterly_harmonize.worker_process``. It knows no gRPC."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib
import json
import logging
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from painterly.configuration import ServerSettings
from painterly.logs import set_up_logging
from painterly.service_error import ServiceError
from painterly_harmonize.algorithm.style_cache import StyleCache
from painterly_harmonize.computing import Computer
from painterly_harmonize.jobs.context import WorkerBroken
from painterly_harmonize.jobs.counts import Counts
from painterly_harmonize.jobs.orders import follow_orders
from painterly_harmonize.jobs.records import WorkerReport
from painterly_harmonize.jobs.sqlite_store import open_folder
from painterly_harmonize.jobs.store import BlobStore, JobStore
from painterly_harmonize.jobs.worker import Worker
from painterly_harmonize.networks import Networks
from painterly_harmonize.planning import Planner
from painterly_harmonize.settings import Settings, describe_device, policy_of, resolve_device, set_up_torch

logger = logging.getLogger("painterly_harmonize")

STORED_NETWORKS = "painterly_harmonize.networks:stored_networks"
# The process is of no use any more, and another is to take its place.
BROKEN_EXIT_CODE = 70


def command(settings: Settings, folder: Path, networks: str, worker_id: str, *, is_temporary: bool) -> Sequence[str]:
    """The command for a supervised worker. ``networks`` names what makes networks of settings and a device."""
    return [
        sys.executable,
        "-m",
        "painterly_harmonize.worker_process",
        *("--settings", json.dumps(_plain(settings))),
        *("--folder", str(folder)),
        *("--networks", networks),
        *("--worker-id", worker_id),
        *(["--remove-folder"] if is_temporary else []),
    ]


def _plain(settings: Settings) -> dict[str, object]:
    """The settings but those of the listener, which a worker does not need and whose files it may not read."""
    listening = {field.name for field in dataclasses.fields(ServerSettings)} - {"log_level", "log_format"}
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in listening}


def build_worker(
    settings: Settings,
    device: torch.device,
    store: JobStore,
    blobs: BlobStore,
    networks: Networks,
    *,
    worker_id: str,
) -> Worker:
    """A worker over a device, its memory and its speed."""
    planner = Planner(device, limit_bytes=settings.memory_limit_mib << 20 or None)
    computer = Computer(
        device=device, networks=networks, styles=StyleCache(settings.style_cache_mib << 20), planner=planner
    )

    counts = Counts()

    def report() -> WorkerReport:
        return WorkerReport(
            worker_id=worker_id,
            device=describe_device(device),
            precision=settings.precision,
            torch_version=torch.__version__,
            available_bytes=planner.available_bytes(),
            flop_per_s=planner.speed.flop_per_s,
            bytes_per_s=planner.speed.bytes_per_s,
            correction=planner.speed.correction,
            counts=counts.sums(),
        )

    return Worker(
        store=store,
        blobs=blobs,
        policy=policy_of(settings, device),
        run_job=computer.run_job,
        report=report,
        observer=counts,
    )


def work(
    settings: Settings,
    folder: Path,
    *,
    networks: str = STORED_NETWORKS,
    worker_id: str = "",
    is_supervised: bool = False,
) -> bool:
    """Work until told to stop. Returns whether the supervisor went away without a word.

    Raises: ServiceError DEVICE_MISSING; WorkerBroken; StoreUnavailable.
    """
    device = resolve_device(settings.device)
    torch.set_num_interop_threads(1)
    set_up_torch(settings.threads, settings.precision)
    store, blobs = open_folder(folder, policy_of(settings, device))
    module, _, name = networks.partition(":")
    make: Callable[[Settings, torch.device], Networks] = getattr(importlib.import_module(module), name)
    worker = build_worker(
        settings,
        device,
        store,
        blobs,
        make(settings, device),
        worker_id=worker_id or f"{os.uname().nodename}-{os.getpid()}",
    )
    is_abandoned = threading.Event()
    if is_supervised:
        is_abandoned = follow_orders(worker)
    else:
        _follow_signals(worker, settings.drain_s)
    # What was imported stays to the end: collections between stages need not look through it.
    gc.freeze()
    logger.info("computing on %s in %s, %d CPU threads", describe_device(device), settings.precision, settings.threads)
    try:
        worker.run()
    finally:
        store.close()
    return is_abandoned.is_set()


def _follow_signals(worker: Worker, drain_s: float) -> None:
    """The first signal lets the running job end within a while, a second one interrupts it."""

    def on_signal(*_: object) -> None:
        worker.drain()
        timer = threading.Timer(drain_s, worker.stop)
        timer.daemon = True
        timer.start()
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, lambda *_: worker.stop())

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, on_signal)


def main() -> None:
    """Work for a supervisor."""
    parser = argparse.ArgumentParser()
    for name in ("settings", "folder", "networks", "worker-id"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--remove-folder", action="store_true")
    arguments = parser.parse_args()
    settings = Settings(**json.loads(arguments.settings))
    set_up_logging(settings.log_level, settings.log_format)
    folder = Path(arguments.folder)
    try:
        is_abandoned = work(
            settings, folder, networks=arguments.networks, worker_id=arguments.worker_id, is_supervised=True
        )
    except ServiceError as error:
        logger.error("%s", error.message)
        sys.exit(2)
    except WorkerBroken:
        sys.exit(BROKEN_EXIT_CODE)
    if is_abandoned and arguments.remove_folder:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
