"""The patch search: every pair compared, on pictures of all kinds, and what is equal, thinned or stopped."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm import patch_index, patch_search
from painterly_harmonize.algorithm.parallel import Workers
from painterly_harmonize.algorithm.patch_index import PATCH_PX, patches_at
from painterly_harmonize.algorithm.patch_search import PatchProgress, nearest_patches

PICTURES = ("noise", "waves", "grain", "flat", "levels")


@pytest.fixture(params=[(512, 8192, (1024, 8192)), (8, 64, (16, 50)), (3, 20, (1, 1000))], ids=str)
def sizes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves, chunks and parts as they are, and so small that there are many of them."""
    leaf, chunk, parts = request.param
    monkeypatch.setattr(patch_index, "_LEAF_SIZE", leaf)
    for module in (patch_index, patch_search):
        monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(patch_search, "_PART_SIZES", parts)


def picture(kind: str, height: int, width: int, *, seed: int = 0) -> Tensor:
    """A picture in float64: of noise, of smooth waves without and with grain, flat in parts, of four levels."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)
    y, x = torch.meshgrid(torch.arange(height) / 7.0, torch.arange(width) / 5.0, indexing="ij")
    waves = torch.stack([0.5 + 0.4 * torch.sin(x + n * y + seed) for n in range(3)])[None].double()
    flat = torch.where(y * x > 4, 0.25, waves)
    return {
        "noise": noise,
        "waves": waves,
        "grain": waves + 0.1 * noise,
        "flat": flat,
        "levels": (3 * noise).round() / 3,
    }[kind]


def all_corners(image: Tensor, stride: int = 1) -> Tensor:
    height, width = image.shape[-2:]
    rows, columns = range(0, height - PATCH_PX + 1, stride), range(0, width - PATCH_PX + 1, stride)
    return torch.tensor([y * width + x for y, x in itertools.product(rows, columns)])


def found(image: Tensor, anchors: Tensor, painting: Tensor, stride: int = 1, allowed: Tensor | None = None) -> Tensor:
    """What the search returns."""
    search = nearest_patches(image, anchors, painting, stride, allowed=allowed)
    while True:
        try:
            next(search)
        except StopIteration as end:
            match: Tensor = end.value
            return match


def expected(image: Tensor, anchors: Tensor, painting: Tensor, stride: int = 1) -> Tensor:
    """Every pair compared; of equal ones the first."""
    corners = all_corners(painting, stride)
    candidates = functional.unfold(painting, PATCH_PX, stride=stride)[0].T.numpy()
    queries = functional.unfold(image, PATCH_PX)[0].T.numpy()
    width = image.shape[-1]
    rows = anchors // width * (width - PATCH_PX + 1) + anchors % width
    return corners[[int(np.square(candidates - queries[row]).sum(1).argmin()) for row in rows.tolist()]]


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("stride", [1, 3])
def test_search_equals_comparing_every_pair(kind: str, stride: int) -> None:
    image, painting = picture(kind, 15, 18, seed=1), picture(kind, 24, 21)
    anchors = all_corners(image)
    ours, brute = (f(image, anchors, painting, stride) for f in (found, expected))
    if kind in ("flat", "levels"):
        # Sums in another order may decide between patches that are equally near; both are then the nearest.
        distances = [
            (patches_at(image, anchors) - patches_at(painting, match)).square().sum(1) for match in (ours, brute)
        ]
        torch.testing.assert_close(*distances, atol=1e-12, rtol=0)
        assert float((ours == brute).double().mean()) > 0.9
    else:
        assert torch.equal(ours, brute)


@pytest.mark.parametrize("length", [16, 24, 32, 48, 64, 96, 147])
def test_search_equals_comparing_every_pair_with_signatures_of_any_length(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_index, "_signature_length", lambda *_: length)
    monkeypatch.setattr(patch_index, "_LEAF_SIZE", 16)
    image, painting = picture("grain", 14, 15, seed=3), picture("grain", 24, 21)
    anchors = all_corners(image)
    assert torch.equal(found(image, anchors, painting), expected(image, anchors, painting))


@pytest.mark.parametrize("kind", PICTURES)
def test_search_in_float32_finds_patches_as_near(kind: str) -> None:
    image, painting = picture(kind, 18, 19, seed=2), picture(kind, 30, 31)
    anchors = all_corners(image)
    best = expected(image, anchors, painting)
    match = found(image.float(), anchors, painting.float())
    ours, theirs = (
        (patches_at(image, anchors) - patches_at(painting, corners)).square().sum(1) for corners in (match, best)
    )
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert float((match == best).double().mean()) > (0.99 if kind in ("noise", "waves", "grain") else 0.5)


def test_rounding_hides_no_nearest_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_index, "_LEAF_SIZE", 8)
    monkeypatch.setattr(patch_index, "_signature_length", lambda *_: 147)
    # Two nearly flat halves far from their mean: squares of 23 between patches that are 1e-5 apart.
    painting = (0.1 + 1e-3 * picture("noise", 30, 40)).float()
    painting[..., 20:] += 0.8
    image = (0.1 + 1e-3 * picture("noise", 20, 20, seed=1)).float()
    anchors = all_corners(image)
    match, best = found(image, anchors, painting), expected(image.double(), anchors, painting.double())
    assert torch.equal(match, best)


@pytest.mark.usefixtures("sizes")
def test_a_picture_finds_its_own_patches() -> None:
    painting = picture("grain", 30, 27).float()
    anchors = all_corners(painting)
    assert torch.equal(found(painting, anchors, painting), anchors)


@pytest.mark.usefixtures("sizes")
def test_of_equal_patches_the_first_is_taken() -> None:
    tile = picture("noise", 9, 10).float()
    painting = tile.repeat(1, 1, 3, 3)
    corners = all_corners(painting)
    first = corners // 30 % 9 * 30 + corners % 30 % 10
    assert torch.equal(found(painting, corners, painting), first)
    constant = torch.full((1, 3, 20, 22), 0.4)
    assert found(picture("noise", 12, 12).float(), torch.arange(6), constant).tolist() == [0] * 6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("band", [64, 1, 3])
def test_identical_patches_are_listed_once(
    dtype: torch.dtype, stride: int, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patch_index, "_BAND_ROWS", band)
    painting = picture("levels", 12, 12).to(dtype).repeat(1, 1, 2, 3)
    seen: dict[tuple[float, ...], int] = {}
    for corner in all_corners(painting, stride).tolist():
        seen.setdefault(tuple(patches_at(painting, torch.tensor([corner]))[0].tolist()), corner)
    with Workers(painting.device, lambda: None) as workers:
        listed = patch_index._distinct_corners(painting, stride, None, workers).tolist()
    assert listed == list(seen.values())
    assert len(listed) < len(all_corners(painting, stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", PICTURES)
def test_only_patches_that_are_allowed_are_found(kind: str, stride: int) -> None:
    image, painting = picture(kind, 15, 17, seed=1), picture(kind, 24, 21)
    allowed = torch.zeros(18, 15, dtype=torch.bool)
    allowed[5:12, 3:9] = True
    anchors, candidates = all_corners(image), all_corners(painting, stride)
    inside = allowed[candidates // 21, candidates % 21]
    match = found(image, anchors, painting, stride, allowed)
    distances = torch.cdist(patches_at(image, anchors), patches_at(painting, candidates[inside]))
    best = distances.amin(1)
    distance = (patches_at(image, anchors) - patches_at(painting, match)).norm(dim=1)
    torch.testing.assert_close(distance, best, atol=1e-6, rtol=0)
    assert bool(allowed[match // 21, match % 21].all())


def test_where_the_stride_leaves_out_all_that_is_allowed_everything_is_searched() -> None:
    image, painting = picture("noise", 15, 17, seed=1), picture("noise", 24, 21)
    allowed = torch.zeros(18, 15, dtype=torch.bool)
    allowed[5, 3] = True
    anchors = all_corners(image)
    assert torch.equal(found(image, anchors, painting, 2, allowed), found(image, anchors, painting, 2))


def test_signatures_never_exaggerate_a_distance() -> None:
    image, painting = picture("grain", 21, 26, seed=1), picture("grain", 30, 27)
    ours, theirs = all_corners(image), all_corners(painting)
    basis = patch_index._fit_basis(image, ours, painting, theirs)
    full = torch.cdist(patches_at(image, ours), patches_at(painting, theirs)).square()
    previous = torch.zeros_like(full)
    for length in (4, 8, 16):
        shortened = basis.shortened(length)
        short = torch.cdist(shortened.signatures(image, ours), shortened.signatures(painting, theirs)).square()
        assert bool((short <= full + 1e-9).all())
        assert bool((short >= previous - 1e-9).all())
        previous = short
    assert float((previous / full).mean()) > 0.5, "sixteen numbers tell most of it"


def test_signatures_are_as_long_as_the_pictures_need() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, candidates = (torch.randn(n, 147, generator=generator, dtype=torch.float64) for n in (20, 1000))
    falling = torch.exp(-torch.arange(147) / 3).double()
    assert patch_index._signature_length(queries * falling, candidates * falling, 1000) == 16
    assert patch_index._signature_length(queries, candidates, 1000) == 147


def test_a_tree_holds_every_point_inside_its_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_index, "_LEAF_SIZE", 10)
    points = torch.rand(333, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tree = patch_index._grow_tree(points, lambda: None)
    assert tree.depth == 6
    assert tree.leaves.shape == (64, 6)
    assert set(tree.leaves.flatten().tolist()) == set(range(333))
    for level, (low, high) in enumerate(tree.boxes):
        members = points[tree.leaves.view(2**level, -1)]
        assert torch.equal(low, members.amin(1))
        assert torch.equal(high, members.amax(1))
    inside = (tree.leaves == torch.arange(333)[:, None, None]).any(2)
    assert bool(inside[torch.arange(333), tree.leaf_of(points)].all())


def stop_at_call(number: int) -> Callable[[], None]:
    calls = itertools.count(1)

    def check() -> None:
        if next(calls) >= number:
            raise InterruptedError

    return check


@pytest.mark.parametrize("number", [1, 2, 4, 6, 7])
def test_search_can_be_stopped(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_search, "_PART_SIZES", (50, 50))
    image, painting = picture("noise", 22, 27), picture("noise", 24, 21, seed=1)
    search = nearest_patches(image, all_corners(image), painting, check=stop_at_call(number))
    with pytest.raises(InterruptedError):
        list(search)


def test_search_that_is_given_up_ends_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_search, "_PART_SIZES", (50, 50))
    numbers = itertools.count(1)
    begun: list[int] = []
    run = patch_search._Search.run

    def endless_after_four(search: patch_search._Search) -> Tensor:
        number = next(numbers)
        begun.append(number)
        while number > 4:
            search._check()
        return run(search)

    monkeypatch.setattr(patch_search._Search, "run", endless_after_four)
    image, painting = picture("noise", 40, 40), picture("noise", 40, 40, seed=1)
    search = nearest_patches(image, all_corners(image), painting)
    assert next(search) == PatchProgress(finished=0, total=34 * 34)
    assert next(search) == PatchProgress(finished=50, total=34 * 34)
    search.close()
    assert len(begun) <= 4 + torch.get_num_threads(), "of 24 parts those that had not begun never do"
    with pytest.raises(StopIteration):
        next(search)


def test_progress_counts_matched_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patch_search, "_PART_SIZES", (50, 50))
    image, painting = picture("noise", 22, 27), picture("noise", 24, 21, seed=1)
    anchors = all_corners(image)
    steps = list(nearest_patches(image, anchors, painting))
    assert [step.finished for step in steps] == [*range(0, len(anchors), 50), len(anchors)]
    assert {step.total for step in steps} == {len(anchors)}


def test_a_value_that_is_not_a_number_harms_nothing_else() -> None:
    image, painting = picture("grain", 22, 27, seed=1), picture("grain", 24, 21)
    broken = image.clone()
    broken[0, 1, 3, 4] = torch.nan
    anchors = all_corners(image)
    clean = ~patches_at(broken, anchors).isnan().any(1)
    assert 0 < int(clean.sum()) < len(anchors)
    match = found(broken, anchors, painting)
    assert int(match.max()) <= int(all_corners(painting)[-1])
    assert torch.equal(match[clean], expected(image, anchors, painting)[clean])
