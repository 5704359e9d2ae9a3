"""The level of known models and pictures, and how little a file's size and quality move it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from painterly_harmonize.algorithm.level_estimate import WORDS, LevelModel, Term, estimate_level, level_model
from painterly_harmonize.algorithm.level_features import LevelFeatures

PAINTINGS = sorted((Path(__file__).parents[3] / "examples/paintings").glob("*.jpg"))


def read(name: str) -> Image.Image:
    path = next(path for path in PAINTINGS if path.stem.startswith(name))
    with Image.open(path) as image:
        return image.convert("RGB")


def level_of(image: Image.Image) -> float:
    pixels = torch.from_numpy(np.asarray(image, dtype=np.float32) / 255)
    return estimate_level(pixels.permute(2, 0, 1)[None].contiguous()).level


def again(image: Image.Image, *, quality: int = 95, scale: float = 1.0) -> Image.Image:
    """The picture at another size, stored as JPEG of a quality and read again."""
    size = (round(image.width * scale), round(image.height * scale))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


MODEL = LevelModel(
    average=4.0,
    terms={
        "chroma": Term(mean=0.2, deviation=0.1, weight=0.5),
        "contour_hardness": Term(mean=0.5, deviation=0.1, weight=2.0),
        "shadow_lightness": Term(mean=0.3, deviation=0.2, weight=0.1),
    },
)


@pytest.mark.parametrize(
    ("chroma", "hardness", "level", "reasons"),
    [
        (0.2, 0.5, 4.0, ("in every measure like an average painting",)),
        (0.3, 0.5, 4.5, ("strong colors (+0.5)",)),
        (0.1, 0.6, 5.5, ("hard contours (+2.0)", "muted colors (-0.5)")),
        # What is far off counts as two and a half deviations; the level stays within its range.
        (0.2, 9.0, 9.0, ("hard contours (+5.0)",)),
        (9.0, 9.0, 10.0, ("hard contours (+5.0)", "strong colors (+1.2)")),
        (0.2, -9.0, 1.0, ("soft contours (-5.0)",)),
    ],
)
def test_the_level_is_the_average_and_its_terms(
    chroma: float, hardness: float, level: float, reasons: tuple[str, ...]
) -> None:
    estimate = MODEL.estimate({"chroma": chroma, "contour_hardness": hardness, "shadow_lightness": 0.3})
    assert (estimate.level, estimate.reasons) == (level, reasons)


def test_the_calibrated_model_has_words_for_each_of_its_measurements() -> None:
    model = level_model()
    assert set(model.terms) == set(WORDS) <= set(LevelFeatures.__dataclass_fields__)
    assert all(term.deviation > 0 for term in model.terms.values())


@pytest.mark.parametrize(
    "picture",
    [
        torch.zeros(1, 3, 64, 64),
        torch.ones(1, 3, 64, 64),
        torch.rand(1, 3, 300, 400, generator=torch.Generator().manual_seed(1)),
        torch.eye(128).expand(1, 3, 128, 128),
        torch.tensor([1.0, 0, 1]).view(1, 3, 1, 1).expand(1, 3, 1, 64),
    ],
    ids=["black", "white", "noise", "line", "magenta"],
)
def test_any_picture_has_a_level_and_reasons(picture: Tensor) -> None:
    estimate = estimate_level(picture)
    assert 1 <= estimate.level <= 10
    assert 1 <= len(estimate.reasons) <= 3
    assert estimate_level(picture.clone()) == estimate


@pytest.mark.parametrize("path", PAINTINGS, ids=lambda path: path.stem)
def test_size_and_quality_of_the_file_hardly_move_the_level(path: Path) -> None:
    image = read(path.stem)
    level = level_of(image)
    assert level_of(again(image, quality=50)) == pytest.approx(level, abs=0.21)
    assert level_of(again(image, scale=2)) == pytest.approx(level, abs=0.11)
    assert level_of(again(image, scale=0.75)) == pytest.approx(level, abs=0.31)
    assert level_of(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)) == pytest.approx(level, abs=0.11)


def test_the_example_paintings_are_in_order() -> None:
    print_, pond, ramparts, street = (level_of(read(name)) for name in ("hokusai", "cassatt", "bazille", "van_gogh"))
    assert 3 < print_ < pond < ramparts < street < 7


def test_a_darkened_and_a_grayed_painting_are_taken_for_more_realistic_ones() -> None:
    image = read("van_gogh")
    level = level_of(image)
    assert level_of(Image.eval(image, lambda value: value // 3)) < level - 1
    assert level_of(image.convert("L").convert("RGB")) < level - 1
