"""The pictures to measure with: folders of prepared cases, the project's examples, or drawn ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from painterly.service_error import ServiceError
from painterly.v1 import image_pb2
from painterly_harmonize.algorithm.errors import AlgorithmError
from painterly_harmonize.algorithm.masks import resize
from painterly_harmonize.algorithm.stage import Inputs
from painterly_harmonize.benchmark.errors import BAD_INPUT, BenchmarkError
from painterly_harmonize.images import to_tensor
from painterly_images import DecodeMode, decode

# Beside the packages in a checkout; an installation has none.
EXAMPLES = Path(__file__).parents[3] / "examples"
_EXAMPLE_PAIRS = (
    ("coffee", "hokusai_great_wave"),
    ("astronaut", "van_gogh_village_street_auvers"),
    ("rocket", "cassatt_summertime"),
)
_ELEMENT_AREA = 0.1
_DRAWN_LONG_SIDE_PX, _DRAWN_SHORT_SIDE_PX = 512, 384


@dataclass(frozen=True, kw_only=True)
class Case:
    """Where a composite comes from.

    With ``mask`` the ``photo`` is a whole composite and the mask its element's. Without, the element is an ellipse in
    the painting's middle, over ``area`` of its pixels (a share), that shows the photo there. Without files the
    pictures are drawn.
    """

    name: str
    painting: Path | None = None
    photo: Path | None = None
    mask: Path | None = None
    area: float = _ELEMENT_AREA

    def with_area(self, area: float) -> Case:
        """The same pictures with an ellipse of ``area`` as the element."""
        return replace(self, name=f"{self.name}, {area:.0%}", mask=None, area=area)


def case_of_folder(folder: Path) -> Case:
    """The case in a folder with pictures named ``composite``, ``painting`` and ``mask``, of any format.

    Raises: BenchmarkError.
    """
    found = {name: sorted(folder.glob(f"{name}.*")) for name in ("painting", "composite", "mask")}
    missing = [name for name, paths in found.items() if not paths]
    if missing:
        names = ", ".join(f"{name}.png" for name in missing)
        raise BenchmarkError(f"the case {folder} has no {names} (or another format); put it there", BAD_INPUT)
    painting, photo, mask = (paths[0] for paths in found.values())
    return Case(name=folder.resolve().name, painting=painting, photo=photo, mask=mask)


def default_cases(examples: Path = EXAMPLES) -> list[Case]:
    """The project's example pictures where they are, else a drawn one."""
    pairs = [
        (photo, examples / "photos" / f"{photo}.jpg", examples / "paintings" / f"{painting}.jpg")
        for photo, painting in _EXAMPLE_PAIRS
    ]
    cases = [
        Case(name=name, photo=photo, painting=painting)
        for name, photo, painting in pairs
        if photo.is_file() and painting.is_file()
    ]
    return cases or [Case(name="drawn")]


def load_case(case: Case, long_side: int, device: torch.device) -> Inputs:
    """A case's pictures with a long side of exactly ``long_side`` px, on the device; the loose mask is left out.

    Raises: BenchmarkError.
    """
    try:
        painting = _painting(case)
        height, width = _size(painting, long_side)
        painting = _resized(painting, (height, width)).to(device)
        photo = _resized(_photo(case), (height, width)).to(device)
        if case.mask is None:
            mask = ellipse(height, width, case.area).to(device)
            photo = torch.where(mask > 0, photo, painting)
        else:
            mask = (_resized(_decoded(case.mask, "L"), (height, width)) >= 0.5).float().to(device)
        return Inputs(composite=photo, painting=painting, mask=mask)
    except AlgorithmError as error:
        raise BenchmarkError(f"the case {case.name} at {long_side} px: {error}", BAD_INPUT) from error


def ellipse(height: int, width: int, area: float) -> Tensor:
    """A 1×1×H×W mask: an ellipse in the middle, of the picture's proportions, over about ``area`` of its pixels."""
    y = (torch.arange(height) + 0.5) / height * 2 - 1
    x = (torch.arange(width) + 0.5) / width * 2 - 1
    inside = y[:, None].square() + x[None, :].square() < 4 * area / math.pi
    return inside[None, None].float()


def _painting(case: Case) -> Tensor:
    return _drawn(seed=0) if case.painting is None else _decoded(case.painting, "RGB")


def _photo(case: Case) -> Tensor:
    if case.photo is None:
        return _drawn(seed=1)
    photo = _decoded(case.photo, "RGB")
    # Where the element of a composite gives way to an ellipse, the mirror image differs from the painting everywhere.
    return photo.flip(-1) if case.mask is None else photo


def _decoded(path: Path, mode: DecodeMode) -> Tensor:
    try:
        pixels = decode(image_pb2.Image(data=path.read_bytes()), str(path), mode)
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error.strerror}", BAD_INPUT) from error
    except ServiceError as error:
        raise BenchmarkError(error.message, BAD_INPUT) from error
    return to_tensor(pixels if pixels.ndim == 3 else pixels[:, :, None], torch.device("cpu"))


def _drawn(seed: int) -> Tensor:
    """Smooth shapes with some grain, 1×3×H×W in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    size = (_DRAWN_SHORT_SIDE_PX, _DRAWN_LONG_SIDE_PX)
    coarse = torch.rand(1, 3, 10, 13, generator=generator)
    smooth = functional.interpolate(coarse, size, mode="bicubic", align_corners=True)
    return (smooth + 0.02 * torch.randn(1, 3, *size, generator=generator)).clamp(0, 1)


def _size(image: Tensor, long_side: int) -> tuple[int, int]:
    height, width = image.shape[-2:]
    longest = max(height, width)
    return max(1, round(height * long_side / longest)), max(1, round(width * long_side / longest))


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """To whole 8-bit levels, as a file would hold them."""
    return (resize(image, size).clamp(0, 1) * 255).round() / 255
