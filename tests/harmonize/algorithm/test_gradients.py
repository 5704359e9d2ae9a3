"""Unit-norm gradients and their injection: oracle 17."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.gradients import unit_norm
from painterly_harmonize.algorithm.losses import (
    content_gradient,
    gram_matrix,
    quantile_table,
    remap_by_rank,
    style_gradient,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_oracle_17_unit_norm_by_hand() -> None:
    gradient = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert unit_norm(gradient, 1).tolist() == pytest.approx([0.6, 0.8], abs=1e-6)
    assert float(unit_norm(gradient, 5).norm()) == pytest.approx(5, abs=1e-6)


def test_oracle_17_a_zero_gradient_stays_zero() -> None:
    assert unit_norm(torch.zeros(4), 50).tolist() == [0.0] * 4


FEATURES, TARGET, MASK = 10 * random(4, 9), 10 * random(4, 9, seed=1), random(9, seed=2)


def content(k: float) -> Tensor:
    return content_gradient(k * FEATURES, k * TARGET, MASK, 9)


def style(k: float) -> Tensor:
    masked = k * FEATURES * MASK
    return style_gradient(masked, MASK, MASK.sum(), gram_matrix(masked, MASK.sum()), gram_matrix(k * TARGET, 9))


def histogram(k: float) -> Tensor:
    return k * FEATURES - remap_by_rank(k * FEATURES, quantile_table(k * TARGET, 9))


@pytest.mark.parametrize("gradient", [content, style, histogram])
def test_oracle_17_the_networks_scale_drops_out(gradient: Callable[[float], Tensor]) -> None:
    torch.testing.assert_close(unit_norm(gradient(57.4), 5), unit_norm(gradient(1), 5), atol=1e-6, rtol=0)
    assert float((gradient(57.4) - gradient(1)).norm()) > 1, "which is no matter of course"
