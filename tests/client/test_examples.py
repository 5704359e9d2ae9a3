"""The examples run as they are, each in a process of its own, against endpoints given as arguments."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import preprocess_service_pb2 as preprocess_pb
from tests.client.kit import Harmonize, Preprocess, queued, result, serving

EXAMPLES = Path(__file__).parents[2] / "client" / "examples"


def run(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    paths = {name: tmp_path / f"{name}.jpg" for name in ("photo", "other", "bad", "painting", "composite", "mask")}
    for name, path in paths.items():
        path.write_bytes(name.encode())
    return paths


async def preparing(request: Any, context: Any) -> preprocess_pb.PrepareResponse:
    if request.photo.data == b"bad":
        raise ServiceError(error_reason_pb2.ERROR_REASON_IMAGE_UNDECODABLE, "photo: not an image", field="photo")
    return preprocess_pb.PrepareResponse(
        composite=request.photo,
        mask=image_pb2.Image(data=b"mask"),
        dilated_mask=image_pb2.Image(data=b"dilated"),
        method_used=preprocess_pb.BACKGROUND_REMOVAL_METHOD_GRABCUT,
        method_reason="no weights",
    )


async def harmonizing(request: Any, context: Any) -> AsyncGenerator[Any, None]:
    yield queued(0)
    yield pb.HarmonizeResponse(
        progress=pb.ProgressEvent(
            stage=pb.STAGE_PASS1, iteration=3, iteration_count=9, losses=pb.Losses(content=0.5, style=2)
        )
    )
    frame = image_pb2.Image(data=b"frame", format=image_pb2.IMAGE_FORMAT_JPEG)
    yield pb.HarmonizeResponse(frame=pb.FrameEvent(stage=pb.STAGE_PASS1, iteration=3, image=frame))
    yield result(request.composite.data + b" over " + request.painting.data)


def test_harmonize_files(pictures: dict[str, Path], tmp_path: Path) -> None:
    servicer, output = Harmonize(harmonizing), tmp_path / "result.png"
    with serving(servicer) as endpoint:
        files = [pictures["composite"], pictures["painting"], pictures["mask"], output]
        done = run("harmonize_files.py", *files, "--harmonize-endpoint", endpoint, "--preset", "full")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert output.read_bytes() == b"composite over painting"
    assert servicer.requests[0].mask.data == b"mask"
    assert servicer.requests[0].parameters.preset == pb.PRESET_FULL


def test_stream_frames(pictures: dict[str, Path], tmp_path: Path) -> None:
    preprocess, harmonize, folder = Preprocess(Prepare=preparing), Harmonize(harmonizing), tmp_path / "frames"
    with serving(preprocess, harmonize) as endpoint:
        endpoints = ["--preprocess-endpoint", endpoint, "--harmonize-endpoint", endpoint]
        options = ["--center", 0.25, 0.75, "--height", 0.3, "--frame-interval", 0.5]
        done = run("stream_frames.py", pictures["photo"], pictures["painting"], folder, *options, *endpoints)
    assert (done.returncode, done.stderr) == (0, "")
    assert "pass1 3/9  content 0.5, style 2\n" in done.stdout
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "pass1-00003.jpeg": b"frame",
        "result.png": b"photo over painting",
    }
    assert preprocess.requests[0].placement == preprocess_pb.Placement(
        center_x_fraction=0.25, center_y_fraction=0.75, height_fraction=0.3
    )
    assert harmonize.requests[0].dilated_mask.data == b"dilated"
    assert harmonize.requests[0].stream.frame_interval.ToMilliseconds() == 500


def test_stream_frames_tells_what_to_change(pictures: dict[str, Path], tmp_path: Path) -> None:
    with serving(Preprocess(Prepare=preparing)) as endpoint:
        files = [pictures["bad"], pictures["painting"], tmp_path / "frames"]
        done = run("stream_frames.py", *files, "--preprocess-endpoint", endpoint)
    assert (done.returncode, done.stderr) == (1, "please change photo: photo: not an image\n")


def test_harmonize_many(pictures: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with serving(Preprocess(Prepare=preparing), Harmonize(harmonizing)) as endpoint:
        endpoints = ["--preprocess-endpoint", endpoint, "--harmonize-endpoint", endpoint]
        photos = [pictures["photo"], pictures["bad"], pictures["other"]]
        done = run("harmonize_many.py", pictures["painting"], folder, *photos, *endpoints)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.splitlines() == [
        f"{photos[0]}: {folder / 'photo.png'}",
        f"{photos[1]}: photo: not an image",
        f"{photos[2]}: {folder / 'other.png'}",
    ]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "photo.png": b"photo over painting",
        "other.png": b"other over painting",
    }
