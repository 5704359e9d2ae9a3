"""The passes in the plainest way, for the benchmark to measure the product against.

Whole pictures, unfolded patches, every pixel a variable of ``torch.optim.LBFGS``: the formulas of docs/algorithm.md one
after the other, without any shortcut of its section 7 but the targets that are computed once. The default switches
only. The iterates are the product's, which a test compares, so a ratio of times compares equal work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm.losses import quantile_table
from painterly_harmonize.algorithm.masks import area_resize, soft_tap_masks, tight_tap_mask
from painterly_harmonize.algorithm.matching import refine_nnf, style_position_counts, upsample_positions
from painterly_harmonize.algorithm.params import NetworkName, Pass1Params, Pass2Params
from painterly_harmonize.algorithm.pass2 import cell_colors
from painterly_harmonize.algorithm.problem import Working
from painterly_harmonize.algorithm.style_level import Pass2Weights
from painterly_harmonize.algorithm.vgg import CAFFE_INPUT, TORCHVISION_INPUT, TORCHVISION_SCALE, InputScale

PASS1_TAPS = ("relu3_1", "relu4_1", "relu5_1")
PASS2_TAPS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
HISTOGRAM_TAPS = ("relu1_1", "relu4_1")
CONTENT_TAP = REFERENCE_TAP = "relu4_1"
# Similarities to hold at a time; above that, rows of them come in chunks.
_SIMILARITY_BYTES = 2**32
_NEGLIGIBLE_WEIGHT = 1e-6

TapHook = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class PlainNetwork:
    """A VGG as a row of plain convolutions. ``tensors``: ``conv1_1.weight``, ``conv1_1.bias`` and so on."""

    tensors: Mapping[str, Tensor]
    input_scale: InputScale = CAFFE_INPUT

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of all layers in order: ``conv1_1, relu1_1, …, pool1, …``."""
        names: list[str] = []
        for convolution in sorted({name.partition(".")[0] for name in self.tensors}):
            block, index = convolution.removeprefix("conv").split("_")
            if index == "1" and block != "1":
                names.append(f"pool{int(block) - 1}")
            names += [convolution, f"relu{block}_{index}"]
        return tuple(names)

    def features(self, pixels: Tensor, taps: tuple[str, ...], hook: TapHook = lambda _, x: x) -> dict[str, Tensor]:
        """Activations at ``taps``, given in order of depth, of 1×3×H×W in 8-bit units; ``hook`` sees each of them."""
        gain, offset = (pixels.new_tensor(v).view(1, 3, 1, 1) for v in (self.input_scale.gain, self.input_scale.offset))
        found: dict[str, Tensor] = {}
        x = pixels * gain + offset
        for name in self.kinds:
            if name.startswith("conv"):
                x = functional.conv2d(x, self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"], padding=1)
            elif name.startswith("pool"):
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            else:
                x = functional.relu(x)
            if name in taps:
                found[name] = x = hook(name, x)
                if name == taps[-1]:
                    break
        return found


def load_plain_network(name: NetworkName, path: Path, device: torch.device) -> PlainNetwork:
    """The twin's network from the weight store's file. Source: section 1.3."""
    tensors = safetensors.torch.load_file(path, device=str(device))
    if name is NetworkName.VGG16:
        return PlainNetwork(tensors=tensors)
    scaled = {k: v * TORCHVISION_SCALE if k.endswith(".bias") else v for k, v in tensors.items()}
    return PlainNetwork(tensors=scaled, input_scale=TORCHVISION_INPUT)


def cosine_matches(source: Tensor, style: Tensor, similarity_bytes: int = _SIMILARITY_BYTES) -> Tensor:
    """The most similar position of ``style`` for every position of ``source``, both 1×C×h×w. Source: section 2.1."""
    a, b = _patches(source), _patches(style)
    a_norms, b_norms = a.norm(dim=1), b.norm(dim=1)
    found = []
    for rows in torch.split(torch.arange(len(a), device=a.device), _chunk_rows(b, similarity_bytes)):
        similarity = a[rows] @ b.T
        similarity /= torch.outer(a_norms[rows], b_norms) + 1e-9
        found.append(similarity.argmax(1))
    return torch.cat(found)


def unit_sum_matches(
    source: Tensor,
    style: Tensor,
    similarity_bytes: int = _SIMILARITY_BYTES,
    colors: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The same by sums of pointwise cosines, with the frame rule, less the colors' squared differences.

    ``colors`` are 1×3×h×w over each picture. Sources: sections 3.1 and 10.
    """
    units = [x / (x.norm(dim=1, keepdim=True) + 1e-8) for x in (source, style)]
    if colors is not None:
        own, theirs = colors
        units[0] = torch.cat((units[0], 2 * own, torch.ones_like(own[:, :1])), dim=1)
        units[1] = torch.cat((units[1], theirs, -theirs.square().sum(1, keepdim=True)), dim=1)
    a, b = (_patches(x) for x in units)
    a_leaves, b_leaves = (_leaves(x) for x in (source, style))
    found = []
    for rows in torch.split(torch.arange(len(a), device=a.device), _chunk_rows(b, similarity_bytes)):
        similarity = a[rows] @ b.T
        similarity[(b_leaves[None, :] & ~a_leaves[rows][:, None]) != 0] = -torch.inf
        found.append(similarity.argmax(1))
    return torch.cat(found)


def _patches(features: Tensor) -> Tensor:
    return functional.unfold(features, 3, padding=1)[0].T


def _chunk_rows(patches: Tensor, similarity_bytes: int) -> int:
    return max(1, similarity_bytes // (len(patches) * patches.element_size()))


def _leaves(features: Tensor) -> Tensor:
    """On which sides each position's patch leaves the picture, as bits."""
    inside = _patches(torch.ones_like(features[:, :1])) > 0
    return sum(((~inside[:, cell]).int() << bit for bit, cell in enumerate((1, 3, 5, 7))), start=torch.tensor(0))


def _gram(features: Tensor, area: Tensor | float) -> Tensor:
    matrix = features.flatten(-2).squeeze(0)
    return matrix @ matrix.T / (len(matrix) * area)


def _total_variation(pixels: Tensor) -> Tensor:
    dx, dy = pixels[..., 1:] - pixels[..., :-1], pixels[..., 1:, :] - pixels[..., :-1, :]
    return (dx.square().sum() + dy.square().sum()) / 2


class PlainPass1:
    """Pass 1's targets, and its gradient by autograd of the scalar loss. Source: section 2."""

    def __init__(self, working: Working, params: Pass1Params, network: PlainNetwork) -> None:
        self._params, self._network, self._dilated_mask = params, network, working.dilated_mask
        self._masks = soft_tap_masks(working.dilated_mask, network.kinds)
        self._composite = network.features(working.composite * working.pixel_scale, PASS1_TAPS)
        style = network.features(working.painting * working.pixel_scale, PASS1_TAPS)
        self._targets = {}
        for tap in PASS1_TAPS:
            matches = cosine_matches(self._composite[tap], style[tap])
            matched = style[tap].flatten(2)[..., matches].view_as(self._composite[tap])
            self._targets[tap] = _gram(self._masks[tap] * matched, self._masks[tap].sum())

    def gradient(self, pixels: Tensor) -> Tensor:
        """The masked gradient of all terms by the pixels, 1×3×H×W in 8-bit units."""
        leaf = pixels.detach().requires_grad_(True)
        loss = self._params.total_variation_weight * _total_variation(leaf)
        for tap, x in self._network.features(leaf, PASS1_TAPS).items():
            mask = self._masks[tap]
            x.register_hook(lambda gradient, mask=mask: mask * gradient)  # type: ignore[no-untyped-call]
            difference = _gram(mask * x, mask.sum()) - self._targets[tap]
            loss = loss + self._params.style_weight * difference.square().sum() / x.shape[1] ** 2
            if tap == CONTENT_TAP:
                distance = (mask * (x - self._composite[tap]).square()).sum() / x.numel()
                loss = loss + self._params.content_weight * distance
        (gradient,) = torch.autograd.grad(loss, leaf)
        return self._dilated_mask * gradient


class PlainPass2:
    """Pass 2's targets, and its gradient of unit-norm terms, each entering at its tap. Source: section 3."""

    def __init__(
        self,
        working: Working,
        pass1_result: Tensor,
        params: Pass2Params,
        weights: Pass2Weights,
        network: PlainNetwork,
    ) -> None:
        self._weights, self._network, self._dilated_mask = weights, network, working.dilated_mask
        self._masks = soft_tap_masks(working.dilated_mask, network.kinds)
        self._content = network.features(working.composite * working.pixel_scale, (CONTENT_TAP,))[CONTENT_TAP]
        style = network.features(working.painting * working.pixel_scale, PASS2_TAPS)
        source = network.features(pass1_result * working.pixel_scale, (REFERENCE_TAP,))[REFERENCE_TAP]
        size = (source.shape[-2], source.shape[-1])
        colors = cell_colors(pass1_result, size), cell_colors(working.painting, size)
        nnf = unit_sum_matches(source, style[REFERENCE_TAP], colors=colors)
        tight = torch.nonzero(tight_tap_mask(working.mask, size).flatten()).flatten()
        refined = refine_nnf(nnf, tight, area_resize(working.painting, size)[0])
        chosen = style_position_counts(refined[tight], size, params.ring_radius_cells)
        self._targets, self._tables = {}, {}
        for tap in PASS2_TAPS:
            counts = upsample_positions(chosen, (style[tap].shape[-2], style[tap].shape[-1])).flatten()
            values = style[tap][0].flatten(1).repeat_interleave(counts, dim=1)
            self._targets[tap] = _gram(values[..., None], values.shape[1])
            if tap in HISTOGRAM_TAPS and weights.histogram >= _NEGLIGIBLE_WEIGHT:
                self._tables[tap] = quantile_table(values, int((self._masks[tap] > 0.1).sum()))

    def gradient(self, pixels: Tensor) -> Tensor:
        """The masked gradient of all terms by the pixels, 1×3×H×W in 8-bit units."""
        leaf = pixels.detach().requires_grad_(True)

        def add_own(tap: str, x: Tensor) -> Tensor:
            own, mask = self._own_gradient(tap, x.detach()), self._masks[tap]
            x.register_hook(lambda deeper: mask * (own + deeper))  # type: ignore[no-untyped-call]
            return x

        deepest = self._network.features(leaf, PASS2_TAPS, add_own)[PASS2_TAPS[-1]]
        (gradient,) = torch.autograd.grad(deepest, leaf, torch.zeros_like(deepest))
        (variation,) = torch.autograd.grad(_total_variation(leaf), leaf)
        smooth = _unit_norm(self._dilated_mask * variation, self._weights.total_variation)
        return self._dilated_mask * gradient + smooth

    def _own_gradient(self, tap: str, x: Tensor) -> Tensor:
        mask, channels = self._masks[tap], x.shape[1]
        masked, area = mask * x, mask.sum()
        difference = _gram(masked, area) - self._targets[tap]
        style = mask * (difference @ masked[0].flatten(1)).view_as(x) * (4 / (channels**3 * area))
        total = _unit_norm(style, self._weights.style)
        if tap == CONTENT_TAP:
            content = mask.square() * (x - self._content) * (2 / x.numel())
            total = total + _unit_norm(content, self._weights.content)
        if tap in self._tables:
            total = total + _unit_norm(self._histogram_gradient(tap, x), self._weights.histogram)
        return total

    def _histogram_gradient(self, tap: str, x: Tensor) -> Tensor:
        inside = self._masks[tap][0, 0] > 0.1
        values = x[0][:, inside]
        order = values.sort(dim=1, stable=True).indices
        gradient = torch.zeros_like(x)
        gradient[0][:, inside] = values - torch.empty_like(values).scatter_(1, order, self._tables[tap])
        return gradient


def _unit_norm(gradient: Tensor, weight: float) -> Tensor:
    scaled: Tensor = weight * gradient / (gradient.norm() + 1e-8)
    return scaled


def iterates(
    start: Tensor, gradient: Callable[[Tensor], Tensor], *, learning_rate: float, history_size: int
) -> Iterator[Tensor]:
    """Step by ``torch.optim.LBFGS`` over all values of ``start`` for ever, yielding after each. Source: section 2.4."""
    variable = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [variable], lr=learning_rate, max_iter=1, history_size=history_size, tolerance_grad=-1, tolerance_change=-1
    )

    def closure() -> float:
        variable.grad = gradient(variable.detach())
        return 0.0

    while True:
        optimizer.step(closure)  # type: ignore[no-untyped-call]
        yield variable.detach()
