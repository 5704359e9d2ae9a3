"""What every measurement needs: the device and network as the service uses them, a clock, and peak memory."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from painterly.service_error import ServiceError
from painterly.weights import WeightsError, WeightStore
from painterly_harmonize.algorithm.memory import release_memory
from painterly_harmonize.algorithm.params import NetworkName
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network
from painterly_harmonize.benchmark.cases import Case
from painterly_harmonize.benchmark.errors import BAD_INPUT, PRECONDITION, BenchmarkError
from painterly_harmonize.settings import layer_dtype, resolve_device, set_up_torch

_T = TypeVar("_T")

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_HIGH_WATER_MARK = "5"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a measurement is of: a case at a long side in px, on a device, with CPU threads and a network.

    ``precision`` and ``cuda_graphs`` are those of the service's settings.
    """

    case: Case
    size_px: int
    device: str
    threads: int
    network: NetworkName
    precision: str = "float32"
    cuda_graphs: bool = False


def prepare(setting: Setting) -> torch.device:
    """Set torch up as the service does; the device. Raises: BenchmarkError."""
    set_up_torch(setting.threads, setting.precision)
    return find_device(setting.device)


def find_device(name: str) -> torch.device:
    """The device ``cpu``, ``cuda`` or ``cuda:N``. Raises: BenchmarkError when it is not there."""
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise BenchmarkError(f"--device {name!r} must be cpu, cuda or cuda:N", BAD_INPUT)
    try:
        return resolve_device(name)
    except ServiceError as error:
        raise BenchmarkError(f"device {name} is missing; choose another --device, such as cpu", PRECONDITION) from error


def weights_path(name: NetworkName) -> Path:
    """The network's file in the weight store, verified. Raises: BenchmarkError."""
    try:
        return WeightStore().path(name.value)
    except WeightsError as error:
        raise BenchmarkError(str(error), PRECONDITION) from error


def stored_network(setting: Setting, device: torch.device) -> FeatureNetwork:
    """The network, as the service loads it. Raises: BenchmarkError."""
    network = load_network(setting.network, weights_path(setting.network), device, layer_dtype(setting.precision))
    network.replays = setting.cuda_graphs and device.type == "cuda"
    return network


class Clock:
    """Seconds, with everything that was handed to the device finished."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> float:
        """Seconds since some moment."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def timed(self, work: Callable[[], _T]) -> tuple[_T, float]:
        """What ``work`` returns, and how long it took."""
        begin = self.now()
        result = work()
        return result, self.now() - begin


class PeakMemory:
    """The most memory that is held at a time from now on, beyond what is held now.

    On the CPU the resident set's high-water mark, on a CUDA device what its allocator has handed out.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before: int | None = torch.cuda.memory_allocated(device)
        else:
            self._before = _reset_high_water_mark()

    def forget_peak(self) -> None:
        """Let the peak be what is held now; :meth:`beyond` still counts from the beginning."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif self._before is not None:
            _RESET.write_text(_RESET_HIGH_WATER_MARK)

    def beyond(self) -> int | None:
        """Bytes; None where the system cannot tell (it takes Linux, and /proc with leave to reset the mark)."""
        if self._before is None:
            return None
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) - self._before
        return _resident_bytes("VmHWM") - self._before


def _reset_high_water_mark() -> int | None:
    """Bring the mark down to the memory held now, without what is free but kept for reuse; that memory's bytes."""
    release_memory(torch.device("cpu"))
    try:
        _RESET.write_text(_RESET_HIGH_WATER_MARK)
    except OSError:
        return None
    return _resident_bytes("VmRSS")


def _resident_bytes(key: str) -> int:
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(key)
