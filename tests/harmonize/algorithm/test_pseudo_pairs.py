"""Pairs with a known answer: what they are made of, what is measured of them, and that a real run finds one back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from painterly_harmonize.algorithm.vgg import FeatureNetwork
from tests.benchmarks.paper_case import preset_params
from tests.benchmarks.pseudo_pairs import harmonized, make_pair, psnr, ssim

WAVE = Path(__file__).parents[3] / "examples" / "paintings" / "hokusai_great_wave.jpg"


def test_a_pair_follows_from_name_and_number() -> None:
    first, again, other = (make_pair(WAVE, number, 192) for number in (0, 0, 1))
    assert np.array_equal(first.composite, again.composite)
    assert not np.array_equal(first.mask, other.mask)
    assert np.array_equal(first.composite[~first.mask], first.painting[~first.mask])
    assert 0.04 < first.mask.mean() < 0.16
    # The painting lends nothing where the answer is, nor right beside it.
    style = first.inputs().style_mask
    assert style is not None
    assert not bool((style[0, 0].numpy()[first.mask] > 0).any())


def test_psnr_of_a_constant_difference() -> None:
    picture = np.full((20, 30, 3), 100, np.uint8)
    mask = np.arange(30)[None].repeat(20, 0) < 10
    off = picture.copy()
    off[mask] += 5
    off[~mask] += 100
    assert psnr(off, picture, mask) == pytest.approx(20 * math.log10(255 / 5))


def test_ssim_of_plain_and_of_equal_pictures() -> None:
    generator = np.random.default_rng(1)
    noise = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    everywhere = np.ones((40, 40), bool)
    assert ssim(noise, noise, everywhere) == pytest.approx(1)
    dark, light = (np.full((40, 40, 3), level, np.uint8) for level in (60, 90))
    c1 = (0.01 * 255) ** 2
    assert ssim(dark, light, everywhere) == pytest.approx((2 * 60 * 90 + c1) / (60**2 + 90**2 + c1))
    # Two unrelated noises share no structure.
    assert abs(ssim(noise, noise[::-1].copy(), everywhere)) < 0.1


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.timeout(600)
def test_a_part_of_a_painting_that_looks_like_a_photo_is_found_back(vgg16: FeatureNetwork) -> None:
    pair = make_pair(WAVE, 0, 384)
    result = harmonized(pair, preset_params("draft"), vgg16)
    assert psnr(result, pair.painting, pair.mask) > psnr(pair.composite, pair.painting, pair.mask) + 1
    assert ssim(result, pair.painting, pair.mask) > ssim(pair.composite, pair.painting, pair.mask)
