"""Settings of the service: read from flags and the environment, validated once, all faults told together."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import platformdirs
import torch

from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2
from painterly_harmonize.jobs.policy import Policy

ENVIRONMENT_PREFIX = "PAINTERLY_HARMONIZE_"
# What convolutions compute in; all else is float32 always.
PRECISIONS = ("float32", "tf32", "bfloat16")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

_INTEGER_RANGES = {
    "port": (0, 65_535),
    "threads": (1, 1024),
    "queue_size": (0, 1000),
    "style_cache_mib": (0, 1 << 20),
    "memory_limit_mib": (0, 1 << 24),
    "principal_jobs": (1, 10_000),
    "attempts": (1, 100),
    "request_mib": (1, 1 << 20),
    "spool_mib": (1, 1 << 30),
}
_SECONDS_RANGES = {
    "lease_s": (0.2, 3600.0),
    "silence_s": (0.5, 3600.0),
    "orphan_s": (0.0, 7 * 86_400.0),
    "checkpoint_s": (0.0, 86_400.0),
    "run_limit_s": (-1.0, 7 * 86_400.0),
    "result_retention_s": (1.0, 365 * 86_400.0),
    "event_retention_s": (1.0, 365 * 86_400.0),
    "heartbeat_s": (0.05, 3600.0),
    "drain_s": (0.0, 3600.0),
}
ROLES = ("all", "front", "worker")
# The data folder of a server whose jobs need not outlive it.
TEMPORARY = "temporary"
_RUN_LIMIT_CUDA_S = 1800.0


class SettingsError(ValueError):
    """Settings are wrong. ``faults`` holds a line for each that names the setting, its value and the way out."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def available_cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one server runs. Raises SettingsError with every fault.

    ``port`` 0 takes a free port. ``device`` is ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda`` or
    ``cuda:N``. ``threads`` are torch's CPU threads, 1 to 1024, by default the cores. ``queue_size`` is how many jobs
    may wait beside the running one, 0 to 1000. ``style_cache_mib`` bounds the memory, MiB, for features of paintings
    that were used before, on the device and on the host each. ``memory_limit_mib`` bounds what one job may take of
    the device's memory, MiB; 0 is all that is free. ``precision`` is what convolutions compute in: ``float32``, or less
    of it where a device gains speed by that: ``tf32``, ``bfloat16``. With ``cuda_graphs`` ``on`` a CUDA device
    replays recorded iterations.

    ``role`` is ``front`` (answers calls), ``worker`` (computes) or ``all``; several of each may share the
    ``data_folder`` of one machine, by default that of the user's data; ``temporary`` is removed at the end. ``lease_s``
    is how long a worker's right to a job lasts unless renewed, ``silence_s`` after how long a silent one is replaced,
    ``attempts`` how often a job is tried whose workers are lost. A named job is parked when nobody has listened for
    ``orphan_s``. ``checkpoint_s`` lies between two checkpoints at least. ``run_limit_s`` bounds how long a job runs, 0
    for ever; -1 is 1800 on a CUDA device and for ever on a CPU. Results are kept for ``result_retention_s``, what came
    before them for ``event_retention_s``, and all that is kept takes at most ``spool_mib``, MiB. ``principal_jobs``
    bounds the jobs of one authenticated caller, ``request_mib`` the requests that are being read, MiB. A stream is
    silent for at most ``heartbeat_s``. A running job may go on for ``drain_s`` when the server stops. Times are in
    seconds.
    """

    host: str = "127.0.0.1"
    port: int = 50052
    device: str = "auto"
    threads: int = field(default_factory=available_cores)
    queue_size: int = 32
    style_cache_mib: int = 1024
    memory_limit_mib: int = 0
    precision: str = "float32"
    cuda_graphs: str = "off"
    role: str = "all"
    data_folder: str = field(default_factory=lambda: str(platformdirs.user_data_path("painterly") / "harmonize"))
    principal_jobs: int = 8
    attempts: int = 3
    request_mib: int = 512
    spool_mib: int = 20_480
    lease_s: float = 15.0
    silence_s: float = 30.0
    orphan_s: float = 60.0
    checkpoint_s: float = 15.0
    run_limit_s: float = -1.0
    result_retention_s: float = 86_400.0
    event_retention_s: float = 3600.0
    heartbeat_s: float = 10.0
    drain_s: float = 30.0
    log_level: str = "INFO"
    exit_with_stdin: bool = False

    def __post_init__(self) -> None:
        faults = [
            _fault(name, getattr(self, name), f"must be from {low} to {high}")
            for name, (low, high) in (*_INTEGER_RANGES.items(), *_SECONDS_RANGES.items())
            if not low <= getattr(self, name) <= high
        ]
        if self.role not in ROLES:
            faults.append(_fault("role", self.role, f"must be one of {', '.join(ROLES)}"))
        if not self.data_folder:
            faults.append(_fault("data_folder", self.data_folder, f"must be a folder, or {TEMPORARY}"))
        if self.data_folder == TEMPORARY and self.role == "worker":
            faults.append(_fault("data_folder", self.data_folder, "must be a front's folder for a worker"))
        if not self.host:
            faults.append(_fault("host", self.host, "must be a host name or an address"))
        if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", self.device):
            faults.append(_fault("device", self.device, "must be auto, cpu, cuda or cuda:N"))
        if self.precision not in PRECISIONS:
            faults.append(_fault("precision", self.precision, f"must be one of {', '.join(PRECISIONS)}"))
        if self.cuda_graphs not in ("on", "off"):
            faults.append(_fault("cuda_graphs", self.cuda_graphs, "must be on or off"))
        if self.cuda_graphs == "on" and self.device == "cpu":
            faults.append(_fault("cuda_graphs", self.cuda_graphs, "needs a CUDA device, but --device is cpu"))
        if self.log_level not in LOG_LEVELS:
            faults.append(_fault("log_level", self.log_level, f"must be one of {', '.join(LOG_LEVELS)}"))
        if faults:
            raise SettingsError(faults)


def read_settings(
    flags: Mapping[str, str | None], environment: Mapping[str, str], *, exit_with_stdin: bool
) -> Settings:
    """Read settings from flags (None: not given), then ``PAINTERLY_HARMONIZE_…`` variables, then defaults.

    Raises: SettingsError with every fault of all settings.
    """
    values: dict[str, str | int | float] = {}
    faults: list[str] = []
    for name, flag in flags.items():
        text = flag if flag is not None else environment.get(ENVIRONMENT_PREFIX + name.upper())
        if text is None:
            continue
        if name in _SECONDS_RANGES:
            if re.fullmatch(r"[+-]?\d{1,9}(\.\d{1,9})?", text.strip()):
                values[name] = float(text)
            else:
                faults.append(_fault(name, text, "must be a number of seconds"))
        elif name not in _INTEGER_RANGES:
            values[name] = text.upper() if name == "log_level" else text
        elif re.fullmatch(r"[+-]?\d{1,9}", text.strip()):
            values[name] = int(text)
        else:
            faults.append(_fault(name, text, "must be a whole number"))
    try:
        settings = Settings(**values, exit_with_stdin=exit_with_stdin)  # type: ignore[arg-type]
    except SettingsError as error:
        raise SettingsError([*faults, *error.faults]) from None
    if faults:
        raise SettingsError(faults)
    return settings


def _fault(name: str, value: object, rule: str) -> str:
    flag = "--" + name.replace("_", "-")
    return f"{flag} (or {ENVIRONMENT_PREFIX}{name.upper()}) {rule}, got {value!r}"


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
            f"(or {ENVIRONMENT_PREFIX}DEVICE), for example cpu",
            metadata={"device": name},
        )
    return torch.device("cuda", index)


def describe_device(device: torch.device) -> str:
    """The device's name for people, for example ``cpu`` or ``cuda:0 NVIDIA H200``."""
    return f"{device} {torch.cuda.get_device_name(device)}" if device.type == "cuda" else str(device)
