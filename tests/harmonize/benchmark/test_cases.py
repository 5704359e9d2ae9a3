"""The pictures that are measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from painterly.v1 import image_pb2
from painterly_harmonize.benchmark.cases import Case, case_of_folder, default_cases, ellipse, load_case
from painterly_harmonize.benchmark.errors import BAD_INPUT, BenchmarkError
from painterly_images import encode

CPU = torch.device("cpu")


def write(path: Path, pixels: NDArray[np.generic]) -> None:
    path.write_bytes(encode(pixels.astype(np.uint8), image_pb2.IMAGE_FORMAT_PNG).data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A case of 100×60 px: gray painting, brighter composite, an element of 40×30 px."""
    mask = np.zeros((60, 100, 3))
    mask[10:40, 20:60] = 255
    write(tmp_path / "painting.png", np.full((60, 100, 3), 100))
    write(tmp_path / "composite.png", np.where(mask > 0, 200, 100))
    write(tmp_path / "mask.png", mask)
    return tmp_path


def test_a_folder_s_pictures_are_taken_as_they_are(folder: Path) -> None:
    case = case_of_folder(folder)
    inputs = load_case(case, 100, CPU)
    assert case.name == folder.name
    assert inputs.painting.shape == (1, 3, 60, 100)
    assert int(inputs.mask.sum()) == 30 * 40
    assert bool((inputs.mask[..., 10:40, 20:60] == 1).all())
    assert inputs.composite[0, 0, 20, 30].item() == pytest.approx(200 / 255)
    assert inputs.painting[0, 0, 20, 30].item() == pytest.approx(100 / 255)


@pytest.mark.parametrize(("size", "shape"), [(80, (48, 80)), (250, (150, 250))])
def test_pictures_are_brought_to_the_size(folder: Path, size: int, shape: tuple[int, int]) -> None:
    inputs = load_case(case_of_folder(folder), size, CPU)
    assert tuple(inputs.painting.shape[-2:]) == tuple(inputs.mask.shape[-2:]) == shape
    assert float(inputs.mask.mean()) == pytest.approx(0.2, abs=0.01)
    levels = inputs.composite * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("area", [0.05, 0.1, 0.2, 0.4])
def test_an_ellipse_covers_its_area(area: float) -> None:
    assert float(ellipse(300, 400, area).mean()) == pytest.approx(area, abs=0.002)


def test_an_element_of_another_area_shows_something_else_than_the_painting(folder: Path) -> None:
    inputs = load_case(case_of_folder(folder).with_area(0.4), 100, CPU)
    assert float(inputs.mask.mean()) == pytest.approx(0.4, abs=0.01)
    outside = inputs.mask.expand(1, 3, -1, -1) == 0
    assert torch.equal(inputs.composite[outside], inputs.painting[outside])
    assert not torch.equal(inputs.composite, inputs.painting)


def test_what_a_folder_lacks_is_named(folder: Path) -> None:
    (folder / "mask.png").unlink()
    with pytest.raises(BenchmarkError, match=r"has no mask\.png") as caught:
        case_of_folder(folder)
    assert caught.value.exit_code == BAD_INPUT


def test_a_file_that_is_no_picture_is_named(folder: Path) -> None:
    (folder / "painting.png").write_text("no picture")
    with pytest.raises(BenchmarkError, match=r"painting\.png") as caught:
        load_case(case_of_folder(folder), 100, CPU)
    assert caught.value.exit_code == BAD_INPUT


def test_a_mask_that_vanishes_is_a_fault_of_the_case(folder: Path) -> None:
    write(folder / "mask.png", np.zeros((60, 100, 3)))
    with pytest.raises(BenchmarkError, match=f"the case {folder.name} at 100 px: mask: "):
        load_case(case_of_folder(folder), 100, CPU)


def test_the_example_pictures_are_the_default() -> None:
    cases = default_cases()
    assert [case.name for case in cases] == ["coffee", "astronaut", "rocket"]
    inputs = load_case(cases[0], 96, CPU)
    assert tuple(inputs.painting.shape[-2:]) == (65, 96)
    assert float(inputs.mask.mean()) == pytest.approx(0.1, abs=0.01)


def test_without_examples_pictures_are_drawn(tmp_path: Path) -> None:
    assert default_cases(tmp_path) == [Case(name="drawn")]
    inputs = load_case(Case(name="drawn"), 128, CPU)
    assert tuple(inputs.painting.shape[-2:]) == (96, 128)
    assert float(inputs.painting.std()) > 0.1
