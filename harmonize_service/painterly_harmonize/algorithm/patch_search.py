"""For each 7×7 patch of a picture the nearest patch of the painting, exactly. Source: section 4, step 2.

A branch of the painting's tree is left out where its box is farther away than the best patch so far, a patch where its
signature is; the few that remain are compared in full. So the result is that of comparing all pairs, and only the time
depends on how the pictures look.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from painterly_harmonize.algorithm.parallel import Workers
from painterly_harmonize.algorithm.patch_index import CHUNK, POINT_LENGTH, PatchIndex, build_index, patches_at

# Anchors are searched in parts of this size, at least and at most.
_PART_SIZES = (1024, 8192)


@dataclass(frozen=True, kw_only=True)
class PatchProgress:
    """How many of the patches are matched."""

    finished: int
    total: int


def nearest_patches(
    image: Tensor,
    anchors: Tensor,
    painting: Tensor,
    stride: int = 1,
    check: Callable[[], None] = lambda: None,
    allowed: Tensor | None = None,
) -> Generator[PatchProgress, None, Tensor]:
    """For the patches of 1×3×H×W ``image`` at ``anchors`` the painting's nearest in L2.

    ``anchors`` are flat top-left corners, y·W + x, int64, at least one. Candidates are the patches whose corners are
    multiples of ``stride``, and ``allowed`` (bool (H - 6)×(W - 6)) where that is given. Returns their flat top-left
    corners in the painting, of equally near ones the lowest. ``check`` is called often and may raise.
    """
    total = len(anchors)
    yield PatchProgress(finished=0, total=total)
    with Workers(image.device, check) as workers:
        index = build_index(image, anchors, painting, stride, allowed, workers)
        # Anchors with similar patches are searched together: they leave out the same branches.
        leaves = torch.cat([*workers.map(partial(index.leaf_of, image), torch.split(anchors, CHUNK))])
        parts = torch.split(workers.run(partial(leaves.argsort, stable=True)), part_size(total, workers.count))
        match, finished = torch.zeros_like(anchors), 0

        def search(part: Tensor) -> Tensor:
            return _Search(index, image, anchors[part], leaves[part], workers.raise_if_stopped).run()

        for part, found in zip(parts, workers.map(search, parts), strict=True):
            match[part] = found
            finished += len(part)
            yield PatchProgress(finished=finished, total=total)
    return match


def part_size(anchor_count: int, worker_count: int = 2) -> int:
    """How many anchors are searched together."""
    smallest, largest = _PART_SIZES
    return min(max(anchor_count // (2 * worker_count), smallest), largest)


class _Search:
    """One search: anchors, the leaves in which their patches would be, and their best matches so far."""

    def __init__(
        self, index: PatchIndex, image: Tensor, anchors: Tensor, leaves: Tensor, check: Callable[[], None]
    ) -> None:
        self._index, self._image, self._anchors, self._leaves, self._check = index, image, anchors, leaves, check
        self._queries = index.basis.signatures(image, anchors)
        self._halves = self._queries.square().sum(1) / 2
        self._points = self._queries[:, :POINT_LENGTH].contiguous()
        # What rounding may add to a bound: as a share of the squares that a product stands for, and on a distance.
        self._share = 16 * torch.finfo(image.dtype).eps
        self._slack = 2 * self._share * (2 * torch.maximum(index.halves.max(), self._halves)).sqrt()
        self._distance = torch.full_like(self._halves, torch.inf)
        self._reach = self._distance
        self._match = torch.zeros_like(anchors)

    def run(self) -> Tensor:
        """The corner of each anchor's match."""
        self._compare(list(self._own_leaves()))
        pairs: list[tuple[Tensor, Tensor]] = []
        for leaf, rows in self._visits():
            pairs.extend(self._rivals(leaf, rows))
            if sum(len(found) for found, _ in pairs) > CHUNK:
                self._compare(pairs)
                pairs = []
        self._compare(pairs)
        return self._match

    def _own_leaves(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every anchor's row with the corner of the patch in its own leaf that has the nearest signature."""
        leaves, order = self._leaves.sort(stable=True)
        counts = torch.bincount(leaves).tolist()
        for leaf, rows in enumerate(torch.split(order, counts)):
            self._check()
            if len(rows):
                yield rows, self._index.corners[leaf, self._scores(leaf, rows).argmax(1)]

    def _visits(self) -> Iterator[tuple[int, Tensor]]:
        """Leaves in order, each with the rows of the anchors for which it may have a nearer patch."""
        everyone = torch.arange(len(self._anchors), device=self._anchors.device)
        branches = [(0, 0, everyone)]
        while branches:
            self._check()
            level, node, rows = branches.pop()
            near = self._box_distances(level, node, rows) <= self._reach.index_select(0, rows)
            rows = rows.index_select(0, near.nonzero()[:, 0])
            if len(rows) == 0:
                continue
            if level == self._index.tree.depth:
                yield node, rows
            else:
                branches += [(level + 1, 2 * node + 1, rows), (level + 1, 2 * node, rows)]

    def _box_distances(self, level: int, node: int, rows: Tensor) -> Tensor:
        low, high = self._index.tree.boxes[level]
        points = self._points.index_select(0, rows)
        gaps = torch.maximum(low[node] - points, points - high[node]).clamp_(min=0)
        return gaps.square_().sum(1)

    def _scores(self, leaf: int, rows: Tensor) -> Tensor:
        """⟨a, b⟩ - ½‖b‖² of signatures, rows×size: the larger, the nearer."""
        queries = self._queries.index_select(0, rows)
        return torch.addmm(self._index.halves[leaf], queries, self._index.signatures[leaf].T, beta=-1)

    def _rivals(self, leaf: int, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Anchors' rows and the corners of those of the leaf's patches whose signatures are near enough."""
        halves = self._halves.index_select(0, rows)
        rounding = self._share * (halves + self._index.halves[leaf].max())
        least = halves - self._reach.index_select(0, rows) / 2 - rounding
        scores = self._scores(leaf, rows)
        # The maximum alone is much cheaper than all positions: look for these only in the rows that have any.
        some = (scores.amax(1) >= least).nonzero()[:, 0]
        row, patch = (scores[some] >= least[some, None]).nonzero(as_tuple=True)
        if len(row):
            yield rows[some[row]], self._index.corners[leaf, patch]

    def _compare(self, pairs: list[tuple[Tensor, Tensor]]) -> None:
        """Compare pairs of an anchor's row and a corner in full and keep the nearest, of equal ones the lowest."""
        if not pairs:
            return
        all_rows, all_corners = (torch.cat(side) for side in zip(*pairs, strict=True))
        for rows, corners in zip(torch.split(all_rows, CHUNK), torch.split(all_corners, CHUNK), strict=True):
            self._check()
            ours, theirs = patches_at(self._image, self._anchors[rows]), patches_at(self._index.painting, corners)
            distance = (ours - theirs).square().sum(1)
            nearest = self._distance.scatter_reduce(0, rows, distance, "amin")
            match = self._match.masked_fill(nearest < self._distance, torch.iinfo(torch.int64).max)
            winner = distance == nearest[rows]
            self._match = match.scatter_reduce(0, rows[winner], corners[winner], "amin")
            self._distance = nearest
        self._reach = (self._distance.sqrt() + self._slack).square()
