"""Gram matrices, style, content and total variation: oracles 14 to 16 and 25, and autograd for every gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from painterly_harmonize.algorithm.losses import (
    content_gradient,
    content_loss,
    gram_matrix,
    histogram_loss,
    style_gradient,
    style_loss,
    total_variation,
    total_variation_gradient,
)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def autograd(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    leaf = at.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(loss(leaf), leaf)
    return gradient


def central_differences(loss: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-5) -> Tensor:
    gradient = torch.zeros_like(at)
    for index in range(at.numel()):
        offset = torch.zeros_like(at).flatten()
        offset[index] = step
        offset = offset.view_as(at)
        gradient.view(-1)[index] = (loss(at + offset) - loss(at - offset)) / (2 * step)
    return gradient


def test_oracle_14_gram_matrix_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    assert (gram_matrix(features, 2) * 4).tolist() == [[5, 11], [11, 25]]
    assert gram_matrix(features, 2).tolist() == [[1.25, 2.75], [2.75, 6.25]]


def test_oracle_15_gram_matrix_knows_no_positions() -> None:
    features = random(4, 9)
    gram = gram_matrix(features, 9)
    permutation = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(gram_matrix(features[:, permutation], 9), gram, atol=1e-12, rtol=0)
    torch.testing.assert_close(gram_matrix(features.repeat(1, 2), 18), gram, atol=1e-12, rtol=0)


def test_oracle_15_gram_matrix_is_quadratic_and_its_loss_quartic() -> None:
    features, k = random(4, 9), 3.0
    gram, nothing = gram_matrix(features, 9), torch.zeros(4, 4, dtype=torch.float64)
    torch.testing.assert_close(gram_matrix(k * features, 9), k**2 * gram)
    torch.testing.assert_close(style_loss(k**2 * gram, nothing), k**4 * style_loss(gram, nothing))
    assert float(style_loss(gram, nothing)) > 0


def test_oracle_16_style_gradient_equals_central_differences() -> None:
    features, mask, target = random(3, 7), random(7, seed=1).sigmoid(), random(3, 3, seed=2)
    target = target + target.T
    area = float(mask.sum())

    def loss(x: Tensor) -> Tensor:
        return style_loss(gram_matrix(x * mask, area), target)

    masked = features * mask
    gradient = style_gradient(masked, mask, area, gram_matrix(masked, area), target)
    assert float((gradient - central_differences(loss, features)).abs().max()) < 1e-8
    torch.testing.assert_close(gradient, autograd(loss, features))


def test_style_loss_by_hand() -> None:
    # Off by 1 and 2 in a 2×2 matrix: (1 + 4) / 2².
    gram = torch.tensor([[1.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert float(style_loss(gram, torch.zeros_like(gram))) == 1.25
    assert float(style_loss(gram, gram)) == 0


def test_content_loss_by_hand() -> None:
    features = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    target, mask = torch.zeros_like(features), torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    # (1·1 + 0.5·4) / (2 channels · 6 positions), the positions outside the features' region counted too.
    assert float(content_loss(features, target, mask, 6)) == pytest.approx(3 / 12)
    assert content_gradient(features, target, mask, 6).tolist() == [[2 / 12, 2 / 12, 0], [0, 0, 0]]


def test_content_gradient_equals_autograd() -> None:
    features, target, mask = random(4, 6), random(4, 6, seed=1), random(6, seed=2).sigmoid()
    expected = autograd(lambda x: content_loss(x, target, mask, 11), features)
    torch.testing.assert_close(content_gradient(features, target, mask, 11), expected)


def test_histogram_loss_by_hand() -> None:
    values, remapped = torch.tensor([[1.0, 4.0]]), torch.tensor([[0.0, 2.0]])
    assert float(histogram_loss(values, remapped)) == 2.5
    torch.testing.assert_close(autograd(lambda x: histogram_loss(x, remapped), values), values - remapped)


@pytest.mark.parametrize("partial", [False, True])
def test_oracle_25_a_constant_picture_has_no_variation(partial: bool) -> None:
    image = torch.full((1, 3, 4, 5), 0.7, dtype=torch.float64)
    assert float(total_variation(image, partial=partial)) == 0
    assert not total_variation_gradient(image, partial=partial).any()


@pytest.mark.parametrize(
    ("row", "column", "partial", "expected"), [(1, 1, False, 4), (1, 1, True, 4), (2, 2, True, 0), (2, 2, False, 2)]
)
def test_oracle_25_variation_of_a_single_pixel(row: int, column: int, partial: bool, expected: float) -> None:
    image = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    image[0, 0, row, column] = 1
    assert 2 * float(total_variation(image, partial=partial)) == expected


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("size", [(4, 5), (1, 5), (4, 1)])
def test_total_variation_gradient_equals_autograd(size: tuple[int, int], partial: bool) -> None:
    image = random(1, 3, *size)
    expected = autograd(lambda x: total_variation(x, partial=partial), image)
    torch.testing.assert_close(total_variation_gradient(image, partial=partial), expected)


def test_partial_variation_leaves_out_the_last_row_and_column() -> None:
    image = random(1, 2, 4, 5)
    inner = image[..., :-1, :-1]
    dx, dy = image[..., :-1, 1:] - inner, image[..., 1:, :-1] - inner
    expected = 0.5 * (dx.square() + dy.square()).sum()
    torch.testing.assert_close(total_variation(image, partial=True), expected)
