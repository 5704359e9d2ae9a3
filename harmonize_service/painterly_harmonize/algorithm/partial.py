"""Features of pictures that differ from a known one only inside a rectangle. Source: section 7, shortcut 4.

What lies beyond the rectangle's reach never changes, so it is computed once. Each layer then computes only the cells
that the rectangle can affect, between constant borders: results are those of the whole picture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from painterly_harmonize.algorithm.region import Region
from painterly_harmonize.algorithm.vgg import FeatureNetwork

Layer = Callable[[Tensor], Tensor]
# Applied to each tapped tensor on its way to deeper layers; returns what the deeper layers read.
TapHook = Callable[[str, Tensor], Tensor]


class _Paste(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, live: Tensor, frame: Tensor, inner: Region) -> Tensor:
        ctx.inner = inner
        result = frame.clone()
        inner.crop(result).copy_(live)
        return result

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        inner: Region = ctx.inner
        return inner.crop(upstream[0]), None, None


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Constant cells around a live rectangle: ``cells`` is 1×C×h×w, ``inner`` the live part within it."""

    cells: Tensor
    inner: Region

    def around(self, live: Tensor) -> Tensor:
        if live.shape == self.cells.shape:
            return live
        pasted: Tensor = _Paste.apply(live, self.cells, self.inner)
        return pasted


@dataclass(frozen=True, kw_only=True)
class _Step:
    name: str
    layer: Layer
    frame: _Frame | None


@dataclass(frozen=True, kw_only=True)
class KnownFeatures:
    """A tap's features over a part of the known picture.

    ``cells`` is 1×C×h×w, over the tap's rectangle ``region``; ``live`` is the part of it that changes.
    """

    cells: Tensor
    region: Region
    live: Region

    def with_live(self, features: Tensor) -> Tensor:
        """The whole rectangle's features with their live part replaced, 1×C×h×w."""
        frame = _Frame(cells=self.cells, inner=self.live.within(self.region))
        return frame.around(features)

    def crop_live(self, plane: Tensor) -> Tensor:
        """The live part of ...×h×w over the rectangle."""
        return self.live.within(self.region).crop(plane)


class PartialFeatures:
    """A network over pictures that equal a known one outside the rectangle ``live``.

    ``taps`` names, per tap, the rectangle of its cells over which features are wanted (see :attr:`known`); it is
    enlarged to hold all cells that change.
    """

    def __init__(self, network: FeatureNetwork, known: Tensor, live: Region, taps: Mapping[str, Region]) -> None:
        """``known`` is the picture, 1×3×H×W RGB in 8-bit units."""
        self._network = network
        self.layout = network.layout
        self._steps: list[_Step] = []
        self.known: dict[str, KnownFeatures] = {}
        x, changing = network.to_input(known), live
        for name, layer in network.layers:
            frame, changing = _prepare(layer, x, changing, network.layout)
            self._steps.append(_Step(name=name, layer=_without_padding(layer), frame=frame))
            x = layer(x)
            if name in taps:
                region = taps[name].union(changing)
                cells = region.crop(x).clone(memory_format=network.layout)
                self.known[name] = KnownFeatures(cells=cells, region=region, live=changing)
                if len(self.known) == len(taps):
                    break
        else:
            raise KeyError(f"network {network.name} has no taps {sorted(set(taps) - set(self.known))}")
        # The known picture's own features to the last bit as a call gives them, so that they differ by exactly nothing.
        self(live.crop(known), self._take)

    def _take(self, tap: str, features: Tensor) -> Tensor:
        self.known[tap].crop_live(self.known[tap].cells).copy_(features)
        return features

    def __call__(self, pixels: Tensor, hook: TapHook) -> Tensor:
        """Run the network over the pixels of ``live``, 1×3×h×w; returns the deepest tap's changing features.

        ``hook`` is applied to each tap's changing features in order of depth and its result is what deeper layers read.
        """
        x = self._network.to_input(pixels)
        for step in self._steps:
            if step.frame is not None:
                x = step.frame.around(x)
            x = step.layer(x)
            if step.name in self.known:
                x = hook(step.name, x)
        return x


def _prepare(layer: nn.Module, x: Tensor, live: Region, layout: torch.memory_format) -> tuple[_Frame | None, Region]:
    """The constant cells that a layer reads around ``live`` of its input ``x``, and which of its cells change."""
    height, width = x.shape[-2:]
    whole = Region(top=0, left=0, bottom=height, right=width)
    if isinstance(layer, nn.Conv2d):
        changed = live.grown(1).intersection(whole)
        needed = changed.grown(1)
        cells = torch.zeros_like(x[..., :1, :1].expand(-1, -1, needed.height, needed.width), memory_format=layout)
        inside = needed.intersection(whole)
        inside.within(needed).crop(cells).copy_(inside.crop(x))
    elif isinstance(layer, nn.MaxPool2d):
        changed = live.cells(2)
        needed = changed.pixels(2).intersection(whole)
        cells = needed.crop(x).clone(memory_format=layout)
    else:
        return None, live
    return _Frame(cells=cells, inner=live.within(needed)), changed


def _without_padding(layer: nn.Module) -> Layer:
    """The layer, for an input that brings its own border."""
    if not isinstance(layer, nn.Conv2d):
        return layer

    def convolve(x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, layer.weight, layer.bias)

    return convolve
