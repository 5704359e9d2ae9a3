"""Settings of the service: each a field, with what it may be and what it is for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch

from painterly.configuration import Between, Matching, OneOf, ServerSettings, available_cores
from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2

# What convolutions compute in; all else is float32 always.
PRECISIONS = ("float32", "tf32", "bfloat16")

_DEVICE = Matching(r"auto|cpu|cuda(:\d{1,3})?", "auto, cpu, cuda or cuda:N")


@dataclass(frozen=True, kw_only=True)
class Settings(ServerSettings):
    """How one server runs. Raises: SettingsError with every fault."""

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

    def conflicts(self) -> list[str]:
        """The faults of settings that do not go together, a line each."""
        faults = super().conflicts()
        if self.cuda_graphs == "on" and self.device == "cpu":
            faults.append(self.fault("cuda_graphs", "needs a CUDA device, but --device is cpu"))
        return faults


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
