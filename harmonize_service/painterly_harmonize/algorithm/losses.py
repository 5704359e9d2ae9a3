"""The loss terms and their gradients with respect to features or pixels, as closed forms.

Gradients are written out rather than left to autograd because the second pass normalizes each of them where it
arises (section 3.6). Features are C×N matrices (positions flattened), soft masks are vectors of N values.
"""

from __future__ import annotations

import torch
from torch import Tensor

HISTOGRAM_BINS = 256


def gram_matrix(features: Tensor, area: Tensor | float) -> Tensor:
    """Channel products over area: ``F Fᵀ / (C · area)``, C×C, of C×N features. Source: section 2.2."""
    return features @ features.T / (features.shape[0] * area)


def style_loss(gram: Tensor, target: Tensor) -> Tensor:
    """``‖G − G*‖² / C²``, a scalar. Source: section 2.2."""
    return (gram - target).square().sum() / gram.shape[0] ** 2


def style_gradient(masked: Tensor, mask: Tensor, area: Tensor | float, gram: Tensor, target: Tensor) -> Tensor:
    """Gradient of :func:`style_loss` by the unmasked features: ``m ⊙ 4/(C³A) (G − G*) (m ⊙ F)``, C×N.

    ``masked`` is m ⊙ F. Source: section 2.2.
    """
    channels = masked.shape[0]
    # Gram matrices are symmetric; features whose channels come last keep them there.
    return (masked.T @ (gram - target)).T * (mask * (4 / (channels**3 * area)))


def content_loss(features: Tensor, target: Tensor, mask: Tensor, position_count: int) -> Tensor:
    """``Σ_p m(p) ‖F_p − F*_p‖² / (C N)``, a scalar; N is the whole layer's size. Source: section 2.2."""
    return (mask * (features - target).square()).sum() / (features.shape[0] * position_count)


def content_gradient(features: Tensor, target: Tensor, mask: Tensor, position_count: int) -> Tensor:
    """Gradient of :func:`content_loss` by the features, C×N."""
    return mask * (features - target) * (2 / (features.shape[0] * position_count))


def quantile_table(style_values: Tensor, count: int, counts: Tensor | None = None) -> Tensor:
    """The value that each rank takes, C×count: interpolated quantiles of the C×n style values. Source: section 3.5.

    With ``counts`` (n whole numbers of at least 1) each value stands there so many times.
    """
    if counts is None:
        counts = torch.ones_like(style_values[0], dtype=torch.int64)
    available = int(counts.sum())
    ranks = torch.arange(count, device=style_values.device, dtype=torch.float64)
    position = ((ranks + 0.5) * (available / max(count, 1)) - 0.5).clamp(0, available - 1)
    lower = position.floor().long()
    upper = (lower + 1).clamp(max=available - 1)
    fraction = (position - lower).to(style_values.dtype)
    table = style_values.new_empty(style_values.shape[0], count)
    # Channel by channel: sorted all at once they would take several times their memory.
    for values, row in zip(style_values, table, strict=True):
        ordered, order = values.sort()
        ends = counts[order].cumsum(0)
        below, above = (ordered[torch.searchsorted(ends, index, right=True)] for index in (lower, upper))
        row.copy_(below * (1 - fraction) + above * fraction)
    return table


def binned_table(
    style_values: Tensor, count: int, counts: Tensor | None = None, *, bins: int = HISTOGRAM_BINS
) -> Tensor:
    """The value that each rank takes by the authors' histogram rule, C×count. Source: section 3.5, steps 1 to 4.

    ``counts`` as in :func:`quantile_table`.
    """
    if counts is None:
        counts = torch.ones_like(style_values[0], dtype=torch.int64)
    low, high = style_values.amin(1, keepdim=True), style_values.amax(1, keepdim=True)
    width = (high - low) / bins
    # A constant channel has width 0: every value falls into bin 0 and is remapped to `low`.
    safe_width = torch.where(width > 0, width, torch.ones_like(width))
    index = ((style_values - low) / safe_width).floor().clamp(0, bins - 1).long()
    heights = torch.zeros(style_values.shape[0], bins, device=style_values.device, dtype=torch.float64)
    heights.scatter_add_(1, index, counts.double().expand_as(index))
    heights *= count / int(counts.sum())
    ends = heights.cumsum(1)
    starts = ends - heights
    ranks = torch.arange(count, device=style_values.device, dtype=torch.float64).expand(style_values.shape[0], -1)
    open_ends = ends.clone()
    open_ends[:, -1] += 0.5
    bin_of_rank = torch.searchsorted(open_ends, ranks.contiguous(), right=True).clamp(max=bins - 1)
    inside = (ranks - starts.gather(1, bin_of_rank)) / (heights.gather(1, bin_of_rank) + 1e-8)
    return (low + (bin_of_rank + inside.clamp(0, 1)) * width).to(style_values.dtype)


def remap_by_rank(values: Tensor, table: Tensor) -> Tensor:
    """Give each of the C×n values the table's value of its rank within its channel. Source: section 3.5, step 5."""
    # Post-ReLU values have many exact zeros; a stable sort makes their order reproducible.
    order = values.sort(dim=1, stable=True).indices
    return torch.empty_like(values).scatter_(1, order, table)


def histogram_loss(values: Tensor, remapped: Tensor) -> Tensor:
    """``½ ‖F − R‖²``, a scalar; its gradient by F is ``F − R``, R being a constant. Source: section 3.5."""
    return 0.5 * (values - remapped).square().sum()


def total_variation(image: Tensor, *, partial: bool = False) -> Tensor:
    """``½ Σ (dx² + dy²)`` over neighboring pixels of ...×H×W, a scalar. Source: section 3.5.

    With ``partial`` horizontal pairs in the last row and vertical pairs in the last column are left out.
    """
    dx, dy = _differences(image, partial)
    return 0.5 * (dx.square().sum() + dy.square().sum())


def total_variation_gradient(image: Tensor, *, partial: bool = False) -> Tensor:
    """Gradient of :func:`total_variation` by the image."""
    dx, dy = _differences(image, partial)
    rows, columns = dx.shape[-2], dy.shape[-1]
    gradient = torch.zeros_like(image)
    gradient[..., :rows, :-1] += dx
    gradient[..., :rows, 1:] -= dx
    gradient[..., :-1, :columns] += dy
    gradient[..., 1:, :columns] -= dy
    return gradient


def _differences(image: Tensor, partial: bool) -> tuple[Tensor, Tensor]:
    dx = image[..., :, :-1] - image[..., :, 1:]
    dy = image[..., :-1, :] - image[..., 1:, :]
    return (dx[..., :-1, :], dy[..., :, :-1]) if partial else (dx, dy)
