"""Scripted streams, small pictures, and two ways to run the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from google.protobuf.message import Message
from PIL import Image

from painterly.errors import ServiceError
from painterly.v1 import harmonize_service_pb2 as pb
from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as preprocess_pb
from painterly_client.cli.app import cli
from tests.client.kit import Stream, Unary, queued


def picture(color: str = "teal", image_format: str = "PNG", size: tuple[int, int] = (24, 18)) -> bytes:
    """An encoded picture of one color."""
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, image_format)
    return buffer.getvalue()


COMPOSITE, MASK, DILATED, ELEMENT = (picture(color) for color in ("orange", "white", "gray", "red"))
PASS1, PASS2, RESULT = (picture(color) for color in ("olive", "navy", "purple"))
PREVIEW = picture("pink", "JPEG")


def write_pictures(folder: Path, *names: str) -> list[Path]:
    """Write a picture of its own under each name."""
    paths = [folder / name for name in names]
    for number, path in enumerate(paths):
        path.write_bytes(picture(f"rgb({number}, 90, 160)"))
    return paths


def progress(stage: pb.Stage.ValueType, iteration: int, count: int = 4, **losses: float) -> pb.HarmonizeResponse:
    """A progress event."""
    event = pb.ProgressEvent(stage=stage, iteration=iteration, iteration_count=count, losses=pb.Losses(**losses))
    return pb.HarmonizeResponse(progress=event)


def frame(
    stage: pb.Stage.ValueType, iteration: int, data: bytes = PREVIEW, *, last: bool = False
) -> pb.HarmonizeResponse:
    """A frame event; ``last`` makes it the stage's result."""
    image_format = image_pb2.IMAGE_FORMAT_PNG if last else image_pb2.IMAGE_FORMAT_JPEG
    image = image_pb2.Image(data=data, format=image_format)
    return pb.HarmonizeResponse(
        frame=pb.FrameEvent(stage=stage, iteration=iteration, image=image, is_stage_result=last)
    )


def result(data: bytes = RESULT) -> pb.HarmonizeResponse:
    """A result event with everything in it."""
    event = pb.ResultEvent(
        image=image_pb2.Image(data=data, format=image_pb2.IMAGE_FORMAT_PNG, width_px=24, height_px=18),
        parameters_used=pb.HarmonizeParameters(
            preset=pb.PRESET_DRAFT,
            network=pb.NETWORK_VGG16,
            stylization_level=7,
            seed=3,
            pass1=pb.Pass1Parameters(iteration_count=4, style_weight=100),
            pass2=pb.Pass2Parameters(iteration_count=4),
        ),
        painting_noise=0.125,
        pass2_weights=pb.Pass2Weights(content=1, style=5, histogram=0.5, total_variation=2),
        changed_pixel_count=321,
        blend_pixel_count=456,
        working_width_px=48,
        working_height_px=36,
        device="cpu",
        weights_checksum="sha256:" + "ab" * 32,
        stylization_level=pb.StylizationLevel(
            value=7, is_estimated=True, reasons=["strong colors (+1.5)", "soft contours (-0.5)"]
        ),
    )
    event.stage_times.add(stage=pb.STAGE_PASS1).duration.FromMilliseconds(1500)
    event.stage_times.add(stage=pb.STAGE_PASS2).duration.FromMilliseconds(2500)
    return pb.HarmonizeResponse(result=event)


WHOLE_RUN = (
    queued(1),
    queued(0),
    progress(pb.STAGE_PASS1, 0),
    progress(pb.STAGE_PASS1, 1, content=10.0, style=1000.0, total_variation=3.0),
    frame(pb.STAGE_PASS1, 1),
    progress(pb.STAGE_PASS1, 4, content=20.0, style=100.0, total_variation=2.0),
    frame(pb.STAGE_PASS1, 4, PASS1, last=True),
    progress(pb.STAGE_PASS2, 0),
    progress(pb.STAGE_PASS2, 4, content=30.0, style=50.0, histogram=0.25, total_variation=1.0),
    frame(pb.STAGE_PASS2, 4, PASS2, last=True),
    progress(pb.STAGE_POSTPROCESSING, 1, 1),
    result(),
)


def play(*responses: Message, then: Callable[[], None] | ServiceError | None = None) -> Stream:
    """A handler that streams responses and then raises an error or calls something."""

    async def handler(request: Any, context: Any) -> AsyncGenerator[Any, None]:
        for response in responses:
            yield response
        if isinstance(then, ServiceError):
            raise then
        if then:
            then()

    return handler


def answer(response: Any) -> Unary:
    """A handler of one fixed answer."""

    async def handler(request: Any, context: Any) -> Any:
        return response

    return handler


def prepare_answer() -> preprocess_pb.PrepareResponse:
    """What the preprocess service says to a photo and a painting."""
    return preprocess_pb.PrepareResponse(
        composite=image_pb2.Image(data=COMPOSITE),
        mask=image_pb2.Image(data=MASK),
        dilated_mask=image_pb2.Image(data=DILATED),
        element=image_pb2.Image(data=ELEMENT),
        method_used=preprocess_pb.BACKGROUND_REMOVAL_METHOD_GRABCUT,
        method_reason="There are <no> weights.",
        placement_used=preprocess_pb.Placement(
            center_x_fraction=0.25, center_y_fraction=0.5, height_fraction=0.5, rotation_degrees=0
        ),
        dilation_used=preprocess_pb.MaskDilation(kernel_size_px=3),
    )


def run(*arguments: object) -> Result:
    """Run ``painterly`` in this process."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="painterly")


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Run ``painterly`` in a process of its own, with pipes."""
    command = [sys.executable, "-m", "painterly_client.cli", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def one_json(text: str) -> Any:
    """The one JSON object that standard output holds, and nothing else."""
    assert text.count("\n") == 1
    return json.loads(text)


def lines_about(stderr: str, beginning: str) -> list[str]:
    """What follows ``beginning: `` in the lines that start with it."""
    return [line.removeprefix(f"{beginning}: ") for line in stderr.splitlines() if line.startswith(f"{beginning}: ")]
