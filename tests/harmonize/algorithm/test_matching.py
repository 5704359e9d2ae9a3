"""Nearest-neighbor fields: oracles 1 to 6 and a double loop for every measure."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from painterly_harmonize.algorithm.matching import Measure, nearest_neighbor_field, shift_sum
from tests.harmonize.algorithm import reference

MEASURES = list(Measure)
COSINES = [Measure.COSINE, Measure.JOINT_COSINE]


def positive(channels: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(channels, height, width, generator=generator, dtype=torch.float64) + 0.05


def sparse(channels: int, height: int, width: int, *, seed: int = 0) -> Tensor:
    """Like post-ReLU features: many exact zeros."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(channels, height, width, generator=generator, dtype=torch.float64).clamp(min=0)


def everywhere(features: Tensor) -> Tensor:
    return torch.arange(features.shape[-2] * features.shape[-1])


def with_border(features: Tensor) -> Tensor:
    return functional.pad(features, (1, 1, 1, 1))


@pytest.mark.parametrize("measure", MEASURES)
def test_oracle_01_a_picture_is_its_own_nearest_neighbor(measure: Measure) -> None:
    features = positive(5, 5, 6)
    match, similarity = nearest_neighbor_field(features, features, everywhere(features), measure)
    assert match.tolist() == list(range(30))
    if measure in COSINES:
        assert similarity.tolist() == pytest.approx([1.0] * 30, abs=1e-6)


def test_oracle_02_shift_sum_equals_unfolded_products() -> None:
    source, style = positive(5, 5, 6), positive(5, 7, 4, seed=1)
    unfolded = [functional.unfold(x[None], 3, padding=1)[0].T for x in (source, style)]
    assert (shift_sum(with_border(source), with_border(style)) - unfolded[0] @ unfolded[1].T).abs().max() < 1e-12


def test_oracle_02_unit_sum_of_a_picture_with_itself_counts_cells() -> None:
    features = positive(5, 5, 6)
    _, similarity = nearest_neighbor_field(features, features, everywhere(features), Measure.UNIT_SUM)
    expected = torch.full((5, 6), 6.0, dtype=torch.float64)
    expected[1:-1, 1:-1] = 9
    expected[:: 5 - 1, :: 6 - 1] = 4
    torch.testing.assert_close(similarity.view(5, 6), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(3))
def test_oracle_03_joint_validity_equals_a_double_loop(seed: int) -> None:
    source, style = sparse(3, 4, 5, seed=seed), sparse(3, 5, 4, seed=100 + seed)
    match, similarity = nearest_neighbor_field(source, style, everywhere(source), Measure.JOINT_COSINE)
    expected_match, expected = reference.nearest_neighbor_field(source, style, "joint cosine")
    assert match.tolist() == expected_match
    assert similarity.tolist() == pytest.approx(expected, abs=1e-12)


BORDER_CLASSES = [(y, x) for y in (0, 2, 4) for x in (0, 2, 4)]


@pytest.mark.parametrize("p", BORDER_CLASSES)
@pytest.mark.parametrize("q", BORDER_CLASSES)
def test_oracle_03_joint_validity_compares_exactly_the_shared_cells(p: tuple[int, int], q: tuple[int, int]) -> None:
    # The shared cells agree up to scale and all others do not: only their cosine alone is 1.
    source, style = positive(9, 5, 5), positive(9, 5, 5, seed=1)
    for y, x in itertools.product((-1, 0, 1), repeat=2):
        source_cell, style_cell = (p[0] + y, p[1] + x), (q[0] + y, q[1] + x)
        if all(0 <= v < 5 for v in (*source_cell, *style_cell)):
            style[:, style_cell[0], style_cell[1]] = 3 * source[:, source_cell[0], source_cell[1]]
    match, similarity = nearest_neighbor_field(source, style, torch.tensor([p[0] * 5 + p[1]]), Measure.JOINT_COSINE)
    assert divmod(int(match), 5) == q
    assert float(similarity) == pytest.approx(1, abs=1e-9)


def test_oracle_03_joint_validity_equals_zero_padding_inside() -> None:
    # Two cells of nothing around the style keep every match inside, where both cosines are one.
    source, style = positive(5, 6, 6), functional.pad(positive(5, 5, 4, seed=1), (2, 2, 2, 2))
    inside = everywhere(source).view(6, 6)[1:-1, 1:-1].flatten()
    joint, padded = (nearest_neighbor_field(source, style, inside, measure) for measure in COSINES[::-1])
    assert torch.equal(joint[0], padded[0])
    torch.testing.assert_close(joint[1], padded[1], atol=1e-12, rtol=0)


@pytest.mark.parametrize("measure", COSINES)
@pytest.mark.parametrize(("source_scale", "style_scale"), [(7.0, 1.0), (1.0, 0.01)])
def test_oracle_04_cosine_ignores_scale(measure: Measure, source_scale: float, style_scale: float) -> None:
    source, style = positive(5, 5, 6), positive(5, 6, 5, seed=1)
    plain, _ = nearest_neighbor_field(source, style, everywhere(source), measure)
    scaled, _ = nearest_neighbor_field(source * source_scale, style * style_scale, everywhere(source), measure)
    assert torch.equal(scaled, plain)


@pytest.mark.parametrize("measure", COSINES)
def test_oracle_04_an_empty_patch_is_similar_to_nothing(measure: Measure) -> None:
    source, style = positive(5, 7, 7), positive(5, 5, 6, seed=1)
    source[:, 2:5, 2:5] = 0
    match, similarity = nearest_neighbor_field(source, style, everywhere(source), measure)
    assert bool(torch.isfinite(similarity).all())
    assert (int(match[3 * 7 + 3]), float(similarity[3 * 7 + 3])) == (0, 0.0)
    match, similarity = nearest_neighbor_field(source, torch.zeros_like(style), everywhere(source), measure)
    assert (match.tolist(), similarity.tolist()) == ([0] * 49, [0.0] * 49)


@pytest.mark.parametrize("measure", MEASURES)
def test_oracle_05_a_shifted_picture_is_found_shifted(measure: Measure) -> None:
    canvas = positive(5, 11, 13)
    source = canvas[:, 1:9, 2:10]
    inside = everywhere(source).view(8, 8)[1:-1, 1:-1].flatten()
    match, _ = nearest_neighbor_field(source, canvas, inside, measure)
    assert match.tolist() == [(p // 8 + 1) * 13 + p % 8 + 2 for p in inside.tolist()]


@pytest.mark.parametrize("measure", MEASURES)
def test_oracle_06_chunks_and_masked_rows_change_nothing(measure: Measure) -> None:
    source, style = sparse(4, 7, 9), sparse(4, 8, 6, seed=1)
    positions = everywhere(source)
    whole, values = nearest_neighbor_field(source, style, positions, measure)
    for chunk_elements in (1, 7, 48, 7 * 48, 63 * 48):
        match, _ = nearest_neighbor_field(source, style, positions, measure, chunk_elements=chunk_elements)
        assert torch.equal(match, whole), chunk_elements
    generator = torch.Generator().manual_seed(2)
    scattered = torch.randperm(63, generator=generator)[:17]
    for chunk_elements in (1, 100, 2**24):
        match, similarity = nearest_neighbor_field(source, style, scattered, measure, chunk_elements=chunk_elements)
        assert torch.equal(match, whole[scattered])
        torch.testing.assert_close(similarity, values[scattered], atol=1e-12, rtol=0)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("source_size", "style_size"),
    [((5, 6), (4, 7)), ((1, 6), (3, 4)), ((4, 1), (1, 5)), ((2, 2), (2, 3)), ((3, 3), (1, 1))],
)
def test_every_measure_equals_a_double_loop(
    measure: Measure, source_size: tuple[int, int], style_size: tuple[int, int]
) -> None:
    source, style = sparse(3, *source_size, seed=3), sparse(3, *style_size, seed=4)
    expected_match, expected = reference.nearest_neighbor_field(source, style, measure.value)
    for chunk_elements in (1, 11, 2**24):
        match, similarity = nearest_neighbor_field(
            source, style, everywhere(source), measure, chunk_elements=chunk_elements
        )
        assert similarity.tolist() == pytest.approx(expected, abs=1e-12)
        assert match.tolist() == expected_match


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_restricted_search_equals_a_double_loop_over_what_is_allowed(measure: Measure, seed: int) -> None:
    source, style = sparse(3, 5, 6, seed=3), sparse(3, 6, 7, seed=4)
    allowed = torch.rand(6, 7, generator=torch.Generator().manual_seed(seed)) < 0.25
    expected_match, expected = reference.nearest_neighbor_field(source, style, measure.value, allowed)
    for chunk_elements in (1, 11, 2**24):
        match, similarity = nearest_neighbor_field(
            source, style, everywhere(source), measure, allowed=allowed, chunk_elements=chunk_elements
        )
        assert similarity.tolist() == pytest.approx(expected, abs=1e-12)
        assert match.tolist() == expected_match
    assert bool(allowed.flatten()[match].all())


def test_where_the_measure_admits_nothing_that_is_allowed_the_first_of_it_is_taken() -> None:
    # Patches inside a picture are never matched with its corner.
    features, allowed = positive(3, 5, 5), torch.zeros(5, 5, dtype=torch.bool)
    allowed[4, 4] = True
    match, similarity = nearest_neighbor_field(
        features, features, torch.tensor([12, 24]), Measure.UNIT_SUM, allowed=allowed
    )
    assert match.tolist() == [24, 24]
    assert similarity.tolist()[0] == -math.inf
    assert similarity.tolist()[1] == pytest.approx(4, abs=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("chunk_elements", [1, 30, 2**24])
def test_ties_go_to_the_lowest_index(measure: Measure, chunk_elements: int) -> None:
    # One-hot features of one cell per patch: similarities are exact, so equal ones are exactly equal.
    source = torch.zeros(2, 9, 9, dtype=torch.float64)
    source[0, 4, 4] = 1
    style = source.repeat(1, 2, 2)
    match, similarity = nearest_neighbor_field(
        source, style, torch.tensor([4 * 9 + 4]), measure, chunk_elements=chunk_elements
    )
    assert int(match) == 4 * 18 + 4
    assert float(similarity) == pytest.approx(1, abs=1e-7)


def test_unit_sum_keeps_borders_to_borders() -> None:
    source, style = positive(4, 5, 5), positive(4, 5, 5, seed=1)
    # The style's frame is made of the source's most common direction and would win everywhere.
    mean = source.mean((1, 2))
    style[:, 0], style[:, -1], style[:, :, 0], style[:, :, -1] = (mean[:, None].expand(-1, 5) for _ in range(4))
    match, similarity = nearest_neighbor_field(source, style, everywhere(source), Measure.UNIT_SUM)
    for p, q in enumerate(match.tolist()):
        for v, w in zip(divmod(p, 5), divmod(q, 5), strict=True):
            assert not (w == 0 and v != 0)
            assert not (w == 4 and v != 4)
    assert bool(torch.isfinite(similarity).all())


@pytest.mark.parametrize("chunk_elements", [40, 10_000])
def test_colors_far_from_the_own_count_against_a_match(chunk_elements: int) -> None:
    source, style = positive(4, 5, 6), positive(4, 6, 5, seed=1)
    own, theirs = positive(3, 5, 6, seed=2), positive(3, 6, 5, seed=3)
    found, _ = nearest_neighbor_field(
        source, style, everywhere(source), Measure.UNIT_SUM, colors=(own, theirs), chunk_elements=chunk_elements
    )
    units = [(x / torch.linalg.vector_norm(x, dim=0)) for x in (source, style)]

    def similarity(p: tuple[int, int], q: tuple[int, int]) -> float:
        total = 0.0
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                (y, x), (v, u) = (p[0] + dy, p[1] + dx), (q[0] + dy, q[1] + dx)
                own_inside, inside = 0 <= y < 5 and 0 <= x < 6, 0 <= v < 6 and 0 <= u < 5
                if own_inside and not inside:
                    # A match that leaves the picture where the source does not is not allowed.
                    return -math.inf
                if own_inside:
                    difference = own[:, y, x] - theirs[:, v, u]
                    total += float(units[0][:, y, x] @ units[1][:, v, u] - difference.square().sum())
        return total

    cells = [(v, u) for v in range(6) for u in range(5)]
    for p, match in enumerate(found.tolist()):
        values = [similarity(divmod(p, 6), q) for q in cells]
        assert values[match] == pytest.approx(max(values), abs=1e-9)
    plain, _ = nearest_neighbor_field(source, style, everywhere(source), Measure.UNIT_SUM)
    assert plain.tolist() != found.tolist()


def test_no_positions_have_no_matches() -> None:
    features = positive(3, 4, 4)
    match, similarity = nearest_neighbor_field(features, features, torch.arange(0), Measure.COSINE)
    assert (match.numel(), similarity.numel()) == (0, 0)


def test_check_is_asked_between_chunks_and_may_stop_the_search() -> None:
    features, asked = positive(3, 6, 6), 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        nearest_neighbor_field(features, features, everywhere(features), Measure.COSINE, chunk_elements=6, check=check)
    assert asked == 5


def test_float32_finds_the_same_matches() -> None:
    source, style = positive(16, 8, 8), positive(16, 9, 7, seed=1)
    for measure in MEASURES:
        exact, values = nearest_neighbor_field(source, style, everywhere(source), measure)
        match, similarity = nearest_neighbor_field(source.float(), style.float(), everywhere(source), measure)
        assert torch.equal(match, exact)
        torch.testing.assert_close(similarity.double(), values, atol=1e-5, rtol=0)
    assert math.isfinite(float(similarity.sum()))
