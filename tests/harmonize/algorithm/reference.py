"""Slow, literal twins of the method's formulas: loops and dense products, float64, nothing shared with the package."""

from __future__ import annotations

import collections
import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Array = NDArray[np.float64]
_SQUARE = tuple(itertools.product((-1, 0, 1), repeat=2))


def _cell(features: Array, y: int, x: int) -> Array | None:
    height, width = features.shape[1:]
    return features[:, y, x] if 0 <= y < height and 0 <= x < width else None


def patch_similarity(source: Array, style: Array, p: tuple[int, int], q: tuple[int, int], measure: str) -> float:
    """One entry of the similarity: "cosine", "joint cosine" (section 2.1) or "unit sum" (section 3.1)."""
    pairs = [(_cell(source, p[0] + y, p[1] + x), _cell(style, q[0] + y, q[1] + x)) for y, x in _SQUARE]
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    if measure == "unit sum":
        for (y, x), (a, b) in zip(_SQUARE, pairs, strict=True):
            # Straight neighbors only: a patch leaves on a side when its middle cell there is missing.
            if 0 in (y, x) and b is None and a is not None:
                return -math.inf
        norms = [(float(np.linalg.norm(a)) + 1e-8, float(np.linalg.norm(b)) + 1e-8) for a, b in both]
        return sum(float(a @ b) / (m * n) for (a, b), (m, n) in zip(both, norms, strict=True))
    dot = sum(float(a @ b) for a, b in both)
    left = both if measure == "joint cosine" else [(a, a) for a, _ in pairs if a is not None]
    right = both if measure == "joint cosine" else [(b, b) for _, b in pairs if b is not None]
    source_norm = math.sqrt(sum(float(a @ a) for a, _ in left))
    style_norm = math.sqrt(sum(float(b @ b) for _, b in right))
    return dot / (source_norm * style_norm + 1e-9)


def nearest_neighbor_field(
    source: Tensor, style: Tensor, measure: str, allowed: Tensor | None = None
) -> tuple[list[int], list[float]]:
    """The match and its similarity of every source position, by a double loop; the first of equals wins."""
    admitted = [True] * style[0].numel() if allowed is None else allowed.flatten().tolist()
    a, b = source.double().numpy(), style.double().numpy()
    matches, values = [], []
    for p in itertools.product(range(a.shape[1]), range(a.shape[2])):
        best, match = -math.inf, admitted.index(True)
        for index, q in enumerate(itertools.product(range(b.shape[1]), range(b.shape[2]))):
            value = patch_similarity(a, b, p, q, measure)
            if admitted[index] and value > best:
                best, match = value, index
        matches.append(match)
        values.append(best)
    return matches, values


def refine_nnf(
    nnf: Sequence[int],
    positions: Sequence[int],
    guide: Tensor,
    *,
    bound: int = 1,
    radius: int = 2,
    allowed: Tensor | None = None,
) -> list[int]:
    """One Jacobi sweep of section 3.2; the candidates' upper bounds are ``h - radius - bound``, included."""
    colors = guide.double().numpy()
    height, width = colors.shape[1:]
    refined = list(nnf)
    for p in positions:
        y, x = divmod(p, width)
        neighbors, candidates = [], []
        for ox in range(-radius, radius + 1):
            for oy in range(-radius, radius + 1):
                if not (0 <= y + oy < height and 0 <= x + ox < width):
                    continue
                my, mx = divmod(nnf[(y + oy) * width + x + ox], width)
                cy, cx = my - oy, mx - ox
                if 0 <= cy < height and 0 <= cx < width:
                    neighbors.append((cy, cx))
                within = radius <= cy <= height - radius - bound and radius <= cx <= width - radius - bound
                if within and (allowed is None or bool(allowed[cy, cx])):
                    candidates.append((cy, cx))
        best = math.inf
        for cy, cx in candidates:
            cost = sum(float(np.linalg.norm(colors[:, cy, cx] - colors[:, ny, nx])) for ny, nx in neighbors)
            if cost / len(neighbors) < best:
                best, refined[p] = cost / len(neighbors), cy * width + cx
    return refined


def upsampled_match(p: int, match: Mapping[int, int] | Sequence[int], size: int, target: int) -> int:
    """Coordinate transport of section 3.3 along one axis, in floating point as written there."""
    ratio = target / size
    cell = min(math.floor((p + 0.5) / ratio), size - 1)
    return min(max(math.trunc(p + (match[cell] - cell) * ratio + 0.5), 0), target - 1)


def area_resize_line(values: Sequence[float], target: int) -> list[float]:
    """Box averages with fractional coverage along one axis, by integrating cell after cell."""
    scale = len(values) / target
    result = []
    for cell in range(target):
        total, position = 0.0, cell * scale
        while position < (cell + 1) * scale - 1e-12:
            end = min(math.floor(position + 1e-12) + 1, (cell + 1) * scale)
            total += values[math.floor(position + 1e-12)] * (end - position)
            position = end
        result.append(total / scale)
    return result


def binned_remap(values: Sequence[float], style: Sequence[float], bins: int) -> list[float]:
    """Steps 1 to 5 of section 3.5 for one channel, one value after the other."""
    low, high = min(style), max(style)
    width = (high - low) / bins
    if width == 0:
        return [low] * len(values)
    heights = [0.0] * bins
    for value in style:
        heights[min(math.floor((value - low) / width), bins - 1)] += len(values) / len(style)
    ends = list(itertools.accumulate(heights))
    result = [0.0] * len(values)
    for rank, position in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        k = next((k for k in range(bins) if (ends[k - 1] if k else -0.5) <= rank < ends[k] - 1e-12), None)
        if k is None:
            k = max(k for k in range(bins) if heights[k] > 0)
        start = ends[k] - heights[k]
        result[position] = low + (k + min(max((rank - start) / (heights[k] + 1e-8), 0), 1)) * width
    return result


def quantile_remap(values: Sequence[float], style: Sequence[float]) -> list[float]:
    """The sorting formulation of section 3.5 for one channel."""
    ordered, result = sorted(style), [0.0] * len(values)
    for rank, position in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        u = min(max((rank + 0.5) * len(style) / len(values) - 0.5, 0), len(style) - 1)
        k = min(math.floor(u), len(style) - 2) if len(style) > 1 else 0
        result[position] = ordered[k] + (u - k) * (ordered[min(k + 1, len(style) - 1)] - ordered[k])
    return result


def guided_filter(values: Array, guide: Array, radius: int, epsilon: float) -> Array:
    """Section 4, step 1, window by window: ``values`` C×H×W, ``guide`` K×H×W."""
    height, width = values.shape[1:]

    def window(y: int, x: int) -> tuple[slice, slice]:
        return slice(max(0, y - radius), y + radius + 1), slice(max(0, x - radius), x + radius + 1)

    slopes = np.zeros((height, width, values.shape[0], guide.shape[0]))
    offsets = np.zeros((height, width, values.shape[0]))
    for y, x in itertools.product(range(height), range(width)):
        rows, columns = window(y, x)
        g = guide[:, rows, columns].reshape(guide.shape[0], -1)
        v = values[:, rows, columns].reshape(values.shape[0], -1)
        covariance = np.cov(g, bias=True).reshape(len(g), len(g)) + epsilon * np.eye(len(g))
        cross = (v - v.mean(1, keepdims=True)) @ (g - g.mean(1, keepdims=True)).T / g.shape[1]
        slopes[y, x] = np.linalg.solve(covariance, cross.T).T
        offsets[y, x] = v.mean(1) - slopes[y, x] @ g.mean(1)
    result = np.zeros_like(values)
    for y, x in itertools.product(range(height), range(width)):
        rows, columns = window(y, x)
        slope = slopes[rows, columns].reshape(-1, *slopes.shape[2:]).mean(0)
        result[:, y, x] = slope @ guide[:, y, x] + offsets[rows, columns].reshape(-1, values.shape[0]).mean(0)
    return result


# --- whole passes, on the whole picture -----------------------------------------------------------------------------

Tensors = Mapping[str, Tensor]


def blocks(tensors: Tensors) -> dict[int, int]:
    """How many convolutions each block has."""
    counts: dict[int, int] = {}
    for name in tensors:
        block = int(name[len("conv")])
        counts[block] = counts.get(block, 0) + name.endswith(".weight")
    return counts


def features(tensors: Tensors, pixels: Tensor, hook: Callable[[str, Tensor], Tensor] = lambda _, x: x) -> Tensors:
    """Post-ReLU activations of all ``relu{block}_1`` for RGB pixels in 8-bit units; Caffe's mean, poolings round up.

    ``hook`` is applied to each of them before the next layer reads it.
    """
    found: dict[str, Tensor] = {}
    x = pixels - torch.tensor([123.68, 116.779, 103.939], dtype=pixels.dtype).view(1, 3, 1, 1)
    for block, count in blocks(tensors).items():
        for index in range(1, count + 1):
            name = f"conv{block}_{index}"
            x = functional.relu(functional.conv2d(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1))
            if index == 1:
                found[f"relu{block}_1"] = x = hook(f"relu{block}_1", x)
        x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
    return found


def soft_masks(tensors: Tensors, dilated_mask: Tensor) -> Tensors:
    """Section 1.4 by the number of averagings per block; for sides that are multiples of 16."""
    ninth = torch.full((1, 1, 3, 3), 1 / 9, dtype=dilated_mask.dtype)
    found, mask = {}, dilated_mask
    for block, count in blocks(tensors).items():
        for index in range(count):
            mask = functional.conv2d(mask, ninth, padding=1)
            if index == 0:
                found[f"relu{block}_1"] = mask
        mask = functional.avg_pool2d(mask, 2)
    return found


def _patch_rows(x: Tensor) -> Tensor:
    return functional.unfold(x, 3, padding=1)[0].T


def _norm(x: Tensor, dim: int | None = None) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=dim, keepdim=dim is not None)
    return norm


def pass1_match(source: Tensor, style: Tensor) -> Tensor:
    """Section 2.1 with zero padding: the match of every position, from unfolded patches (1×C×h×w)."""
    a, b = _patch_rows(source), _patch_rows(style)
    return ((a @ b.T) / (_norm(a, 1) * _norm(b, 1).T + 1e-9)).argmax(1)


def lab(image: Tensor) -> Tensor:
    """CIELAB of sRGB 1×3×H×W in [0, 1] under D65."""
    linear = torch.where(image > 0.04045, ((image + 0.055) / 1.055) ** 2.4, image / 12.92)
    matrix = torch.tensor(
        [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]],
        dtype=image.dtype,
    )
    white = torch.tensor([0.950456, 1.0, 1.088754], dtype=image.dtype).view(3, 1, 1)
    xyz = (matrix @ linear[0].flatten(1)).view_as(image[0]) / white
    x, y, z = torch.where(xyz > (6 / 29) ** 3, xyz ** (1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    return torch.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)))[None]


def pass2_match(source: Tensor, style: Tensor, pictures: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Section 3.1: the match of every position, from unfolded patches of unit vectors.

    With ``pictures`` (section 10) less the squared differences of their cells' colors, of L*a*b* over 100.
    """
    a, b = (_patch_rows(x / (_norm(x, 1) + 1e-8)) for x in (source, style))
    similarity = a @ b.T
    if pictures is not None:
        # For sides that are multiples of 8. Cells outside either picture have no colors.
        own, theirs = (_patch_rows(functional.avg_pool2d(lab(x), 8) / 100).view(-1, 3, 9) for x in pictures)
        inside, theirs_inside = (_patch_rows(torch.ones_like(x[:, :1])) for x in (source, style))
        squares = (own[:, None] - theirs[None]).square().sum(2)
        # What the source's own colors add is the same for all matches.
        squares = squares - own.square().sum(1)[:, None]
        similarity -= (squares * inside[:, None] * theirs_inside[None]).sum(2)
    sides = []
    for x in (source, style):
        inside = _patch_rows(torch.ones_like(x[:, :1])) > 0
        sides.append(~inside[:, [1, 3, 5, 7]])
    forbidden = (sides[1][None, :, :] & ~sides[0][:, None, :]).any(2)
    return similarity.masked_fill(forbidden, -torch.inf).argmax(1)


def gram(x: Tensor, area: Tensor | float) -> Tensor:
    """``X Xᵀ / (C · area)`` of 1×C×h×w."""
    matrix = x[0].flatten(1)
    return matrix @ matrix.T / (len(matrix) * area)


def total_variation_gradient(pixels: Tensor) -> Tensor:
    """Autograd's gradient of ``½ Σ (dx² + dy²)``, all pairs."""
    leaf = pixels.detach().requires_grad_(True)
    dx, dy = leaf[..., 1:] - leaf[..., :-1], leaf[..., 1:, :] - leaf[..., :-1, :]
    (gradient,) = torch.autograd.grad(0.5 * (dx.square().sum() + dy.square().sum()), leaf)
    return gradient


class Pass1:
    """The gradient of section 2 on the whole picture, by autograd of the scalar loss with hooks at the taps.

    The scalar objective alone is not what the method descends: the hooks multiply by the soft mask once more at every
    tap (section 2.3), so for masks that are not binary the gradient is that of no scalar function.
    """

    taps = ("relu3_1", "relu4_1", "relu5_1")

    def __init__(self, tensors: Tensors, composite: Tensor, painting: Tensor, dilated_mask: Tensor) -> None:
        self._tensors, self._dilated_mask = tensors, dilated_mask
        self._masks = soft_masks(tensors, dilated_mask)
        self._composite, style = features(tensors, composite * 255), features(tensors, painting * 255)
        self._targets = {}
        for tap in self.taps:
            match = pass1_match(self._composite[tap], style[tap])
            matched = style[tap][0].flatten(1)[:, match].view_as(self._composite[tap])
            self._targets[tap] = gram(self._masks[tap] * matched, self._masks[tap].sum())

    def gradient(self, pixels: Tensor, *, content: float = 5, style: float = 100, smooth: float = 1e-3) -> Tensor:
        """The masked gradient of the weighted terms by the pixels, which are in 8-bit units."""
        leaf = pixels.detach().requires_grad_(True)
        found = features(self._tensors, leaf)
        loss = torch.zeros((), dtype=pixels.dtype)
        for tap in self.taps:
            mask, x = self._masks[tap], found[tap]
            x.register_hook(lambda g, mask=mask: g * mask)  # type: ignore[no-untyped-call]
            difference = gram(mask * x, mask.sum()) - self._targets[tap]
            loss = loss + style * difference.square().sum() / x.shape[1] ** 2
            if tap == "relu4_1":
                loss = loss + content / x.numel() * (mask * (x - self._composite[tap]).square()).sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        return self._dilated_mask * (gradient + smooth * total_variation_gradient(pixels))


class Pass2:
    """The gradient of section 3 on the whole picture: every loss's own gradient by autograd, scaled to unit norm."""

    taps = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")

    def __init__(
        self,
        tensors: Tensors,
        composite: Tensor,
        painting: Tensor,
        mask: Tensor,
        dilated_mask: Tensor,
        pass1_result: Tensor,
        *,
        weights: Mapping[str, float],
        ring: int = 1,
        once: bool = False,
    ) -> None:
        """With ``once`` a position that was chosen many times counts once."""
        self._tensors, self._weights, self._dilated_mask = tensors, weights, dilated_mask
        self._masks = soft_masks(tensors, dilated_mask)
        self._composite, style = features(tensors, composite * 255), features(tensors, painting * 255)
        reference = "relu4_1"
        size = style[reference].shape[-2:]
        source = features(tensors, pass1_result * 255)[reference]
        nnf = pass2_match(source, style[reference], (pass1_result, painting)).tolist()
        # For sides that are multiples of 8 the sampled cell is every eighth pixel and the area mean an 8×8 mean.
        tight = torch.nonzero(mask[0, 0, ::8, ::8].flatten() > 0.1).flatten().tolist()
        refined = refine_nnf(nnf, tight, functional.avg_pool2d(painting, 8)[0])
        chosen = []
        for p in tight:
            y, x = divmod(refined[p], size[1])
            rows = range(max(0, y - ring), min(size[0], y + ring + 1))
            columns = range(max(0, x - ring), min(size[1], x + ring + 1))
            chosen += [(row, column) for row in rows for column in columns]
        self.selected = set(chosen)
        reach = (2 * ring + 1) ** 2
        often = {q: 1 if once else max(1, round(n / reach)) for q, n in collections.Counter(chosen).items()}
        chosen = [q for q, n in often.items() for _ in range(n)]
        self._style = {}
        for tap in self.taps:
            factor = style[tap].shape[-1] // size[1]
            blocks = [
                style[tap][0, :, y * factor : (y + 1) * factor, x * factor : (x + 1) * factor].flatten(1)
                for y, x in chosen
            ]
            self._style[tap] = torch.cat(blocks, dim=1)

    def _own_gradient(self, tap: str, x: Tensor) -> Tensor:
        mask, style = self._masks[tap], self._style[tap]
        leaf = x.detach().requires_grad_(True)

        def unit(loss: Tensor, weight: float) -> Tensor:
            (gradient,) = torch.autograd.grad(loss, leaf)
            return weight * gradient / (_norm(gradient) + 1e-8)

        target = gram(style[None, :, None, :], style.shape[1])
        total = unit((gram(mask * leaf, mask.sum()) - target).square().sum(), self._weights["style"])
        if tap == "relu4_1":
            total = total + unit((mask * (leaf - self._composite[tap])).square().sum(), self._weights["content"])
        if tap in ("relu1_1", "relu4_1"):
            inside = mask[0, 0] > 0.1
            remapped = torch.tensor(
                [quantile_remap(v.tolist(), s.tolist()) for v, s in zip(x[0][:, inside], style, strict=True)],
                dtype=x.dtype,
            )
            total = total + unit(0.5 * (leaf[0][:, inside] - remapped).square().sum(), self._weights["histogram"])
        return total

    def gradient(self, pixels: Tensor) -> Tensor:
        """The masked gradient of the terms by the pixels, which are in 8-bit units."""
        leaf = pixels.detach().requires_grad_(True)

        def inject(tap: str, x: Tensor) -> Tensor:
            if tap in self.taps:
                own = self._own_gradient(tap, x.detach())
                mask = self._masks[tap]
                x.register_hook(lambda g: mask * (own + g))  # type: ignore[no-untyped-call]
            return x

        found = features(self._tensors, leaf, inject)
        (gradient,) = torch.autograd.grad(found["relu4_1"], leaf, torch.zeros_like(found["relu4_1"]))
        smooth = self._dilated_mask * total_variation_gradient(pixels)
        weight = self._weights["total_variation"]
        return self._dilated_mask * gradient + weight * smooth / (_norm(smooth) + 1e-8)


def optimize(
    start: Tensor, gradient: Callable[[Tensor], Tensor], *, iteration_count: int, learning_rate: float
) -> Tensor:
    """PyTorch's own L-BFGS without line search from ``start``, on all of its values; never stops early."""
    variable = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        [variable],
        lr=learning_rate,
        max_iter=iteration_count,
        max_eval=10 * iteration_count,
        history_size=100,
        tolerance_grad=-1,
        tolerance_change=-1,
        line_search_fn=None,
    )

    def closure() -> float:
        variable.grad = gradient(variable.detach())
        return 0.0

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return variable.detach()
