"""Settings of the service: each a field, with what it may be and what it is for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import platformdirs
import torch

from painterly.configuration import Between, Matching, OneOf, ServerSettings, available_cores
from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2
from painterly_harmonize.jobs.policy import Policy

# What convolutions compute in; all else is float32 always.
PRECISIONS = ("float32", "tf32", "bfloat16")

ROLES = ("all", "front", "worker")
# The data folder of a server whose jobs need not outlive it.
TEMPORARY = "temporary"

_RUN_LIMIT_CUDA_S = 1800.0
_WEEK_S = 7 * 86_400.0
_YEAR_S = 365 * 86_400.0

_DEVICE = Matching(r"auto|cpu|cuda(:\d{1,3})?", "auto, cpu, cuda or cuda:N")
_FOLDER = Matching(r"(?s).+", f"a folder, or {TEMPORARY}")


def _data_folder() -> str:
    return str(platformdirs.user_data_path("painterly") / "harmonize")


@dataclass(frozen=True, kw_only=True)
class Settings(ServerSettings):
    """How one server runs. Raises: SettingsError with every fault. Times are in seconds."""

    service: ClassVar[str] = "harmonize"

    port: Annotated[int, Between(0, 65_535), "Port, 0 for a free one."] = 50052
    device: Annotated[str, _DEVICE, "auto (a CUDA device if there is one), cpu, cuda or cuda:N."] = "auto"
    threads: Annotated[int, Between(1, 1024), "CPU threads of torch."] = field(default_factory=available_cores)
    queue_size: Annotated[int, Between(0, 1000), "Jobs that may wait beside the running one."] = 32
    style_cache_mib: Annotated[int, Between(0, 1 << 20), "Memory, MiB, for features of paintings that come again."] = (
        1024
    )
    memory_limit_mib: Annotated[int, Between(0, 1 << 24), "Memory, MiB, that a job may take, 0 for what is free."] = 0
    precision: Annotated[str, OneOf(*PRECISIONS), "What convolutions compute in."] = "float32"
    cuda_graphs: Annotated[str, OneOf("on", "off"), "on: a CUDA device replays recorded iterations."] = "off"
    role: Annotated[str, OneOf(*ROLES), "front answers calls, worker computes, all does both."] = "all"
    data_folder: Annotated[str, _FOLDER, "Where jobs are kept; temporary for a folder that goes with the server."] = (
        field(default_factory=_data_folder)
    )
    principal_jobs: Annotated[int, Between(1, 10_000), "Jobs that one authenticated caller may have."] = 8
    attempts: Annotated[int, Between(1, 100), "How often a job is tried whose workers are lost."] = 3
    request_mib: Annotated[int, Between(1, 1 << 20), "Memory, MiB, of requests that are being read."] = 512
    spool_mib: Annotated[int, Between(1, 1 << 30), "Disk space, MiB, of what is kept of jobs."] = 20_480
    lease_s: Annotated[float, Between(0.2, 3600), "Seconds that a worker's right to a job lasts unless renewed."] = 15.0
    silence_s: Annotated[float, Between(0.5, 3600), "Seconds after which a silent worker is replaced."] = 30.0
    orphan_s: Annotated[float, Between(0, _WEEK_S), "Seconds that a named job runs on while nobody listens."] = 60.0
    checkpoint_s: Annotated[float, Between(0, 86_400), "Seconds between checkpoints, at least."] = 15.0
    run_limit_s: Annotated[
        float, Between(-1, _WEEK_S), "Seconds that a job may run, 0 for ever; -1 is 1800 on a CUDA device alone."
    ] = -1.0
    result_retention_s: Annotated[float, Between(1, _YEAR_S), "Seconds that results are kept."] = 86_400.0
    event_retention_s: Annotated[float, Between(1, _YEAR_S), "Seconds that events before a result are kept."] = 3600.0
    heartbeat_s: Annotated[float, Between(0.05, 3600), "Seconds that a stream is silent, at most."] = 10.0
    drain_s: Annotated[float, Between(0, 3600), "Seconds that a running job goes on when the server stops."] = 30.0

    def conflicts(self) -> list[str]:
        """The faults of settings that do not go together, a line each."""
        faults = super().conflicts()
        if self.cuda_graphs == "on" and self.device == "cpu":
            faults.append(self.fault("cuda_graphs", "needs a CUDA device, but --device is cpu"))
        if self.data_folder == TEMPORARY and self.role == "worker":
            faults.append(self.fault("data_folder", "must be that of a front for a worker"))
        return faults


def policy_of(settings: Settings, device: torch.device | None = None) -> Policy:
    """The bounds of jobs, for the device that computes them; without one those that a front needs."""
    by_device_s = _RUN_LIMIT_CUDA_S if device is not None and device.type == "cuda" else 0.0
    return Policy(
        lease_s=settings.lease_s,
        renewal_s=settings.lease_s / 3,
        attempts=settings.attempts,
        orphan_s=settings.orphan_s,
        result_retention_s=settings.result_retention_s,
        event_retention_s=settings.event_retention_s,
        spool_bytes=settings.spool_mib << 20,
        queue_size=settings.queue_size,
        principal_jobs=settings.principal_jobs,
        request_bytes=settings.request_mib << 20,
        checkpoint_s=settings.checkpoint_s,
        run_limit_s=by_device_s if settings.run_limit_s < 0 else settings.run_limit_s,
        heartbeat_s=settings.heartbeat_s,
        silence_s=settings.silence_s,
        sweep_s=min(10.0, settings.lease_s),
        drain_s=settings.drain_s,
    )


def set_up_torch(threads: int, precision: str) -> None:
    """Compute with ``threads`` CPU threads, and so that the same request gives the same bytes on the same device."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = precision == "tf32"


def layer_dtype(precision: str) -> torch.dtype:
    """What a network's layers are to be in for ``precision``; tf32 is float32 whose products are rounded."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def resolve_device(name: str) -> torch.device:
    """The device that a setting names, with its index. Raises: ServiceError DEVICE_MISSING when it is not there."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and count == 0):
        return torch.device("cpu")
    index = 0 if name == "auto" else torch.device(name).index or 0
    if index >= count:
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_DEVICE_MISSING,
            f"device {name} is missing: torch sees {count} CUDA devices; choose another with --device "
            f"(or PAINTERLY_HARMONIZE_DEVICE), for example cpu",
            metadata={"device": name},
        )
    return torch.device("cuda", index)


def describe_device(device: torch.device) -> str:
    """The device's name for people, for example ``cpu`` or ``cuda:0 NVIDIA H200``."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)
