"""Measurements of pictures whose answers are known, and how little they depend on a file's size and quality."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from painterly_harmonize.algorithm.color import lab_to_rgb, rgb_to_lab
from painterly_harmonize.algorithm.level_features import CANONICAL_SIDE_PX, canonical, measure

PAINTINGS = Path(__file__).parents[3] / "examples/paintings"


def lab_picture(lightness: Tensor, a: Tensor | float = 0.0, b: Tensor | float = 0.0) -> Tensor:
    """RGB 1×3×H×W of CIELAB planes H×W."""
    planes = [torch.as_tensor(plane, dtype=torch.float32).expand(lightness.shape) for plane in (lightness, a, b)]
    return lab_to_rgb(torch.stack(planes)[None])


def wave(length_px: float, *, size: int = 200) -> Tensor:
    """A sine along x, H×W."""
    return torch.sin(2 * math.pi * torch.arange(size) / length_px).expand(size, size)


def painting_file(name: str) -> Image.Image:
    with Image.open(next(PAINTINGS.glob(f"{name}*"))) as image:
        return image.convert("RGB")


def tensor_of(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 255).permute(2, 0, 1)[None].contiguous()


def test_a_flat_gray_has_no_strokes_no_edges_and_no_color() -> None:
    found = measure(lab_picture(torch.full((70, 90), 40.0)))
    assert found.shadow_lightness == pytest.approx(0.4, abs=1e-4)
    assert (found.chroma, found.shadow_chroma) == pytest.approx((0, 0), abs=1e-4)
    # The logarithm of nothing but the floor of 0.1.
    assert found.color_detail == pytest.approx(-1, abs=1e-3)
    nothing = (found.color_over_light, found.texture_over_form, found.anisotropy, found.contour_hardness)
    assert nothing == pytest.approx((0, 0, 0, 0), abs=1e-3)


def test_chroma_of_a_known_color_and_of_its_shadows() -> None:
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 40, 40)
    assert measure(red).chroma == pytest.approx(1.0455, abs=1e-3)
    lightness = torch.tensor([20.0, 50, 80]).repeat_interleave(30).expand(90, 90)
    shaded = lab_picture(lightness, a=torch.where(lightness < 30, 15.0, 3.0))
    assert measure(shaded).shadow_chroma == pytest.approx(0.15, abs=1e-3)
    assert measure(shaded).chroma == pytest.approx(0.07, abs=1e-3)
    assert measure(shaded).shadow_lightness == pytest.approx(0.2, abs=1e-3)


def test_detail_of_a_wave_is_what_the_two_blurs_leave_of_it() -> None:
    # No whole number of pixels, so that all phases are met.
    length, amplitude = 20.3, 10.0
    passed = [math.exp(-2 * (math.pi * sigma / length) ** 2) for sigma in (2, 4)]
    # Half of all values of |sin| are above sin 45°.
    median = amplitude * (passed[0] - passed[1]) * math.sin(math.pi / 4)
    found = measure(lab_picture(50 + amplitude * wave(length)))
    assert found.color_detail == pytest.approx(-1, abs=0.02)
    assert found.color_over_light == pytest.approx(-1 - math.log10(median + 0.1), abs=0.03)
    colored = measure(lab_picture(torch.full((200, 200), 60.0), a=amplitude * wave(length)))
    assert colored.color_detail == pytest.approx(math.log10(median + 0.1), abs=0.02)
    assert colored.color_over_light > 1


def test_stripes_have_a_direction_and_noise_has_little() -> None:
    stripes = 50 + 20 * wave(12.0)
    assert measure(lab_picture(stripes)).anisotropy > 0.9
    assert measure(lab_picture(stripes.T)).anisotropy == pytest.approx(
        measure(lab_picture(stripes)).anisotropy, abs=1e-4
    )
    noise = torch.randn(200, 200, generator=torch.Generator().manual_seed(1))
    assert measure(lab_picture(50 + 10 * noise)).anisotropy < 0.5


def test_a_step_is_as_hard_as_its_two_blurs_say() -> None:
    height = 40.0
    step = 30 + height * (torch.arange(64) >= 32).float().expand(64, 64)

    def steepest(sigma: float) -> float:
        # Half a pixel beside the step, from one neighbor to the other.
        return height * (math.erf(1.5 / sigma / math.sqrt(2)) + math.erf(0.5 / sigma / math.sqrt(2))) / 4

    expected = math.log10(steepest(1) + 0.1) - math.log10(steepest(4) + 0.1)
    assert measure(lab_picture(step)).contour_hardness == pytest.approx(expected, abs=0.01)
    soft = 50 + 20 * wave(64.0, size=128)
    assert measure(lab_picture(soft)).contour_hardness < 0.1 < expected


def test_fine_noise_is_texture_and_broad_waves_are_form() -> None:
    noise = torch.randn(200, 200, generator=torch.Generator().manual_seed(1))
    assert measure(lab_picture(50 + 5 * noise)).texture_over_form > 0.3
    assert measure(lab_picture(50 + 20 * wave(40.0))).texture_over_form < -0.8


def test_a_picture_is_reduced_to_the_canonical_area_and_never_enlarged() -> None:
    height, width = canonical(torch.zeros(1, 3, 500, 2000)).shape[-2:]
    assert (height, width) == (CANONICAL_SIDE_PX // 2, CANONICAL_SIDE_PX * 2)
    assert canonical(torch.zeros(1, 3, 64, 80)).shape[-2:] == (64, 80)
    assert canonical(torch.zeros(1, 3, 1, 2000)).shape[-2:] == (1, 2000)


def test_the_smallest_painting_and_a_thin_one_are_measured() -> None:
    for height, width in ((64, 64), (1, 64), (64, 2)):
        picture = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(2))
        assert all(math.isfinite(value) for value in asdict(measure(picture)).values())


def test_the_same_picture_measures_the_same_and_the_picture_stays() -> None:
    picture = tensor_of(painting_file("van_gogh"))
    before = picture.clone()
    assert measure(picture) == measure(picture)
    assert torch.equal(picture, before)
    assert rgb_to_lab(picture).shape == picture.shape
