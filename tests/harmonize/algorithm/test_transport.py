"""Which style positions are selected, and how they and correspondences reach other taps: oracles 10 to 13."""

from __future__ import annotations

import pytest
import torch

from painterly_harmonize.algorithm.losses import gram_matrix
from painterly_harmonize.algorithm.matching import style_position_counts, upsample_nnf, upsample_positions
from tests.harmonize.algorithm import reference


def test_oracle_10_identity_stays_identity() -> None:
    assert upsample_nnf(torch.arange(6), (2, 3), (4, 6)).tolist() == list(range(24))


@pytest.mark.parametrize(("size", "target"), [(34, 69), (69, 139), (88, 175)])
def test_oracle_10_identity_stays_identity_at_odd_sizes(size: int, target: int) -> None:
    field = torch.arange(size)
    assert upsample_nnf(field, (size, 1), (target, 1)).tolist() == list(range(target))
    assert upsample_nnf(field, (1, size), (1, target)).tolist() == list(range(target))


def block_at_origin(match: tuple[int, int]) -> list[tuple[int, int]]:
    field = torch.arange(6)
    field[0] = match[0] * 3 + match[1]
    upsampled = upsample_nnf(field, (2, 3), (4, 6))
    return [divmod(int(upsampled[p]), 6) for p in (0, 1, 6, 7)]


def test_oracle_11_a_match_moves_its_whole_block() -> None:
    assert block_at_origin((1, 2)) == [(2, 4), (2, 5), (3, 4), (3, 5)]


def test_oracle_11_rows_and_columns_are_whole_cells() -> None:
    assert block_at_origin((0, 2))[0] == (0, 4)


def test_oracle_12_images_are_the_blocks_of_the_unique_matches() -> None:
    field = torch.randint(20, (20,), generator=torch.Generator().manual_seed(0))
    images = set(upsample_nnf(field, (4, 5), (16, 20)).tolist())
    unique = torch.zeros(20, dtype=torch.bool).index_fill(0, field, True).view(4, 5)
    blocks = torch.nonzero(unique.repeat_interleave(4, 0).repeat_interleave(4, 1).flatten()).flatten()
    assert images == set(blocks.tolist())
    assert int(unique.sum()) < 20
    assert torch.equal(upsample_positions(unique, (16, 20)).flatten().nonzero().flatten(), blocks)


@pytest.mark.parametrize(("size", "target"), [(7, 10), (5, 23), (9, 4)])
def test_transport_equals_the_formula_at_any_ratio(size: int, target: int) -> None:
    field = torch.randint(size, (size,), generator=torch.Generator().manual_seed(size))
    expected = [reference.upsampled_match(p, field.tolist(), size, target) for p in range(target)]
    assert upsample_nnf(field, (1, size), (1, target)).tolist() == expected
    assert upsample_nnf(field, (size, 1), (target, 1)).tolist() == expected


def test_oracle_13_a_position_chosen_twice_counts_once_or_twice() -> None:
    style = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    counts = style_position_counts(torch.tensor([0, 0, 1]), (1, 2), ring=0)
    assert counts.tolist() == [[2, 1]]
    once = style[:, counts.flatten() > 0]
    torch.testing.assert_close(gram_matrix(once, once.shape[1]), torch.diag(torch.tensor([0.25, 0.25]).double()))
    weighted = style * counts.double().sqrt()
    expected = torch.diag(torch.tensor([1 / 3, 1 / 6]).double())
    torch.testing.assert_close(gram_matrix(weighted, counts.sum()), expected)


def test_oracle_13_a_ring_adds_the_neighbors() -> None:
    inside = style_position_counts(torch.tensor([2 * 6 + 3]), (5, 6), ring=1)
    assert torch.nonzero(inside).tolist() == [[y, x] for y in (1, 2, 3) for x in (2, 3, 4)]
    assert int(inside.sum()) == 9
    assert int(style_position_counts(torch.tensor([0]), (5, 6), ring=1).sum()) == 4
    assert int(style_position_counts(torch.tensor([29]), (5, 6), ring=1).sum()) == 4
    assert int(style_position_counts(torch.tensor([14]), (5, 6), ring=2).sum()) == 25


def test_positions_count_as_often_as_whole_neighborhoods_choose_them() -> None:
    # Reached 9, 27, 18 and 18 times; nine times is once.
    counts = style_position_counts(torch.tensor([0] * 9 + [2] * 18), (1, 4), ring=1)
    assert counts.tolist() == [[1, 3, 2, 2]]
    # 13, 14 and 14, 1, 0 times.
    counts = style_position_counts(torch.tensor([0] * 13 + [2]), (1, 5), ring=1)
    assert counts.tolist() == [[1, 2, 1, 1, 0]]


def test_a_coherent_part_of_the_painting_counts_once_everywhere() -> None:
    cells = [y * 9 + x for y in range(2, 6) for x in range(3, 8)]
    counts = style_position_counts(torch.tensor(cells), (8, 9), ring=1)
    expected = torch.zeros(8, 9, dtype=torch.int64)
    expected[1:7, 2:9] = 1
    assert torch.equal(counts, expected)


def test_selection_is_carried_by_nearest_sampling() -> None:
    selected = torch.tensor([[True, False, True]])
    # floor(dst · 3 / 5) = 0, 0, 1, 1, 2
    assert upsample_positions(selected, (2, 5)).tolist() == [[True, True, False, False, True]] * 2
