"""The sweep that makes neighbors' correspondences agree: oracles 7 to 9 and a literal loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.matching import refine_nnf
from tests.harmonize.algorithm import reference

SIDE = 15
INSIDE = torch.tensor([y * SIDE + x for y in range(4, 9) for x in range(4, 9)])


def random_guide(*, channels: int = 3, height: int = SIDE, width: int = SIDE, seed: int = 0) -> Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shifted_field() -> Tensor:
    """Every position matched to the one a row below and two columns to the right, kept inside."""
    y, x = torch.arange(SIDE)[:, None], torch.arange(SIDE)[None, :]
    return ((y + 1).clamp(max=SIDE - 1) * SIDE + (x + 2).clamp(max=SIDE - 1)).flatten()


def test_oracle_07_corrupted_match_recovers() -> None:
    field = shifted_field()
    field[6 * SIDE + 6] = 10 * SIDE + 3
    refined = refine_nnf(field, INSIDE, random_guide())
    assert int(refined[6 * SIDE + 6]) == 7 * SIDE + 8
    assert torch.equal(refined[INSIDE], shifted_field()[INSIDE])
    outside = torch.ones(SIDE * SIDE, dtype=torch.bool)
    outside[INSIDE] = False
    assert torch.equal(refined[outside], field[outside])
    assert int(field[6 * SIDE + 6]) == 10 * SIDE + 3, "the input field is not written to"


def test_oracle_08_with_equal_costs_the_first_candidate_in_scan_order_wins() -> None:
    generator = torch.Generator().manual_seed(0)
    field = torch.randint(SIDE * SIDE, (SIDE * SIDE,), generator=generator)
    refined = refine_nnf(field, INSIDE, torch.full((3, SIDE, SIDE), 0.3, dtype=torch.float64))
    for p in INSIDE.tolist():
        y, x = divmod(p, SIDE)
        candidates = []
        for ox in range(-2, 3):
            for oy in range(-2, 3):
                my, mx = divmod(int(field[(y + oy) * SIDE + x + ox]), SIDE)
                if 2 <= my - oy <= SIDE - 3 and 2 <= mx - ox <= SIDE - 3:
                    candidates.append((my - oy) * SIDE + mx - ox)
        assert int(refined[p]) == candidates[0]
        assert len(set(candidates)) > 1, "the first of several"


def test_oracle_08_a_translation_is_a_fixed_point() -> None:
    assert torch.equal(refine_nnf(shifted_field(), INSIDE, random_guide()), shifted_field())


def test_oracle_09_most_of_a_corrupted_field_recovers() -> None:
    recovered = []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        corrupted = torch.rand(SIDE * SIDE, generator=generator) < 0.4
        wrong = torch.randint(SIDE * SIDE, (SIDE * SIDE,), generator=generator)
        field = torch.where(corrupted, wrong, shifted_field())
        refined = refine_nnf(field, INSIDE, random_guide(seed=seed))
        recovered.append(int((refined == shifted_field())[INSIDE].sum()))
    assert min(recovered) >= 0.9 * 25


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize(("height", "width", "channels"), [(9, 11, 3), (5, 5, 2), (4, 9, 3), (12, 7, 16)])
def test_one_sweep_equals_a_loop(height: int, width: int, channels: int, asymmetric: bool) -> None:
    generator = torch.Generator().manual_seed(height)
    smooth = torch.arange(height * width) + torch.randint(-1, 2, (height * width,), generator=generator)
    wrong = torch.randint(height * width, (height * width,), generator=generator)
    field = torch.where(torch.rand(height * width, generator=generator) < 0.5, wrong, smooth)
    field = field.clamp(0, height * width - 1)
    guide = random_guide(channels=channels, height=height, width=width)
    # Everywhere, the picture's frame too, where neighbors are missing and suggestions fall outside.
    positions = torch.arange(height * width)
    refined = refine_nnf(field, positions, guide, asymmetric_bounds=asymmetric)
    bound = 2 if asymmetric else 1
    assert refined.tolist() == reference.refine_nnf(field.tolist(), positions.tolist(), guide, bound=bound)
    scattered = positions[::3]
    assert refine_nnf(field, scattered, guide, asymmetric_bounds=asymmetric).tolist() == reference.refine_nnf(
        field.tolist(), scattered.tolist(), guide, bound=bound
    )


def test_asymmetric_bounds_leave_out_one_more_row_and_column() -> None:
    # Every suggestion is the same cell, in the last row that the symmetric bounds allow.
    height = width = 9
    y, x = torch.arange(height)[:, None], torch.arange(width)[None, :]
    field = ((y + 3).clamp(max=height - 1) * width + x).flatten()
    p = torch.tensor([3 * width + 4])
    field[3 * width + 4] = 0
    guide = random_guide(height=height, width=width)
    assert int(refine_nnf(field, p, guide)[3 * width + 4]) == 6 * width + 4
    assert int(refine_nnf(field, p, guide, asymmetric_bounds=True)[3 * width + 4]) != 6 * width + 4


def test_without_candidates_the_match_is_kept() -> None:
    # A 4×4 grid has no cell two away from every side.
    field = torch.arange(16).flip(0)
    assert torch.equal(refine_nnf(field, torch.arange(16), random_guide(height=4, width=4)), field)


def test_the_sweep_reads_only_the_initial_field() -> None:
    # Large enough for several chunks of positions: none may see another's result.
    height = width = 40
    generator = torch.Generator().manual_seed(1)
    field = torch.randint(height * width, (height * width,), generator=generator)
    guide, positions = random_guide(channels=30, height=height, width=width), torch.arange(height * width)
    together = refine_nnf(field, positions, guide)
    alone = torch.cat([refine_nnf(field, p[None], guide)[p[None]] for p in positions[::37]])
    assert torch.equal(together[::37], alone)
