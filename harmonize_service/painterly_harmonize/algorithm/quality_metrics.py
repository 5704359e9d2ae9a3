"""The measures of a quality report, one pure function each. None needs weights; all randomness is handed in.

Pictures are CIELAB 1×3×H×W (L* 0 to 100), so that every distance is in units of L*, in which about 2 is just visible
and 10 is plain to see. Masks are bool 1×1×H×W. Patches are rows of 7·7·3 values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm.masks import gaussian_blur

PATCH_PX = 7
FILTER_COUNT = 64
DETAIL_SIGMA_PX = 2.0
_DETAIL_KERNEL_PX = 13
_QUANTILE_COUNT = 1024
_CHUNK_PATCHES = 256
SEAM_REACH_PX = 2
# About what rounding to 8 bits leaves of detail, L* units: below it there is nothing to compare.
_DETAIL_FLOOR = 0.25
_GRADIENT_FLOOR = 0.25


def mean_and_deviation(lab: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel over the mask, 3 values each."""
    pixels = lab.flatten(2)[0, :, mask.flatten()].double()
    return pixels.mean(1), pixels.std(1, correction=0)


def distance(first: Tensor, second: Tensor) -> float:
    """The Euclidean distance of two vectors."""
    return float((first - second).norm())


def sample_positions(mask: Tensor, limit: int, generator: torch.Generator) -> Tensor:
    """Flat positions under the mask in rising order: all of them, or ``limit`` drawn without repetition."""
    positions = torch.nonzero(mask.flatten()).flatten()
    if positions.numel() > limit:
        positions = positions[torch.randperm(positions.numel(), generator=generator)[:limit]].sort().values
    return positions


def patches(lab: Tensor, positions: Tensor) -> Tensor:
    """The 7×7 patches around flat positions, n×147; beyond the frame the border pixel goes on."""
    radius, (height, width) = PATCH_PX // 2, lab.shape[-2:]
    rows, columns = positions // width, positions % width
    offsets = torch.arange(-radius, radius + 1)
    row = (rows[:, None] + offsets).clamp(0, height - 1)
    column = (columns[:, None] + offsets).clamp(0, width - 1)
    found: Tensor = lab[0][:, row[:, :, None], column[:, None, :]]
    return found.permute(1, 0, 2, 3).reshape(positions.numel(), -1)


def random_rotation(size: int, generator: torch.Generator) -> Tensor:
    """``size`` random orthonormal directions, the columns of size×size."""
    basis: Tensor = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
    return basis.float()


def quantiles(samples: Tensor, rotation: Tensor) -> Tensor:
    """The sorted projections of n×D samples on each direction, at the middles of 1024 equal shares: D×1024."""
    ordered = (rotation.T @ samples.T).sort(1).values
    share = (2 * torch.arange(_QUANTILE_COUNT) + 1) * samples.shape[0] // (2 * _QUANTILE_COUNT)
    return ordered[:, share]


def sliced_wasserstein(first: Tensor, second: Tensor) -> float:
    """Sliced 2-Wasserstein distance of two sets of patches from their :func:`quantiles`, in color difference.

    ``sqrt(3 · mean over directions and shares of (first - second)²)``: the directions are a whole orthonormal basis, so
    a set that differs by a constant color alone is as far away as that color. 0 is the same; lower is better.
    """
    return float((3 * (first - second).double().square().mean()).sqrt())


def random_filters(generator: torch.Generator) -> Tensor:
    """64 filters of 3×3 over three channels, each of unit norm: 64×3×3×3."""
    filters = torch.randn(FILTER_COUNT, 3, 3, 3, generator=generator)
    lengths: Tensor = filters.flatten(1).norm(dim=1)
    return filters / lengths.view(-1, 1, 1, 1)


def gram_matrix(lab: Tensor, mask: Tensor, center: Tensor, filters: Tensor) -> Tensor:
    """Mean products of the filters' rectified responses over the mask, 64×64.

    What is filtered is the picture less the color ``center`` (3 values), so that the products tell of contrast, colors
    and small shapes and not of how far from black the picture is.
    """
    centered = functional.pad(lab - center.to(lab).view(1, 3, 1, 1), (1, 1, 1, 1), mode="replicate")
    responses = functional.conv2d(centered, filters).relu().flatten(2)[0, :, mask.flatten()]
    return responses @ responses.T / responses.shape[1]


def relative_distance(gram: Tensor, reference: Tensor) -> float:
    """``‖gram - reference‖ / ‖reference‖``: 0 is the same, 1 as far away as no texture at all; lower is better."""
    return float((gram - reference).norm() / reference.norm().clamp(min=_DETAIL_FLOOR**2))


def nearest_distance(samples: Tensor, references: Tensor) -> float:
    """Mean over n×D samples of the color difference per pixel to the nearest of m×D references.

    0: every one occurs among the references; lower is better. A blurred picture is near to everything, so read it
    beside the detail ratios.
    """
    center = references.mean(0)
    references, samples = references - center, samples - center
    lengths = references.square().sum(1)
    total = 0.0
    for chunk in torch.split(samples, _CHUNK_PATCHES):
        nearest = torch.addmm(lengths, chunk, references.T, alpha=-2).argmin(1)
        squares = (chunk - references[nearest]).double().square().sum(1)
        total += float((squares * 3 / samples.shape[1]).sqrt().sum())
    return total / samples.shape[0]


def local_mean(lab: Tensor, mask: Tensor) -> Tensor:
    """The Gaussian mean, sigma 2, over the pixels of the mask alone, so that nothing leaks in across its edge."""
    inside = mask.to(lab.dtype)
    weight = gaussian_blur(inside, _DETAIL_KERNEL_PX, DETAIL_SIGMA_PX)
    return gaussian_blur(lab * inside, _DETAIL_KERNEL_PX, DETAIL_SIGMA_PX) / weight.clamp(min=1e-6)


def detail_deviations(lab: Tensor, mask: Tensor) -> tuple[float, float]:
    """Standard deviations over the mask of what the local mean leaves: of luma, and of chroma (a* and b* together)."""
    _, deviation = mean_and_deviation(lab - local_mean(lab, mask), mask)
    luma, a, b = (float(value) for value in deviation)
    return luma, (a**2 + b**2) ** 0.5


def detail_ratio(deviation: float, reference: float) -> float:
    """How much detail there is, as a multiple of the reference's; 1 is like the painting, more is noisier."""
    return max(deviation, _DETAIL_FLOOR) / max(reference, _DETAIL_FLOOR)


def gradients(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences across and down of 1×1×H×W, per px; at the frame the border pixel goes on."""
    padded = functional.pad(plane, (1, 1, 1, 1), mode="replicate")
    return (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2, (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2


def grow(mask: Tensor, reach: int) -> Tensor:
    """A bool mask grown by ``reach`` px in a square; a negative reach shrinks it, but not from the frame."""
    size = 2 * abs(reach) + 1
    source = (mask if reach >= 0 else ~mask).float()
    grown = functional.max_pool2d(source, (1, size), stride=1, padding=(0, abs(reach)))
    grown = functional.max_pool2d(grown, (size, 1), stride=1, padding=(abs(reach), 0)) > 0
    return grown if reach >= 0 else ~grown


def edge_band(mask: Tensor) -> Tensor:
    """The pixels within 2 px of the mask's edge, on both sides."""
    return grow(mask, SEAM_REACH_PX) & ~grow(mask, -SEAM_REACH_PX)


def mean_gradient(lab: Tensor, band: Tensor) -> float:
    """The mean length of the luma's gradient over a band, L* per px; 0 where the band is empty."""
    if not bool(band.any()):
        return 0.0
    across, down = gradients(lab[:, :1])
    return float((across.square() + down.square()).sqrt()[band].double().mean())


def seam_ratio(gradient: float, reference: float) -> float:
    """The gradient at the mask's edge as a multiple of the painting's own there.

    1: no more of an edge than the painting has at that place; lower is better down to 1. An outline that is the
    object's own counts as well, so read it beside the composite's.
    """
    return max(gradient, _GRADIENT_FLOOR) / max(reference, _GRADIENT_FLOOR)


def structure_kept(lab: Tensor, composite: Tensor, mask: Tensor) -> float:
    """Correlation of the gradients of the smoothed (sigma 2) luma with the composite's inside the mask, -1 to 1.

    1: all shapes and shadings are where they were; 0: nothing is left of them; higher is better. Where the composite
    has no structure there is none to lose: 1.
    """
    first, second = (_smooth_gradients(picture, mask) for picture in (lab, composite))
    first, second = first - first.mean(), second - second.mean()
    spreads = first.norm(), second.norm()
    smallest = 1e-3 * first.numel() ** 0.5
    if spreads[1] < smallest:
        return 1.0
    if spreads[0] < smallest:
        return 0.0
    return float(((first @ second) / (spreads[0] * spreads[1])).clamp(-1, 1))


def _smooth_gradients(lab: Tensor, mask: Tensor) -> Tensor:
    pairs = gradients(local_mean(lab[:, :1], mask))
    return torch.cat([each[mask] for each in pairs]).double()
