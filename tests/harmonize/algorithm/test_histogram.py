"""Remapping values to the style's distribution: oracles 20 to 24 and literal loops over the formula's steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.losses import binned_table, quantile_table, remap_by_rank
from tests.harmonize.algorithm import reference

Table = Callable[..., Tensor]
STYLE = torch.tensor([[0.0, 1.0, 2.0, 3.0]], dtype=torch.float64)


def random(channels: int, count: int, *, seed: int = 0) -> Tensor:
    """Like post-ReLU features: many exact zeros."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(channels, count, generator=generator, dtype=torch.float64) + 0.3).clamp(min=0)


def remapped(values: Tensor, table: Tensor) -> list[float]:
    result: list[float] = remap_by_rank(values, table)[0].tolist()
    return result


def test_oracle_20_both_rules_by_hand() -> None:
    output = torch.tensor([[5.0, 7.0, 6.0, 9.0]], dtype=torch.float64)
    assert remapped(output, binned_table(STYLE, 4, bins=4)) == pytest.approx([0, 1.5, 0.75, 2.25], abs=1e-6)
    assert remapped(output, quantile_table(STYLE, 4)) == pytest.approx([0, 2, 1, 3], abs=1e-6)


def test_oracle_21_more_values_than_the_style_has() -> None:
    assert binned_table(STYLE, 8, bins=4)[0].tolist() == pytest.approx([0.375 * r for r in range(8)], abs=1e-6)
    expected = [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]
    assert quantile_table(STYLE, 8)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_oracle_22_with_equal_counts_the_sorted_style_itself() -> None:
    style = random(5, 40)
    assert torch.equal(quantile_table(style, 40), style.sort(dim=1).values)


def test_oracle_22_a_style_remapped_onto_itself_stays() -> None:
    style = torch.rand(5, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.equal(remap_by_rank(style, quantile_table(style, 300)), style)
    width = (style.amax(1) - style.amin(1)) / 256
    error = (remap_by_rank(style, binned_table(style, 300)) - style).abs().amax(1)
    assert bool((error < width).all())
    assert bool((error > 0).all())


@pytest.mark.parametrize("make", [binned_table, quantile_table])
@pytest.mark.parametrize("count", [3, 7, 20])
def test_oracle_23_a_constant_channel_stays_constant(make: Table, count: int) -> None:
    table = make(torch.full((1, 7), 5.0, dtype=torch.float64), count)
    assert remap_by_rank(random(1, count), table)[0].tolist() == [5.0] * count


@pytest.mark.parametrize("make", [binned_table, quantile_table])
def test_oracle_23_order_is_kept(make: Table) -> None:
    values, style = random(4, 50), random(4, 33, seed=1)
    result = remap_by_rank(values, make(style, 50))
    for value, new in zip(values, result, strict=True):
        assert bool((new[value.argsort(stable=True)].diff() >= 0).all())


@pytest.mark.parametrize("make", [binned_table, quantile_table])
def test_oracle_23_channels_are_independent(make: Table) -> None:
    values, style = random(4, 50), random(4, 33, seed=1) * torch.tensor([[1.0], [10.0], [100.0], [0.1]]).double()
    order = torch.tensor([2, 0, 3, 1])
    plain = remap_by_rank(values, make(style, 50))
    permuted = remap_by_rank(values[order], make(style[order], 50))
    assert torch.equal(permuted, plain[order])


@pytest.mark.parametrize(("style_count", "count"), [(40, 40), (40, 97), (97, 40), (1, 5), (2, 9), (1000, 3)])
def test_tables_equal_the_formula_step_by_step(style_count: int, count: int) -> None:
    style, values = random(3, style_count), random(3, count, seed=1)
    quantiles, binned = quantile_table(style, count), binned_table(style, count, bins=16)
    for channel in range(3):
        v, s = values[channel].tolist(), style[channel].tolist()
        expected = reference.quantile_remap(v, s)
        assert remap_by_rank(values, quantiles)[channel].tolist() == pytest.approx(expected, abs=1e-9)
        expected = reference.binned_remap(v, s, 16)
        assert remap_by_rank(values, binned)[channel].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("make", [binned_table, quantile_table])
@pytest.mark.parametrize("count", [1, 20, 33, 200])
def test_counts_are_as_many_equal_values(make: Table, count: int) -> None:
    style = random(3, 33, seed=2)
    counts = torch.randint(1, 6, (33,), generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(make(style, count, counts), make(style.repeat_interleave(counts, dim=1), count))


def test_equal_values_are_ranked_by_position() -> None:
    values = torch.zeros(1, 4, dtype=torch.float64)
    assert remapped(values, quantile_table(STYLE, 4)) == [0, 1, 2, 3]


@pytest.mark.parametrize("make", [binned_table, quantile_table])
def test_a_tap_without_output_values_has_an_empty_table(make: Table) -> None:
    table = make(STYLE, 0)
    assert table.shape == (1, 0)
