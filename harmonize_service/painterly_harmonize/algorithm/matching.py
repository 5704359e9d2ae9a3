"""Nearest-neighbor fields between features, their spatial consistency, and the style positions they select.

Positions are flat indices ``y · w + x``, int64. Ties go to the lowest index.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional

_EPSILON = 1e-9
_UNIT_EPSILON = 1e-8
# Small enough for a CPU's caches, large enough to keep a GPU busy.
_CHUNK_ELEMENTS = {"cpu": 2**20, "cuda": 2**26}


def default_chunk_elements(device: torch.device) -> int:
    """How many pairs a device compares at a time, where memory is no matter."""
    return _CHUNK_ELEMENTS[device.type]


class Measure(Enum):
    """How two 3×3 patches of features are compared.

    COSINE: cosine of whole patches, cells outside counting as zero. JOINT_COSINE: cosine over the cells that lie
    inside for both patches. UNIT_SUM: sum of the cells' own cosines, where a patch that leaves its picture on a side
    is allowed only for patches that leave theirs on that side. Sources: sections 2.1 and 3.1.
    """

    COSINE = "cosine"
    JOINT_COSINE = "joint cosine"
    UNIT_SUM = "unit sum"


def nearest_neighbor_field(
    source: Tensor,
    style: Tensor,
    positions: Tensor,
    measure: Measure,
    *,
    colors: tuple[Tensor, Tensor] | None = None,
    allowed: Tensor | None = None,
    chunk_elements: int | None = None,
    check: Callable[[], None] = lambda: None,
) -> tuple[Tensor, Tensor]:
    """For each of the n ``positions`` in ``source`` the most similar position in ``style``, and the similarity.

    ``source`` is C×h×w and ``style`` C×H×W; where ``allowed`` (bool H×W, somewhere true) is given, only those of its
    positions are searched, and a position for which the measure admits none of them gets the first. Never holds more
    than about ``chunk_elements`` pairs at a time (by default what suits the device); ``check`` is called between chunks
    and may raise. Source: sections 2.1 and 3.1, section 7 shortcuts 1 to 3.

    For UNIT_SUM with ``colors`` (any number of planes over each picture) the squared difference of two cells' colors is
    taken off their cosine. Source: section 10.
    """
    chunk_elements = default_chunk_elements(source.device) if chunk_elements is None else chunk_elements
    if measure is Measure.UNIT_SUM:
        source, style = (features / (_norm(features) + _UNIT_EPSILON) for features in (source, style))
    if colors is not None:
        source, style = _with_colors(source, style, *colors)
    best = torch.full((positions.numel(),), -torch.inf, device=source.device, dtype=source.dtype)
    excluded = None if allowed is None else ~allowed.flatten()
    match = (
        torch.zeros_like(positions) if excluded is None else torch.full_like(positions, int(excluded.int().argmin()))
    )
    compare = _Comparison(source, style, measure)
    for rows, block in _position_blocks(positions, source.shape[-2:], style.shape[-1], chunk_elements):
        pairs_per_style_row = block.cells * style.shape[-1]
        style_rows = max(1, chunk_elements // pairs_per_style_row)
        for style_top in range(0, style.shape[-2], style_rows):
            check()
            style_bottom = min(style_top + style_rows, style.shape[-2])
            similarity = compare(block, style_top, style_bottom)
            if excluded is not None:
                columns = excluded[style_top * style.shape[-1] : style_bottom * style.shape[-1]]
                similarity.masked_fill_(columns, -torch.inf)
            value, index = similarity[block.local(positions[rows])].max(dim=1)
            # Blocks come in ascending order and only a strictly better one replaces: ties keep the lowest index.
            better = value > best[rows]
            best[rows] = torch.where(better, value, best[rows])
            match[rows] = torch.where(better, index + style_top * style.shape[-1], match[rows])
    return match, best


def _with_colors(source: Tensor, style: Tensor, source_colors: Tensor, style_colors: Tensor) -> tuple[Tensor, Tensor]:
    """Features whose dot products are less by ``‖a - b‖²``, but for ``‖a‖²``, which is the same for all matches."""
    ones = torch.ones_like(source[:1])
    lengths = style_colors.square().sum(0, keepdim=True)
    return torch.cat((source, 2 * source_colors, ones)), torch.cat((style, style_colors, -lengths))


class _Block:
    """A band of source rows and columns that are compared at once."""

    def __init__(self, top: int, bottom: int, left: int, right: int, source_width: int) -> None:
        self.top, self.bottom, self.left, self.right = top, bottom, left, right
        self.cells = (bottom - top) * (right - left)
        self._source_width = source_width

    def local(self, positions: Tensor) -> Tensor:
        y, x = positions // self._source_width, positions % self._source_width
        return (y - self.top) * (self.right - self.left) + (x - self.left)

    def of(self, plane: Tensor) -> Tensor:
        """The block's values of ...×h×w, flattened."""
        return plane[..., self.top : self.bottom, self.left : self.right].flatten(-2)


def _position_blocks(
    positions: Tensor, source_size: tuple[int, int] | torch.Size, style_width: int, chunk_elements: int
) -> list[tuple[Tensor, _Block]]:
    """Group positions by bands of rows, each with its own column range; a band of one row may still be split."""
    if positions.numel() == 0:
        return []
    width = source_size[1]
    y, x = positions // width, positions % width
    span = int(x.max() - x.min()) + 1
    # Leave room for at least 8 style rows per chunk where that is possible.
    budget = max(1, chunk_elements // (8 * style_width))
    rows_per_band = max(1, budget // span)
    columns_per_block = span if rows_per_band > 1 else max(1, min(span, budget))
    blocks = []
    for top in range(int(y.min()), int(y.max()) + 1, rows_per_band):
        in_band = torch.nonzero((y >= top) & (y < top + rows_per_band)).flatten()
        for left in range(int(x.min()), int(x.max()) + 1, columns_per_block):
            rows = in_band[(x[in_band] >= left) & (x[in_band] < left + columns_per_block)]
            if rows.numel():
                ys, xs = y[rows], x[rows]
                bounds = (int(ys.min()), int(ys.max()) + 1, int(xs.min()), int(xs.max()) + 1)
                blocks.append((rows, _Block(*bounds, source_width=width)))
    return blocks


class _Comparison:
    """Similarities of a block of source cells with a range of style rows, for one measure."""

    def __init__(self, source: Tensor, style: Tensor, measure: Measure) -> None:
        self._measure = measure
        self._source = functional.pad(source, (1, 1, 1, 1))
        self._style = functional.pad(style, (1, 1, 1, 1))
        self._source_leaves = _leaves(source)
        self._style_leaves = _leaves(style)
        self._source_norms = _patch_norms(source)
        self._style_norms = _patch_norms(style)

    def __call__(self, block: _Block, style_top: int, style_bottom: int) -> Tensor:
        """Similarity of every cell of the block with every cell of style rows top to bottom, cells×positions."""
        source = self._source[:, block.top : block.bottom + 2, block.left : block.right + 2]
        products = shift_sum(source, self._style[:, style_top : style_bottom + 2])
        p_leaves = block.of(self._source_leaves)
        q_leaves = self._style_leaves[..., style_top:style_bottom, :].flatten(-2)
        if self._measure is Measure.UNIT_SUM:
            forbidden = (q_leaves[None, :] & ~p_leaves[:, None]) != 0
            return products.masked_fill_(forbidden, -torch.inf)
        style_norms = self._style_norms[..., style_top:style_bottom, :].flatten(-2)
        source_norms = block.of(self._source_norms)
        if self._measure is Measure.COSINE:
            return products.div_(source_norms[0, :, None] * style_norms[0, None, :] + _EPSILON)
        return products.div_(source_norms[q_leaves].T * style_norms[p_leaves] + _EPSILON)


def shift_sum(source: Tensor, style: Tensor) -> Tensor:
    """Dot products of all 3×3 patches from one pointwise product, nine shifts added. Source: section 7, shortcut 2.

    ``source`` is C×(h+2)×(w+2) and ``style`` C×(H+2)×(W+2), each with its border cells; the result is (h·w)×(H·W).
    """
    (rows, columns), (style_rows, style_columns) = source.shape[1:], style.shape[1:]
    pointwise = (source.flatten(1).T @ style.flatten(1)).view(rows, columns, style_rows, style_columns)
    height, width, style_height, style_width = rows - 2, columns - 2, style_rows - 2, style_columns - 2
    total = pointwise[:height, :width, :style_height, :style_width].clone()
    for dy, dx in [(dy, dx) for dy in range(3) for dx in range(3)][1:]:
        total += pointwise[dy : dy + height, dx : dx + width, dy : dy + style_height, dx : dx + style_width]
    return total.view(height * width, style_height * style_width)


def _norm(features: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(features, dim=0, keepdim=True)
    return norm


def _leaves(features: Tensor) -> Tensor:
    """On which sides a 3×3 patch leaves its picture, as bits (1 up, 2 down, 4 left, 8 right), h×w int64."""
    height, width = features.shape[-2:]
    y = torch.arange(height, device=features.device)[:, None]
    x = torch.arange(width, device=features.device)[None, :]
    return 1 * (y == 0) + 2 * (y == height - 1) + 4 * (x == 0) + 8 * (x == width - 1)


def _patch_norms(features: Tensor) -> Tensor:
    """Norms of 3×3 patches when cells on certain sides are left out, 16×h×w, by the bits of :func:`_leaves`.

    Index 0 is the whole zero-padded patch.
    """
    energy = functional.pad(features.square().sum(0), (1, 1, 1, 1))
    height, width = features.shape[-2:]
    norms = []
    for bits in range(16):
        offsets = [
            (dy, dx)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if not ((dy < 0 and bits & 1) or (dy > 0 and bits & 2) or (dx < 0 and bits & 4) or (dx > 0 and bits & 8))
        ]
        total = sum(energy[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in offsets)
        assert isinstance(total, Tensor)
        norms.append(total.clamp(min=0).sqrt())
    return torch.stack(norms)


_REFINEMENT_RADIUS = 2


def refine_nnf(
    nnf: Tensor,
    positions: Tensor,
    guide: Tensor,
    *,
    allowed: Tensor | None = None,
    asymmetric_bounds: bool = False,
) -> Tensor:
    """Make neighbors' correspondences agree: one Jacobi sweep over ``positions``; the rest of the field is kept.

    ``nnf`` is a whole field (h·w, square grids of one size: source and painting at the reference tap) and must be
    valid within 2 cells of ``positions``; ``guide`` is K×h×w, the painting's colors or features. A position takes the
    medoid, by guide, of what its 5×5 neighbors suggest for it, among the ``allowed`` positions of the painting (bool
    h×w) where these are given. Source: section 3.2.
    """
    height, width = guide.shape[-2:]
    refined = nnf.clone()
    radius = _REFINEMENT_RADIUS
    # Scan order of the tie rule: x offset outer, y inner.
    offsets = [(dy, dx) for dx in range(-radius, radius + 1) for dy in range(-radius, radius + 1)]
    dy = torch.tensor([o[0] for o in offsets], device=nnf.device)
    dx = torch.tensor([o[1] for o in offsets], device=nnf.device)
    far = radius + (1 if asymmetric_bounds else 0)
    colors = guide.flatten(1).T
    for chunk in torch.split(positions, max(1, 2**22 // (len(offsets) ** 2 * guide.shape[0]))):
        y, x = (chunk // width)[:, None] + dy, (chunk % width)[:, None] + dx
        present = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        neighbor = nnf[(y.clamp(0, height - 1) * width + x.clamp(0, width - 1))]
        cy, cx = neighbor // width - dy, neighbor % width - dx
        voter = present & (cy >= 0) & (cy < height) & (cx >= 0) & (cx < width)
        candidate = voter & (cy >= radius) & (cy <= height - far - 1) & (cx >= radius) & (cx <= width - far - 1)
        suggestion = torch.where(voter, cy * width + cx, 0)
        values = colors[suggestion]
        if allowed is not None:
            candidate &= allowed.flatten()[suggestion]
        # Squared differences summed directly: expanding the square would round away exact ties.
        distance = (values[:, :, None, :] - values[:, None, :, :]).square().sum(-1).sqrt()
        cost = (distance * voter[:, None, :]).sum(-1) / voter.sum(-1, keepdim=True).clamp(min=1)
        cost = cost.masked_fill(~candidate, torch.inf)
        choice = cost.argmin(dim=1, keepdim=True)
        chosen = suggestion.gather(1, choice).squeeze(1)
        refined[chunk] = torch.where(candidate.any(1), chosen, nnf[chunk])
    return refined


def style_position_counts(matches: Tensor, size: tuple[int, int], ring: int) -> Tensor:
    """How often each painting position counts as style, int64 h×w: 0 where no match is within ``ring`` cells.

    A position that all matches of one coherent neighborhood reach, (2·ring + 1)² of them, counts once, and so does
    one that fewer reach. Source: section 3.3.
    """
    chosen = torch.bincount(matches, minlength=size[0] * size[1]).double().view(1, 1, *size)
    reached = functional.avg_pool2d(chosen, 2 * ring + 1, stride=1, padding=ring, divisor_override=1)[0, 0]
    reached = reached.round()
    return torch.where(reached > 0, (reached / (2 * ring + 1) ** 2).round().clamp(min=1), 0).long()


def upsample_positions(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Carry an h×w selection, or counts, to another tap by nearest upsampling (``floor(dst · scale)``).

    Source: section 3.3.
    """
    rows = torch.arange(size[0], device=cells.device) * cells.shape[0] // size[0]
    columns = torch.arange(size[1], device=cells.device) * cells.shape[1] // size[1]
    return cells[rows[:, None], columns[None, :]]


def upsample_nnf(nnf: Tensor, size: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Carry a field from a grid of ``size`` to one of ``target``, for looking at correspondences in full detail.

    Source: section 3.3, coordinate form.
    """
    (height, width), (rows, columns) = size, target
    cells_y = _scaled_cells(rows, height).to(nnf.device)
    cells_x = _scaled_cells(columns, width).to(nnf.device)
    match = nnf.view(height, width)[cells_y[:, None], cells_x[None, :]]
    y = _transported(torch.arange(rows, device=nnf.device)[:, None], match // width, cells_y[:, None], rows, height)
    x = _transported(torch.arange(columns, device=nnf.device)[None, :], match % width, cells_x[None, :], columns, width)
    return (y * columns + x).flatten()


def _scaled_cells(target: int, size: int) -> Tensor:
    """``min(floor((p + ½) · size / target), size − 1)`` for every target position p, in exact integers."""
    return ((2 * torch.arange(target) + 1) * size // (2 * target)).clamp(max=size - 1)


def _transported(position: Tensor, match: Tensor, cell: Tensor, target: int, size: int) -> Tensor:
    """``clamp(trunc(p + (P'(c) − c) · ρ + ½), 0, target − 1)`` with ρ = target / size, in exact integers."""
    doubled = 2 * (position * size + (match - cell) * target) + size
    return torch.div(doubled, 2 * size, rounding_mode="trunc").clamp(0, target - 1)
