"""How near an iteration comes to what its device can do: counted operations, and the best convolution."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from painterly_harmonize.benchmark.measuring import Clock

# Channels and side of the picture: the network's own shapes at working sizes of 256 to 1024 px.
SHAPES = ((64, 256), (64, 512), (128, 128), (128, 256), (256, 64), (256, 128), (512, 32), (512, 64))
_REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """The 3×3 convolution that reached most: its channels (in and out), side in cells, and FLOP/s."""

    channels: int
    side: int
    channels_last: bool
    flop_per_s: float


def flop_of(work: Callable[[], object]) -> int:
    """The floating-point operations of the convolutions and matrix products that ``work`` runs, backward passes too."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def best_convolution(
    device: torch.device, shapes: Sequence[tuple[int, int]] = SHAPES, repeats: int = _REPEATS
) -> Convolution:
    """The fastest of plain forward convolutions in float32 of these shapes, in both memory formats."""
    found = []
    for channels, side in shapes:
        for layout in (torch.contiguous_format, torch.channels_last):
            seconds = _convolution_s(device, channels, side, layout, repeats)
            found.append(
                Convolution(
                    channels=channels,
                    side=side,
                    channels_last=layout is torch.channels_last,
                    flop_per_s=2 * 9 * channels**2 * side**2 / seconds,
                )
            )
    return max(found, key=lambda convolution: convolution.flop_per_s)


def _convolution_s(device: torch.device, channels: int, side: int, layout: torch.memory_format, repeats: int) -> float:
    image = torch.rand(1, channels, side, side, device=device).contiguous(memory_format=layout)
    weight = torch.rand(channels, channels, 3, 3, device=device).contiguous(memory_format=layout)
    convolve = partial(functional.conv2d, image, weight, padding=1)
    clock = Clock(device)
    convolve()
    return statistics.median(clock.timed(convolve)[1] for _ in range(repeats))
