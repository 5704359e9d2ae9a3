"""Post-processing: chrominance denoising, patch synthesis, blend. Source: section 4."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm.color import lab_to_rgb, rgb_to_lab
from painterly_harmonize.algorithm.masks import gaussian_blur
from painterly_harmonize.algorithm.parallel import Workers
from painterly_harmonize.algorithm.patch_index import PATCH_PX
from painterly_harmonize.algorithm.patch_search import PatchProgress, nearest_patches
from painterly_harmonize.algorithm.region import Band, bands
from painterly_harmonize.algorithm.structure import BRUSHWORK_WEIGHT, local_mean

GUIDED_RADIUS_PX, GUIDED_EPSILON = 2, 0.01
DETAIL_KERNEL_PX, DETAIL_SIGMA_PX = 7, 1.0
# About the scale of a patch.
_MISFIT_SIGMA_PX, _MISFIT_REACH_PX = 2.0, 6
# However smooth the painting is, so much of the object's detail stays.
_LEAST_DETAIL_GAIN = 0.4
# Pairs of patches to decide about at most: half a minute on two CPU cores; a third of a picture of 700 px stays below.
_PAIR_BUDGET = 50_000_000_000
# Candidate patches to hold at most: 64 to 588 bytes each.
_CANDIDATE_BUDGET = 1_000_000
_MAX_ANCHOR_STRIDE = 3


def guided_fit(values: Tensor, guide: Tensor, radius: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """The slopes 1×G×C×H×W and intercepts 1×C×H×W by which ``values`` follow a 1×G×H×W ``guide`` around each pixel.

    Windows are cut off at the border and divided by their true count. Source: section 4, step 1.
    """

    def mean(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)

    guides, channels = guide.shape[1], values.shape[1]

    def mean_products(a: Tensor, b: Tensor) -> Tensor:
        products = torch.einsum("bihw,bjhw->bijhw", a, b)
        return mean(products.flatten(1, 2)).view_as(products)

    mean_guide, mean_values = mean(guide), mean(values)
    covariance = mean_products(guide, guide) - torch.einsum("bihw,bjhw->bijhw", mean_guide, mean_guide)
    cross = mean_products(guide, values) - torch.einsum("bihw,bchw->bichw", mean_guide, mean_values)
    ridge = epsilon * torch.eye(guides, device=guide.device, dtype=guide.dtype)
    slope = torch.linalg.solve(covariance.permute(0, 3, 4, 1, 2) + ridge, cross.permute(0, 3, 4, 1, 2))
    slope = slope.permute(0, 3, 4, 1, 2)
    intercept = mean_values - torch.einsum("bichw,bihw->bchw", slope, mean_guide)
    return mean(slope.flatten(1, 2)).view(1, guides, channels, *guide.shape[-2:]), mean(intercept)


def guided_filter(values: Tensor, guide: Tensor, radius: int, epsilon: float) -> Tensor:
    """Smooth 1×C×H×W ``values`` along the edges of a 1×3×H×W (or 1×1×H×W) ``guide``. Source: section 4, step 1."""
    slope, intercept = guided_fit(values, guide, radius, epsilon)
    return torch.einsum("bichw,bihw->bchw", slope, guide) + intercept


def denoise_chrominance(image: Tensor, guide: Tensor) -> Tensor:
    """Filter a* and b* of an image along the edges of the composite; the lightness is kept. RGB 1×3×H×W in [0, 1]."""
    # In bands, beside each other: the filter holds some thirty numbers for each pixel. Two windows reach two radii.

    def denoise_band(band: Band) -> Tensor:
        lab = rgb_to_lab(band.around(image).clamp(0, 1))
        filtered = guided_filter(lab[:, 1:], band.around(guide), GUIDED_RADIUS_PX, GUIDED_EPSILON)
        return band.kept(lab_to_rgb(torch.cat((lab[:, :1], filtered), dim=1)).clamp(0, 1))

    with Workers(image.device, lambda: None) as workers:
        return torch.cat([*workers.map(denoise_band, bands(image.shape[-2], 2 * GUIDED_RADIUS_PX))], dim=-2)


def search_strides(anchor_count: int, candidate_count: int, budget: int = _PAIR_BUDGET) -> tuple[int, int]:
    """How sparsely to place anchors and candidates so that the exact search stays within its budgets.

    (1, 1) unless object or painting is large. For the budget of pairs anchors are thinned first, to every third row
    and column at most: each pixel is then still covered by four patches or more.
    """
    anchor_stride = 1
    while anchor_stride < _MAX_ANCHOR_STRIDE and anchor_count * candidate_count > budget * anchor_stride**2:
        anchor_stride += 1
    pairs = anchor_count * candidate_count / anchor_stride**2
    excess = max(pairs / budget, candidate_count / _CANDIDATE_BUDGET)
    return anchor_stride, max(1, math.ceil(math.sqrt(excess)))


def vote(corners: Tensor, anchors: Tensor, size: tuple[int, int], painting: Tensor) -> tuple[Tensor, Tensor]:
    """Each pixel the plain mean of the painting's pixels proposed by all patches over it.

    ``anchors`` are flat top-left corners in a picture of ``size`` and ``corners`` the flat top-left corners of their
    matches in the painting. Returns the picture, 1×3×H×W, and where there was any patch, bool 1×1×H×W.
    """
    height, width = size
    style_width = painting.shape[-1]
    colors = painting[0].flatten(1)
    total = torch.zeros(3, height * width, device=painting.device, dtype=painting.dtype)
    count = torch.zeros(height * width, device=painting.device, dtype=painting.dtype)
    for dy in range(PATCH_PX):
        for dx in range(PATCH_PX):
            # Anchors are distinct, so within one offset no pixel is written twice.
            target = anchors + dy * width + dx
            total[:, target] += colors[:, corners + dy * style_width + dx]
            count[target] += 1
    picture = (total / count.clamp(min=1)).view(1, 3, height, width)
    return picture, (count > 0).view(1, 1, height, width)


def patch_anchors(support: Tensor) -> Tensor:
    """Flat top-left corners of all patches inside the picture that touch the 1×1×H×W ``support``."""
    height, width = support.shape[-2:]
    reach = functional.max_pool2d(support, PATCH_PX, stride=1)
    y, x = torch.nonzero(reach[0, 0], as_tuple=True)
    assert reach.shape[-2:] == (height - PATCH_PX + 1, width - PATCH_PX + 1)
    return y * width + x


def patches_inside(style_mask: Tensor) -> Tensor:
    """Which 7×7 patches lie inside a 1×1×H×W mask, bool (H - 6)×(W - 6); those that overlap it most where none does."""
    share = functional.avg_pool2d(style_mask.double(), PATCH_PX, stride=1)[0, 0]
    return share >= share.max() - 1e-9


def finest_detail(image: Tensor) -> Tensor:
    """What a Gaussian of sigma 1 px takes from a picture, 1×3×H×W. Source: section 4, step 3."""
    # Departure from there: normalized at the frame, where zero padding would draw a bright line.
    return image - gaussian_blur(image, DETAIL_KERNEL_PX, DETAIL_SIGMA_PX, normalized=True)


def detail_strength(picture: Tensor, where: Tensor) -> float:
    """Root mean square of a picture's finest detail, 1×3×H×W, where a 1×1×H×W mask is 1; 0 where there is nothing."""
    # In bands of rows: a whole painting's detail takes several times its memory.
    total = 0.0
    for band in bands(picture.shape[-2], DETAIL_KERNEL_PX // 2):
        squares = band.kept(finest_detail(band.around(picture))).square().mean(1)
        total += float((squares * band.rows(where)[:, 0]).sum(dtype=torch.float64))
    return math.sqrt(total / max(float(where.sum(dtype=torch.float64)), 1.0))


def detail_gain(base: Tensor, detail: Tensor, support: Tensor, strength: float) -> float:
    """The gain g, 0.4 to 1, at which ``base + g · detail`` has finest detail of at most the given strength.

    Pictures are 1×3×H×W, measured under ``support`` (1×1×H×W). Departure from section 4, step 3, where g is 1.
    """
    own, added = finest_detail(base), finest_detail(detail)

    def mean(product: Tensor) -> float:
        return float((product.mean(1, keepdim=True) * support).sum(dtype=torch.float64) / support.sum())

    # The mean square of own + g · added is a parabola in g; what is beyond its larger root is too strong.
    a, b, c = mean(added.square()), mean(own * added), mean(own.square()) - strength**2
    if a == 0:
        return 1.0
    root = (math.sqrt(max(b * b - a * c, 0.0)) - b) / a
    return min(max(root, _LEAST_DETAIL_GAIN), 1.0)


def lightness_energy(picture: Tensor, where: Tensor) -> float:
    """How much the lightness of an RGB picture varies at the scale of a patch, where a 1×1×H×W mask is 1.

    The mean squared difference of L* to its Gaussian mean of sigma 2 px; 0 where there is nothing.
    """
    total = 0.0
    for band in bands(picture.shape[-2], _MISFIT_REACH_PX):
        lightness = rgb_to_lab(band.around(picture).clamp(0, 1))[:, :1]
        mean = local_mean(lightness, torch.ones_like(lightness), _MISFIT_SIGMA_PX)
        total += float((band.kept((lightness - mean).square()) * band.rows(where)).sum(dtype=torch.float64))
    return total / max(float(where.sum(dtype=torch.float64)), 1.0)


def keep_misfits(rebuilt: Tensor, image: Tensor, support: Tensor, energy: float) -> tuple[Tensor, Tensor]:
    """What was rebuilt from patches, with the image's lightness where the painting has no patch like it; and its share.

    RGB 1×3×H×W in [0, 1] and 1×1×H×W; ``energy`` is the painting's (:func:`lightness_energy`). The image's share is
    ``d / (d + energy/10)`` under ``support``, d being the mean squared difference of the lightnesses around a pixel.
    Source: section 10.
    """

    def mix_band(band: Band) -> Tensor:
        lab, own = (rgb_to_lab(band.around(picture).clamp(0, 1)) for picture in (rebuilt, image))
        inside = band.around(support)
        difference = own[:, :1] - lab[:, :1]
        misfit = local_mean(difference.square(), inside, _MISFIT_SIGMA_PX)
        share = inside * misfit / (misfit + BRUSHWORK_WEIGHT * energy).clamp(min=1e-6)
        mixed = lab_to_rgb(torch.cat((lab[:, :1] + share * difference, lab[:, 1:]), dim=1)).clamp(0, 1)
        return band.kept(torch.cat((torch.where(inside > 0, mixed, band.around(rebuilt)), share), dim=1))

    with Workers(image.device, lambda: None) as workers:
        mixed = torch.cat([*workers.map(mix_band, bands(image.shape[-2], _MISFIT_REACH_PX))], dim=-2)
    return mixed[:, :3], mixed[:, 3:]


def synthesize_patches(
    image: Tensor,
    painting: Tensor,
    support: Tensor,
    check: Callable[[], None] = lambda: None,
    style_mask: Tensor | None = None,
    strength: float | None = None,
    energy: float | None = None,
) -> Iterator[PatchProgress | Tensor]:
    """Rebuild an image under ``support`` from the painting's patches and put its finest detail back.

    With ``style_mask`` (1×1×H×W) from patches inside it; with ``strength`` so much of the detail that it is no stronger
    (:func:`detail_gain`); with ``energy`` what the painting has nothing like keeps its lightness
    (:func:`keep_misfits`), and its detail comes first. Yields progress and last the picture, RGB 1×3×H×W.
    Source: section 4, steps 2 and 3.
    """
    height, width = image.shape[-2:]
    style_height, style_width = painting.shape[-2:]
    anchors = patch_anchors(support)
    candidate_count = (style_height - PATCH_PX + 1) * (style_width - PATCH_PX + 1)
    anchor_stride, stride = search_strides(len(anchors), candidate_count)
    anchors = anchors[(anchors // width % anchor_stride == 0) & (anchors % width % anchor_stride == 0)]
    allowed = None if style_mask is None else patches_inside(style_mask)
    corners = yield from nearest_patches(image, anchors, painting, stride, check, allowed)
    with Workers(image.device, check) as workers:
        voted, covered = workers.run(partial(vote, corners, anchors, (height, width), painting))
    rebuilt = (support > 0) & covered
    base = torch.where(rebuilt, voted, image)
    with Workers(image.device, check) as workers:
        detail = workers.run(partial(finest_detail, image))
    if energy is not None:
        base, share = keep_misfits(base, image - detail, support, energy)
        base, detail = base + share * detail, (1 - share) * detail

    def assemble() -> Tensor:
        gain = 1.0 if strength is None else detail_gain(base, detail * rebuilt, support, strength)
        return torch.where(rebuilt, base + gain * detail, image)

    with Workers(image.device, check) as workers:
        picture = workers.run(assemble)
    yield picture
