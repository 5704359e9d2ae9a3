"""The painting's 7×7 patches, arranged so that a nearest one is found without looking at them all.

Patches are turned into the basis of the painting's principal components, where their first numbers, the *signature*,
already bound a distance from below. A balanced tree keeps patches with similar signatures together, and knows for each
of its branches the box in which they lie.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm.parallel import Workers

PATCH_PX = 7
# The first numbers of a signature, which place a patch in the tree.
POINT_LENGTH = 8
# Signatures are as short as leaves few enough patches to compare in full, judged by a sample of both pictures.
_SIGNATURE_LENGTHS = (16, 24, 32, 48, 64, 96, 3 * PATCH_PX**2)
_RIVALS, _SAMPLED_QUERIES, _SAMPLED_CANDIDATES = 16, 64, 32768
_LEAF_SIZE = 512
# Patches handled at once: what is held, and how soon a search can be stopped.
CHUNK = 8192
_BAND_ROWS = 64


def patches_at(image: Tensor, corners: Tensor) -> Tensor:
    """The 7×7 patches of 1×3×H×W at flat top-left corners, one per row of 147 values."""
    windows = image[0].unfold(1, PATCH_PX, 1).unfold(2, PATCH_PX, 1).permute(1, 2, 0, 3, 4)
    width = image.shape[-1]
    return windows[corners // width, corners % width].flatten(1)


def _fingerprints(painting: Tensor, rows: range) -> Tensor:
    """A 64-bit number for each patch whose corner lies in ``rows`` and in columns as far apart, rows×columns.

    Identical patches have the same, different ones practically never.
    """
    band = painting[0, :, rows[0] : rows[-1] + PATCH_PX]
    bits = band.contiguous().view(torch.int32 if painting.dtype == torch.float32 else torch.int64)
    generator = torch.Generator().manual_seed(0)
    for axis, count in enumerate((3, PATCH_PX, PATCH_PX)):
        # Sums of the values' bits with random odd weights, modulo 2⁶⁴.
        weights = (torch.randint(2**62, (count,), generator=generator) * 2 + 1).tolist()
        length = bits.shape[axis] - count + 1
        total = bits.narrow(axis, 0, length).long() * weights[0]
        for offset in range(1, count):
            total += bits.narrow(axis, offset, length).long() * weights[offset]
        bits = total ^ (total >> 31)
    return bits[0, :: rows.step, :: rows.step]


def _distinct_corners(painting: Tensor, stride: int, allowed: Tensor | None, workers: Workers) -> Tensor:
    """Flat corners of the painting's patches, ascending; of identical patches only the first.

    A flat ground has many, and nothing but a full comparison would tell them apart. ``allowed`` is bool over the
    corners' rows and columns; where the stride leaves out all of these, all corners count.
    """
    height, width = (size - PATCH_PX + 1 for size in painting.shape[-2:])
    rows = range(0, height, stride)
    bands = [rows[start : start + _BAND_ROWS] for start in range(0, len(rows), _BAND_ROWS)]
    numbers = torch.cat([*workers.map(partial(_fingerprints, painting), bands)])
    places = torch.arange(numbers.numel(), device=numbers.device)
    if allowed is not None and bool(allowed[::stride, ::stride].any()):
        places = places[allowed[::stride, ::stride].flatten()]
    first = places[workers.run(partial(_first_of_equal, numbers.flatten()[places]))]
    columns = len(range(0, width, stride))
    return first // columns * stride * painting.shape[-1] + first % columns * stride


def _first_of_equal(numbers: Tensor) -> Tensor:
    """Where in a vector a value occurs for the first time, ascending."""
    values, order = numbers.sort(stable=True)
    return order[functional.pad(values[1:] != values[:-1], (1, 0), value=True)].sort().values


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    return a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchBasis:
    """``mean`` 147 and ``axes`` 147×length: the first principal components of the painting's patches."""

    mean: Tensor
    axes: Tensor

    def signatures(self, image: Tensor, corners: Tensor) -> Tensor:
        """n×length; no distance between two signatures exceeds that of their patches."""
        return (patches_at(image, corners) - self.mean) @ self.axes

    def shortened(self, length: int) -> PatchBasis:
        return PatchBasis(mean=self.mean, axes=self.axes[:, :length].contiguous())


def _fit_basis(image: Tensor, anchors: Tensor, painting: Tensor, corners: Tensor) -> PatchBasis:
    sample = patches_at(painting, corners[:: -(-len(corners) // _SAMPLED_CANDIDATES)])
    mean = sample.mean(0)
    sample = sample - mean
    _, axes = torch.linalg.eigh((sample.T @ sample).double())
    axes = axes.flip(1).to(sample.dtype)
    queries = patches_at(image, anchors[:: -(-len(anchors) // _SAMPLED_QUERIES)]) - mean
    length = _signature_length(queries @ axes, sample @ axes, len(corners))
    return PatchBasis(mean=mean, axes=axes[:, :length].contiguous())


def _signature_length(queries: Tensor, candidates: Tensor, candidate_count: int) -> int:
    """The shortest that leaves few enough of ``candidate_count`` patches nearer than the nearest."""
    nearest = _squared_distances(queries, candidates).amin(1, keepdim=True)
    scale = candidate_count / (len(queries) * len(candidates))
    for length in _SIGNATURE_LENGTHS[:-1]:
        nearer = _squared_distances(queries[:, :length], candidates[:, :length]) < nearest
        if int(nearer.sum()) * scale <= _RIVALS:
            return length
    return _SIGNATURE_LENGTHS[-1]


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchTree:
    """A balanced tree with 2^depth leaves of equal size over points in n×d.

    ``leaves`` are the points' rows, 2^depth×size (a few occur twice to fill up). At level l there are 2^l nodes:
    ``splits[l]`` holds their axes and the last values on the lower side, ``boxes[l]`` their least and greatest
    coordinates, 2^l×d each.
    """

    leaves: Tensor
    splits: list[tuple[Tensor, Tensor]]
    boxes: list[tuple[Tensor, Tensor]]

    @property
    def depth(self) -> int:
        return len(self.splits)

    def leaf_of(self, points: Tensor) -> Tensor:
        """The leaf on whose side of all splits a point lies."""
        node = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        for axes, values in self.splits:
            node = 2 * node + (points.gather(1, axes[node, None])[:, 0] > values[node]).long()
        return node


def _grow_tree(points: Tensor, check: Callable[[], None]) -> PatchTree:
    """Split at the median of the axis that varies most (by every eighth point) down to ``_LEAF_SIZE`` points."""
    depth = 0
    while len(points) > _LEAF_SIZE << depth:
        depth += 1
    size = -(-len(points) >> depth)
    nodes = (torch.arange(size << depth, device=points.device) % len(points))[None]
    splits = []
    for _ in range(depth):
        check()
        axes = points[nodes[:, ::8]].var(1, unbiased=False).argmax(1)
        values, order = points[nodes, axes[:, None]].sort(stable=True)
        splits.append((axes, values[:, nodes.shape[1] // 2 - 1]))
        nodes = nodes.gather(1, order).view(2 * len(nodes), -1)
    members = points[nodes]
    boxes = [(members.amin(1), members.amax(1))]
    for _ in range(depth):
        low, high = boxes[0]
        boxes.insert(0, (torch.minimum(low[::2], low[1::2]), torch.maximum(high[::2], high[1::2])))
    return PatchTree(leaves=nodes, splits=splits, boxes=boxes)


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchIndex:
    """The painting's patches, ready to be searched.

    Leaf by leaf: their corners, leaves×size, their signatures, leaves×size×length, and half of these vectors' squares.
    """

    painting: Tensor
    basis: PatchBasis
    tree: PatchTree
    corners: Tensor
    signatures: Tensor
    halves: Tensor

    def leaf_of(self, image: Tensor, anchors: Tensor) -> Tensor:
        """The leaf in which the patch at each anchor would be."""
        return self.tree.leaf_of(self.basis.shortened(POINT_LENGTH).signatures(image, anchors))


def build_index(
    image: Tensor, anchors: Tensor, painting: Tensor, stride: int, allowed: Tensor | None, workers: Workers
) -> PatchIndex:
    """Index the painting's patches whose corners are multiples of ``stride``, for queries like the image's.

    ``allowed`` says which corners take part, bool (H - 6)×(W - 6); None is all.
    """
    corners = _distinct_corners(painting, stride, allowed, workers)
    basis = workers.run(partial(_fit_basis, image, anchors, painting, corners))
    place = partial(basis.shortened(POINT_LENGTH).signatures, painting)
    points = torch.cat([*workers.map(place, torch.split(corners, CHUNK))])
    tree = workers.run(partial(_grow_tree, points, workers.raise_if_stopped))
    corners = corners[tree.leaves]
    # Filled in place: the chunks and their whole would be held twice.
    signatures = torch.empty(*corners.shape, basis.axes.shape[1], device=image.device, dtype=image.dtype)
    halves = torch.empty(corners.shape, device=image.device, dtype=image.dtype)

    def fill(leaf: int) -> None:
        signatures[leaf] = basis.signatures(painting, corners[leaf])
        halves[leaf] = signatures[leaf].square().sum(1) / 2

    for _ in workers.map(fill, range(len(corners))):
        pass
    return PatchIndex(painting=painting, basis=basis, tree=tree, corners=corners, signatures=signatures, halves=halves)
