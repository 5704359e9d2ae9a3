"""Files and values that are wrong, or unusual but right, at the command line with the real services."""

from __future__ import annotations

import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from painterly_client.cli.app import cli
from tests.end_to_end.kit import SIDE_PX, read_pixels, service, write_painting, write_photo


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Both services, without any weights."""
    store = {"PAINTERLY_WEIGHTS_DIR": str(tmp_path_factory.mktemp("weights"))}
    with service("preprocess", **store) as (preprocess, _), service("harmonize", **store) as (harmonize, _):
        yield {"PAINTERLY_PREPROCESS_ENDPOINT": preprocess, "PAINTERLY_HARMONIZE_ENDPOINT": harmonize}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_photo(Path("photo.png"))
    write_painting(Path("painting.png"))
    write_painting(Path("composite.png"))
    write_mask(Path("mask.png"), (30, 60))


def write_mask(path: Path, rows: tuple[int, int], side_px: int = SIDE_PX) -> None:
    mask = np.zeros((side_px, side_px), dtype=np.uint8)
    mask[slice(*rows), slice(*rows)] = 255
    Image.fromarray(mask).save(path)


def run(endpoints: dict[str, str], *arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments, "--json"], env=endpoints, prog_name="painterly")


def refusal(outcome: Result) -> tuple[str, str]:
    """Reason and field of an error that ended a command as bad input, without a result or a traceback."""
    assert outcome.exit_code == 2, outcome.output
    assert "Traceback" not in outcome.output
    assert not Path("out.png").exists()
    error = json.loads(outcome.stdout)["error"]
    assert error["metadata"]["field"] in outcome.stderr
    return error["reason"], error["metadata"]["field"]


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT", b"IEND")
    framed = (struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def encoded(mode: str, image_format: str, size: tuple[int, int] = (SIDE_PX, SIDE_PX)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(buffer, image_format)
    return buffer.getvalue()


BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "not an image": (lambda: b"no picture at all", "IMAGE_UNDECODABLE"),
    "truncated JPEG": (lambda: encoded("RGB", "JPEG")[:1500], "IMAGE_UNDECODABLE"),
    "truncated PNG": (lambda: encoded("RGB", "PNG")[:2000], "IMAGE_UNDECODABLE"),
    "zero bytes": (lambda: b"", "FIELD_REQUIRED"),
    "1x1": (lambda: encoded("RGB", "PNG", (1, 1)), "IMAGE_SIZE_OUT_OF_RANGE"),
    "20000x20000 header": (lambda: png_header(20_000, 20_000), "IMAGE_SIZE_OUT_OF_RANGE"),
}
FROM_FILES = ("harmonize", "--composite", "composite.png", "--mask", "mask.png", "painting.png", "-o", "out.png")


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("field", ["photo", "painting"])
def test_a_broken_file_is_refused_by_the_preprocess_service(endpoints: dict[str, str], field: str, kind: str) -> None:
    make, reason = BROKEN[kind]
    Path(f"{field}.png").write_bytes(make())
    assert refusal(run(endpoints, "harmonize", "photo.png", "painting.png", "-o", "out.png")) == (reason, field)


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("field", ["composite", "mask", "painting"])
def test_a_broken_file_is_refused_by_the_harmonize_service(endpoints: dict[str, str], field: str, kind: str) -> None:
    make, reason = BROKEN[kind]
    Path(f"{field}.png").write_bytes(make())
    assert refusal(run(endpoints, *FROM_FILES)) == (reason, field)


@pytest.mark.parametrize(
    ("rows", "side_px", "reason"),
    [((0, 0), SIDE_PX, "MASK_EMPTY"), ((0, SIDE_PX), SIDE_PX, "MASK_FULL"), ((3, 9), 80, "IMAGE_SIZE_MISMATCH")],
)
def test_a_mask_that_cannot_be_worked_with_is_refused(
    endpoints: dict[str, str], rows: tuple[int, int], side_px: int, reason: str
) -> None:
    write_mask(Path("mask.png"), rows, side_px)
    assert refusal(run(endpoints, *FROM_FILES)) == (reason, "mask")


def test_a_dilated_mask_without_the_mask_is_refused(endpoints: dict[str, str]) -> None:
    write_mask(Path("dilated.png"), (0, 20))
    outcome = run(endpoints, *FROM_FILES, "--dilated-mask", "dilated.png")
    assert refusal(outcome) == ("MASK_NOT_CONTAINED", "dilated_mask")


def test_a_thing_outside_the_painting_is_refused(endpoints: dict[str, str]) -> None:
    outcome = run(endpoints, "harmonize", "photo.png", "painting.png", "-o", "out.png", "--at=-1,-1", "--height", "0.2")
    assert refusal(outcome) == ("ELEMENT_OUTSIDE_PAINTING", "placement")


@pytest.mark.parametrize(
    ("parameters", "reason", "field"),
    [
        ({"pass1": {"iteration_count": 0}}, "FIELD_OUT_OF_RANGE", "parameters.pass1.iteration_count"),
        ({"pass1": {"content_weight": float("nan")}}, "FIELD_OUT_OF_RANGE", "parameters.pass1.content_weight"),
        ({"pass2": {"ring_radius_cells": 9}}, "FIELD_OUT_OF_RANGE", "parameters.pass2.ring_radius_cells"),
        ({"stylization_level": 11}, "FIELD_OUT_OF_RANGE", "parameters.stylization_level"),
    ],
)
def test_a_parameter_out_of_range_is_refused(
    endpoints: dict[str, str], parameters: dict[str, object], reason: str, field: str
) -> None:
    Path("parameters.json").write_text(json.dumps(parameters))
    assert refusal(run(endpoints, *FROM_FILES, "--parameters", "parameters.json")) == (reason, field)


@pytest.mark.parametrize(
    "flags",
    [
        ("--method", "magic"),
        ("--preset", "best"),
        ("--network", "vgg13"),
        ("--level", "nan"),
        ("--level", "0"),
        ("--height", "inf"),
        ("--rotate", "nan"),
        ("--at", "nan,0.5"),
        ("--size", "63"),
    ],
)
def test_a_wrong_flag_is_a_usage_error_that_names_it(endpoints: dict[str, str], flags: tuple[str, str]) -> None:
    outcome = run(endpoints, "harmonize", "photo.png", "painting.png", "-o", "out.png", *flags)
    assert outcome.exit_code == 2
    assert flags[0] in outcome.stderr
    assert not Path("out.png").exists()


def test_missing_weights_say_how_to_get_them(endpoints: dict[str, str]) -> None:
    outcome = run(endpoints, *FROM_FILES)
    assert outcome.exit_code == 4
    assert json.loads(outcome.stdout)["error"]["reason"] == "WEIGHTS_MISSING"
    assert "painterly weights fetch vgg16" in outcome.stderr


def sixteen_bit() -> Image.Image:
    return Image.fromarray((np.arange(SIDE_PX * SIDE_PX, dtype=np.uint16) * 7).reshape(SIDE_PX, SIDE_PX))


def turned() -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return Image.effect_noise((SIDE_PX, 64), 60).convert("RGB"), exif


@pytest.mark.parametrize("kind", ["CMYK", "P", "L", "LA", "RGBA", "1", "16 bit", "EXIF"])
def test_an_unusual_painting_is_welcome(endpoints: dict[str, str], kind: str) -> None:
    """And is the same picture to both services: outside the element the composite is the painting."""
    painting, size = Path("unusual.tif" if kind == "CMYK" else "unusual.png"), (SIDE_PX, SIDE_PX)
    if kind == "16 bit":
        sixteen_bit().save(painting)
    elif kind == "EXIF":
        picture, exif = turned()
        painting, size = Path("unusual.jpg"), (64, SIDE_PX)
        picture.save(painting, quality=95, exif=exif)
    else:
        Image.effect_noise(size, 60).convert(kind).save(painting)
    flags = ("--mask-out", "m.png", "--at", "0.5,0.5", "--height", "0.4")
    outcome = run(endpoints, "compose", "photo.png", str(painting), "-o", "c.png", *flags)
    assert outcome.exit_code == 0, outcome.output
    composite = read_pixels(Path("c.png"))
    assert composite.shape == (size[1], size[0], 3)
    # The harmonize service reads the same sizes, and only then misses its weights.
    again = run(endpoints, "harmonize", "--composite", "c.png", "--mask", "m.png", str(painting), "-o", "out.png")
    assert json.loads(again.stdout)["error"]["reason"] == "WEIGHTS_MISSING"
