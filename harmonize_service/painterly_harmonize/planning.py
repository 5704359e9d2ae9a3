"""Whether a request fits this server's device, at which size, and how long it will take."""

from __future__ import annotations

import functools
import logging
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch
from torch import Tensor
from torch.nn import functional

from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2
from painterly_harmonize.algorithm.params import HarmonizeParams, MemoryPolicy
from painterly_harmonize.algorithm.plan import (
    STAGES,
    JobPlan,
    ObjectShape,
    Work,
    largest_long_side,
    plan_at,
)
from painterly_harmonize.algorithm.problem import working_long_side
from painterly_harmonize.algorithm.stage import Stage
from painterly_harmonize.algorithm.vgg import FeatureNetwork

logger = logging.getLogger(__name__)

_CGROUP = Path("/sys/fs/cgroup")
# A convolution that a device is good at: channels, and the side of its picture in cells.
_PROBE_CHANNELS, _PROBE_SIDE, _PROBE_REPEATS = 128, 96, 5
# What is learned from a job is bounded: one that was held up says little about the next.
_CORRECTION_LIMITS, _CORRECTION_SHARE = (0.2, 5.0), 0.5


class Speed:
    """How fast a device computes, corrected by the jobs that it has done.

    Used from several threads; the correction is a single number.
    """

    def __init__(self, flop_per_s: float, bytes_per_s: float, correction: float = 1.0) -> None:
        self.flop_per_s, self.bytes_per_s = flop_per_s, bytes_per_s
        self.correction = correction

    def seconds(self, work: Work) -> float:
        """How long the work will take."""
        return self.correction * (work.flop / self.flop_per_s + work.moved_bytes / self.bytes_per_s)

    def learn(self, work: Work, seconds: float) -> None:
        """Take note of how long some work took."""
        low, high = _CORRECTION_LIMITS
        ratio = seconds / max(self.seconds(work), 1e-9)
        self.correction = min(max(self.correction * ratio**_CORRECTION_SHARE, low), high)


class DeviceSpeed(Speed):
    """The speed of a device of this machine, measured once."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(*_measured(device))


@functools.cache
def _measured(device: torch.device) -> tuple[float, float]:
    """Floating-point operations and bytes per second, measured once in a process."""
    shape = (1, _PROBE_CHANNELS, _PROBE_SIDE, _PROBE_SIDE)
    image = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(_PROBE_CHANNELS, _PROBE_CHANNELS, 3, 3, device=device)
    other = torch.empty_like(image)

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    convolving, copying = [], []
    for _ in range(_PROBE_REPEATS):
        begin = now()
        functional.conv2d(image, weight, padding=1)
        middle = now()
        other.copy_(image)
        convolving.append(middle - begin)
        copying.append(now() - middle)
    flop = 2 * 9 * _PROBE_CHANNELS**2 * _PROBE_SIDE**2
    return flop / statistics.median(convolving), 2 * image.nbytes / statistics.median(copying)


def available_bytes(device: torch.device, limit_bytes: int | None = None) -> int:
    """The memory that a job may take on a device now, at most ``limit_bytes``.

    On a CPU that is what the system has, within the control group's limit where there is one.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch holds without using it is as good as free.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    else:
        free = min(int(psutil.virtual_memory().available), _group_bytes(_CGROUP))
    return free if limit_bytes is None else min(free, limit_bytes)


def _group_bytes(folder: Path) -> int:
    """What is left to the process's control group (version 2, as in a container); very much where there is none."""
    try:
        limit, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return int(limit) - int(used)
    except (OSError, ValueError):
        return 1 << 62


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What becomes of a request: the parameters to run with, their plan, and whether it fits ``available`` bytes.

    ``largest`` is the largest working long side that fits, px.
    """

    params: HarmonizeParams
    plan: JobPlan
    fits: bool
    is_reduced: bool
    available: int
    largest: int | None

    def require_fit(self, device: torch.device) -> None:
        """Raise: ServiceError DEVICE_OUT_OF_MEMORY where the request does not fit."""
        if self.fits:
            return
        height, width = self.plan.working_size
        way_out = (
            "reduce the painting"
            if self.largest is None
            else f"set parameters.working_long_side_px to {self.largest} or less, or parameters.memory_policy to REDUCE"
        )
        raise ServiceError(
            error_reason_pb2.ERROR_REASON_DEVICE_OUT_OF_MEMORY,
            f"passes at {width}x{height} pixels would take {_mebibytes(self.plan.peak_bytes)} MiB of {device}, "
            f"which has {_mebibytes(self.available)} MiB; {way_out}",
            metadata={
                "device": str(device),
                "predicted_bytes": str(self.plan.peak_bytes),
                "available_bytes": str(self.available),
                **({} if self.largest is None else {"largest_working_long_side_px": str(self.largest)}),
            },
        )


class Planner:
    """Plans of one device's jobs."""

    def __init__(
        self,
        device: torch.device,
        limit_bytes: int | None = None,
        *,
        speed: Speed | None = None,
        available: Callable[[], int] | None = None,
    ) -> None:
        """``limit_bytes`` bounds what one job may take; None is all that is free when it begins.

        Of another process's device ``speed`` and ``available`` tell what would be measured here.
        """
        self._device = device
        self.speed = speed or DeviceSpeed(device)
        self.available_bytes = available or functools.partial(available_bytes, device, limit_bytes)

    def decide(
        self,
        mask: Tensor,
        dilated_mask: Tensor | None,
        params: HarmonizeParams,
        network: FeatureNetwork,
        stages: Iterable[Stage] = STAGES,
    ) -> Decision:
        """Plan a request from its masks, 1×1×H×W of 0 and 1; by its policy at a smaller size, where it does not fit.

        Of ``network`` the shapes alone are looked at.
        """
        device, stages = self._device, tuple(stages)
        available = self.available_bytes()
        shape = ObjectShape.of(mask, dilated_mask)

        def plan_with(params: HarmonizeParams) -> JobPlan:
            long_side = working_long_side(mask, params.working_long_side_px, params.object_size_px)
            return plan_at(shape, long_side, params, network, device, stages=stages)

        plan, limit = plan_with(params), params.working_long_side_px
        largest = largest_long_side(shape, params, network, device, available, limit=limit, stages=stages)
        fits = plan.peak_bytes <= available
        is_reduced = not fits and largest is not None and params.memory_policy is MemoryPolicy.REDUCE
        if is_reduced:
            assert largest is not None
            params = replace(params, working_long_side_px=largest)
            plan = plan_with(params)
        return Decision(
            params=params,
            plan=plan,
            fits=fits or is_reduced,
            is_reduced=is_reduced,
            available=available,
            largest=largest,
        )

    def log(self, decision: Decision) -> None:
        """Tell what a job is expected to take."""
        plan = decision.plan
        logger.info(
            "planned%s: passes at %dx%d px, %d of %d MiB, %.1f s",
            " at a reduced size" if decision.is_reduced else "",
            plan.working_size[1],
            plan.working_size[0],
            _mebibytes(plan.peak_bytes),
            _mebibytes(decision.available),
            self.speed.seconds(plan.work),
        )


def _mebibytes(count: int) -> int:
    return count >> 20
