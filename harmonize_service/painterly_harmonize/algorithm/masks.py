"""Masks: dilation, soft, binary and tight masks at each tap, resizing, and the blend that keeps the painting."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm.region import Region

BLEND_KERNEL_PX = 7
BLEND_SIGMA_PX = 3.0
WIDE_BLEND_SIGMA_PX = 21.0
_DILATION_KERNEL_PX, _DILATION_LONG_SIDE_PX = 35, 700
_THRESHOLD = 0.1
_BAND_PX = 256


def gaussian_kernel(size: int, sigma: float) -> Tensor:
    """A normalized one-dimensional Gaussian, float64, of odd ``size``."""
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    return weights / weights.sum()


def gaussian_blur(image: Tensor, size: int, sigma: float, *, normalized: bool = False) -> Tensor:
    """Convolve each channel of 1×C×H×W with a Gaussian, zero padded.

    With ``normalized`` the kernel's weight outside the picture is taken out again, so a constant stays constant.
    """
    channels = image.shape[1]
    kernel = gaussian_kernel(size, sigma).to(image)

    def convolve(x: Tensor) -> Tensor:
        count = x.shape[1]
        x = functional.conv2d(
            x, kernel.view(1, 1, size, 1).expand(count, 1, size, 1), padding=(size // 2, 0), groups=count
        )
        return functional.conv2d(
            x, kernel.view(1, 1, 1, size).expand(count, 1, 1, size), padding=(0, size // 2), groups=count
        )

    blurred = convolve(image)
    if not normalized:
        return blurred
    inside = convolve(torch.ones_like(image[:, :1]))
    return blurred / inside.expand(-1, channels, -1, -1)


def dilation_kernel_size(long_side: int) -> int:
    """The width of the dilation's Gaussian, px: 35 at a long side of 700, scaled and rounded to odd."""
    return 2 * round((_DILATION_KERNEL_PX * long_side / _DILATION_LONG_SIDE_PX - 1) / 2) + 1


def dilate_mask(mask: Tensor, kernel_size: int | None = None, *, union: bool = True) -> Tensor:
    """Grow a 1×1×H×W mask by the paper's rule; at 700 px a straight edge grows by exactly 12 px.

    ``kernel_size`` is odd, px, by default :func:`dilation_kernel_size`; without ``union`` shapes smaller
    than 9 px vanish.
    Source: section 5.
    """
    size = dilation_kernel_size(max(mask.shape[-2:])) if kernel_size is None else kernel_size
    grown = gaussian_blur(mask.double(), size, size / 3) > _THRESHOLD
    return (grown | (mask > 0.5) if union else grown).to(mask.dtype)


def soft_tap_masks(dilated_mask: Tensor, layer_names: Iterable[str]) -> dict[str, Tensor]:
    """Carry the dilated mask to every ReLU of a network: soft masks in [0, 1], 1×1×h×w of the features' size.

    At each convolution a 3×3 mean with divisor 9 also at the border, at each pooling an area resize.
    Source: section 1.4.
    """
    mask, masks = dilated_mask, {}
    for name in layer_names:
        if name.startswith("conv"):
            mask = functional.avg_pool2d(mask, 3, stride=1, padding=1, count_include_pad=True)
        elif name.startswith("pool"):
            height, width = mask.shape[-2:]
            mask = area_resize(mask, ((height + 1) // 2, (width + 1) // 2))
        else:
            masks[name] = mask
    return masks


def binary_tap_mask(soft_mask: Tensor) -> Tensor:
    """The binary loose mask of the histogram loss: bool, where the soft mask exceeds 0.1. Source: section 1.4."""
    return soft_mask > _THRESHOLD


def tight_tap_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Carry the tight mask to a tap: bool 1×1×h×w, by point sampling (source index ``floor(dst · scale)``).

    Departure from section 1.4: where sampling loses a part thinner than the stride, the cells that the part touches
    are taken instead; cells beside sampled ones stay as sampled.
    """
    binary = mask > _THRESHOLD
    rows = nearest_indices(mask.shape[-2], size[0], mask.device)
    columns = nearest_indices(mask.shape[-1], size[1], mask.device)
    sampled = binary[..., rows[:, None], columns[None, :]]
    touched = area_resize(binary.to(torch.float64), size) > 1e-9
    near_sampled = functional.max_pool2d(sampled.double(), 3, stride=1, padding=1) > 0
    return sampled | (touched & ~near_sampled)


def style_cells(style_mask: Tensor, size: tuple[int, int]) -> Tensor:
    """The cells of a tap, bool h×w, that lie inside a 1×1×H×W mask by half at least; the fullest where none does."""
    share = area_resize(style_mask.double(), size)[0, 0]
    return share >= min(0.5, float(share.max()))


def nearest_indices(source: int, destination: int, device: torch.device) -> Tensor:
    """For each destination cell its source cell, ``floor(dst · source / destination)``, int64."""
    return torch.arange(destination, device=device) * source // destination


def _area_weights(source: int, destination: int) -> Tensor:
    """Overlap of each destination cell with each source cell over its own length, destination×source, float64."""
    scale = source / destination
    starts = torch.arange(destination, dtype=torch.float64)[:, None] * scale
    cells = torch.arange(source, dtype=torch.float64)[None, :]
    overlap = torch.minimum(starts + scale, cells + 1) - torch.maximum(starts, cells)
    return overlap.clamp(min=0) / scale


def area_resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ...×H×W to ...×h×w by exact box averaging with fractional coverage. Source: section 1.3."""
    for axis, target in ((-2, size[0]), (-1, size[1])):
        if image.shape[axis] != target:
            weights = _area_weights(image.shape[axis], target).to(image)
            image = (weights @ image) if axis == -2 else (image @ weights.T)
    return image


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize 1×C×H×W to 1×C×h×w: box averaging to smaller, bicubic to larger sides. Source: section 1.3."""
    smaller = (min(image.shape[-2], size[0]), min(image.shape[-1], size[1]))
    image = area_resize(image, smaller)
    if smaller != tuple(size):
        image = functional.interpolate(image, size, mode="bicubic", align_corners=False)
    return image


def resize_part(image: Tensor, size: tuple[int, int], part: Region) -> Tensor:
    """The rectangle ``part`` of ``resize(image, size)``, without computing the rest."""
    for axis, target, first, last in ((-2, size[0], part.top, part.bottom), (-1, size[1], part.left, part.right)):
        source = image.shape[axis]
        if target > source:
            image = _cubic_part(image, axis, target, first, last)
        elif target < source:
            weights = _area_weights(source, target)[first:last].to(image)
            image = (weights @ image) if axis == -2 else (image @ weights.T)
        else:
            image = image.narrow(axis, first, last - first)
    return image


# The bicubic kernel's parameter, as in torch's interpolation.
_CUBIC = -0.75


def _cubic_part(image: Tensor, axis: int, target: int, first: int, last: int) -> Tensor:
    """Positions ``first`` to ``last`` of an axis that is enlarged to ``target`` by bicubic interpolation."""
    source = image.shape[axis]
    position = (torch.arange(first, last, dtype=torch.float64) + 0.5) * (source / target) - 0.5
    cell = position.floor()
    shape = (-1, 1) if axis == -2 else (-1,)

    def tap(offset: int) -> Tensor:
        index = (cell.long() + offset).clamp(0, source - 1).to(image.device)
        return image.index_select(axis, index) * _cubic(position - cell - offset).to(image).view(shape)

    return tap(-1) + tap(0) + tap(1) + tap(2)


def _cubic(distance: Tensor) -> Tensor:
    x = distance.abs()
    near = ((_CUBIC + 2) * x - (_CUBIC + 3)) * x.square() + 1
    far = _CUBIC * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0))


def working_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    """The size of a picture whose long side is brought to ``long_side``, the other rounded down."""
    longest = max(height, width)
    return max(1, height * long_side // longest), max(1, width * long_side // longest)


def reduced_size(height: int, width: int, limit: int) -> tuple[int, int]:
    """The size of a picture whose long side is brought to ``limit`` at most; never enlarged."""
    return working_size(height, width, min(max(height, width), limit))


def blend_weight(mask: Tensor, *, wide: bool = False) -> Tensor:
    """The weight of the output in a pass's blend, 1×1×H×W in [0, 1]: the tight mask blurred by a 7×7 Gaussian.

    Departure from section 2.4: at the picture's frame the kernel is normalized to its part inside, so that an object
    that touches the frame is not faded out there. Source: section 2.4, and section 5 for ``wide``.
    """
    sigma = WIDE_BLEND_SIGMA_PX if wide else BLEND_SIGMA_PX
    return gaussian_blur(mask, BLEND_KERNEL_PX, sigma, normalized=True)


def final_blend_weight(mask: Tensor) -> Tensor:
    """The weight of the last blend: reaches 6 px beyond the mask. Source: section 4, step 4."""
    # For a binary mask "blur > 0.01" is exactly a 7×7 dilation.
    grown = functional.max_pool2d(mask, BLEND_KERNEL_PX, stride=1, padding=BLEND_KERNEL_PX // 2)
    return blend_weight(grown)


def blend(output: Tensor, painting: Tensor, weight: Tensor) -> Tensor:
    """``weight · output + (1 - weight) · painting``; exactly the painting where the weight is 0."""
    mixed = weight * output + (1 - weight) * painting
    return torch.where(weight > 0, mixed, painting)


def to_bytes(image: Tensor, *, truncate: bool = False) -> Tensor:
    """RGB 1×3×H×W in [0, 1] to uint8 H×W×3 on the CPU, clipped and rounded to nearest.

    With ``truncate`` values are cut off instead; whole 8-bit levels survive both. Source: section 1.3.
    """
    # In bands of rows: a large picture in double precision is much larger.
    return torch.cat([_band_to_bytes(band, truncate) for band in torch.split(image.detach(), _BAND_PX, dim=-2)])


def _band_to_bytes(band: Tensor, truncate: bool) -> Tensor:
    scaled = band.double().clamp(0, 1) * 255
    # float32 n/255 · 255 may fall just below n: truncation must not lose that level.
    levels = (scaled + 1e-4).floor() if truncate else scaled.round()
    return levels.to(torch.uint8)[0].permute(1, 2, 0).contiguous().cpu()
