"""Features of pictures that differ from a known one only inside a rectangle. Source: section 7, shortcut 4.

What lies beyond the rectangle's reach never changes, so it is computed once. Each layer then computes only the cells
that the rectangle can affect, between constant borders: results are those of the whole picture. The way back is
written out as well, for the losses' gradients enter at the taps and nothing but the pixels is ever differentiated by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from painterly_harmonize.algorithm.region import Region
from painterly_harmonize.algorithm.vgg import FeatureNetwork

# Given a tap, its features and the gradient that arrives from deeper layers at the cells that change (None at the
# deepest tap), the gradient to go on with there.
AtTap = Callable[[str, "TapCells", Tensor | None], Tensor]


@dataclass(frozen=True, kw_only=True)
class TapCells:
    """A tap's features over a rectangle ``region`` of its cells, 1×C×h×w; ``live`` is the part of it that changes.

    At first the known picture's, then those of the last call.
    """

    cells: Tensor
    region: Region
    live: Region

    def crop_live(self, plane: Tensor) -> Tensor:
        """The live part of ...×h×w over the rectangle."""
        return self.live.within(self.region).crop(plane)


@dataclass(frozen=True, kw_only=True)
class _Cells:
    """What a layer reads, 1×C×h×w: constant but for the rectangle ``inner``, which the layer before it writes."""

    cells: Tensor
    inner: Region

    @property
    def live(self) -> Tensor:
        return self.inner.crop(self.cells)


class _Convolution:
    """A convolution and its ReLU.

    ``transposed`` are the weights for its gradient, ``beyond`` the cells without any to the left, right, top and bottom
    of it, at the picture's border.
    """

    def __init__(
        self, name: str, layer: nn.Conv2d, source: _Cells, transposed: Tensor, beyond: tuple[int, int, int, int]
    ) -> None:
        self.name, self._layer, self._source = name, layer, source
        self._transposed, self._beyond = transposed, beyond

    def forward(self, target: _Cells) -> None:
        found = functional.conv2d(self._source.cells, self._layer.weight, self._layer.bias)
        torch.clamp_min(found, 0, out=target.live)

    def backward(self, gradient: Tensor, target: _Cells) -> Tensor:
        gradient = torch.ops.aten.threshold_backward(gradient, target.live, 0)
        # The transposed convolution, but for the cells that never change.
        return functional.conv2d(functional.pad(gradient, self._beyond), self._transposed)


class _Pooling:
    """A pooling of 2×2 cells, fewer at odd borders."""

    name = ""

    def __init__(self, source: _Cells) -> None:
        self._source = source
        self._chosen = torch.empty(0)

    def forward(self, target: _Cells) -> None:
        found, self._chosen = functional.max_pool2d(self._source.cells, 2, ceil_mode=True, return_indices=True)
        target.live.copy_(found)

    def backward(self, gradient: Tensor, _target: _Cells) -> Tensor:
        whole = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient, self._source.cells, [2, 2], [2, 2], [0, 0], [1, 1], True, self._chosen
        )
        return self._source.inner.crop(whole)


class PartialFeatures:
    """A network over pictures that equal a known one outside the rectangle ``live``.

    ``wanted`` names, per tap, the rectangle of its cells over which features are needed; it is enlarged to hold all
    cells that change. Every call writes into the same memory.
    """

    def __init__(self, network: FeatureNetwork, known: Tensor, live: Region, wanted: Mapping[str, Region]) -> None:
        """``known`` is the picture, 1×3×H×W RGB in 8-bit units. Raises: KeyError for a tap that is not there."""
        self._network = network
        self.taps: dict[str, TapCells] = {}
        self._layers: list[_Convolution | _Pooling] = []
        self._cells: list[_Cells] = []
        x, changing = network.to_input(known), live
        for name, layer in network.layers:
            if isinstance(layer, nn.Conv2d):
                source, changing, beyond = _around_convolution(x, changing, network.layout)
                transposed = network.transposed_weight(name)
                self._layers.append(_Convolution(name.replace("conv", "relu"), layer, source, transposed, beyond))
                self._cells.append(source)
            elif isinstance(layer, nn.MaxPool2d):
                source, changing = _around_pooling(x, changing, network.layout)
                self._layers.append(_Pooling(source))
                self._cells.append(source)
            x = layer(x)
            if name in wanted:
                region = wanted[name].union(changing)
                cells = region.crop(x).to(network.dtype).clone(memory_format=network.layout)
                self.taps[name] = TapCells(cells=cells, region=region, live=changing)
                if len(self.taps) == len(wanted):
                    self._cells.append(_whole(changing.crop(x).clone(memory_format=network.layout)))
                    break
        else:
            raise KeyError(f"network {network.name} has no taps {sorted(set(wanted) - set(self.taps))}")
        # The known picture's own features to the last bit as a call gives them, so that they differ by exactly nothing.
        self(live.crop(known))

    def __call__(self, pixels: Tensor) -> Mapping[str, TapCells]:
        """Run the network over the pixels of ``live``, 1×3×h×w; returns the taps with their features."""
        self._forward(pixels)
        for layer, cells in zip(self._layers, self._cells[1:], strict=True):
            if layer.name in self.taps:
                self._updated(layer.name, cells)
        return self.taps

    def gradient(self, pixels: Tensor, at_tap: AtTap) -> Tensor:
        """The gradient by the pixels of ``live``, 1×3×h×w, of what ``at_tap`` knows the gradients of by the features.

        Taps are asked from the deepest on. Source: section 2.3.
        """
        self._forward(pixels)
        gradient: Tensor | None = None
        for layer, cells in zip(reversed(self._layers), reversed(self._cells[1:]), strict=True):
            if layer.name in self.taps:
                arriving = None if gradient is None else gradient.to(self._network.dtype)
                gradient = at_tap(layer.name, self._updated(layer.name, cells), arriving)
            assert gradient is not None
            gradient = layer.backward(gradient.to(self._network.layer_dtype), cells)
        assert gradient is not None
        return gradient * self._network.gain

    def _forward(self, pixels: Tensor) -> None:
        self._cells[0].live.copy_(self._network.to_input(pixels))
        for layer, target in zip(self._layers, self._cells[1:], strict=True):
            layer.forward(target)

    def _updated(self, name: str, cells: _Cells) -> TapCells:
        tap = self.taps[name]
        tap.crop_live(tap.cells).copy_(cells.live)
        return tap


def _whole(cells: Tensor) -> _Cells:
    return _Cells(cells=cells, inner=_all(cells))


def _all(plane: Tensor) -> Region:
    return Region(top=0, left=0, bottom=plane.shape[-2], right=plane.shape[-1])


def _around_convolution(
    x: Tensor, live: Region, layout: torch.memory_format
) -> tuple[_Cells, Region, tuple[int, int, int, int]]:
    """What a 3×3 convolution of ``x`` reads to compute the cells that ``live`` changes, and which these are.

    Last, on which sides (left, right, top, bottom) ``live`` touches the picture's border: 1 there, else 0.
    """
    whole = _all(x)
    changed = live.grown(1).intersection(whole)
    needed = changed.grown(1)
    cells = torch.zeros_like(x[..., :1, :1].expand(-1, -1, needed.height, needed.width), memory_format=layout)
    inside = needed.intersection(whole)
    inside.within(needed).crop(cells).copy_(inside.crop(x))
    touched = (live.left == 0, live.right == whole.right, live.top == 0, live.bottom == whole.bottom)
    left, right, top, bottom = (int(touches) for touches in touched)
    return _Cells(cells=cells, inner=live.within(needed)), changed, (left, right, top, bottom)


def _around_pooling(x: Tensor, live: Region, layout: torch.memory_format) -> tuple[_Cells, Region]:
    """What a pooling of ``x`` reads to compute the cells that ``live`` changes, and which these are."""
    changed = live.cells(2)
    needed = changed.pixels(2).intersection(_all(x))
    return _Cells(cells=needed.crop(x).clone(memory_format=layout), inner=live.within(needed)), changed
