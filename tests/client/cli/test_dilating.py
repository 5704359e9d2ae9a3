"""``dilate``."""

from __future__ import annotations

from pathlib import Path

from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from tests.client.cli.kit import DILATED, MASK, answer, one_json, run, write_pictures
from tests.client.kit import Preprocess


def test_every_flag_of_dilate(endpoint: str, preprocess: Preprocess) -> None:
    response = pb.DilateMaskResponse(
        dilated_mask=image_pb2.Image(data=DILATED), feathered_mask=image_pb2.Image(data=MASK)
    )
    preprocess.handlers["DilateMask"] = answer(response)
    (mask,) = write_pictures(Path(), "mask.png")
    flags = "--rule classic --shape ellipse --kernel 20 --iterations 2 --fill-holes --feather 8 --feather-out f.png"
    outcome = run("dilate", mask, "-o", "d.png", *flags.split())
    assert outcome.exit_code == 0, outcome.stderr
    assert preprocess.requests[0].dilation == pb.MaskDilation(
        kernel_size_px=20,
        rule=pb.DILATION_RULE_CLASSIC,
        kernel_shape=pb.KERNEL_SHAPE_ELLIPSE,
        iteration_count=2,
        fill_holes=True,
        feather_px=8,
    )
    assert Path("f.png").read_bytes() == MASK


def test_dilate(endpoint: str, preprocess: Preprocess) -> None:
    used = pb.MaskDilation(kernel_size_px=7)
    preprocess.handlers["DilateMask"] = answer(
        pb.DilateMaskResponse(dilated_mask=image_pb2.Image(data=DILATED), dilation_used=used)
    )
    (mask,) = write_pictures(Path(), "mask.png")
    outcome = run("dilate", mask, "-o", "d.png", "--kernel", "7", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert Path("d.png").read_bytes() == DILATED
    assert preprocess.requests[0].dilation == used
    assert one_json(outcome.stdout)["dilation_used"] == {
        "kernel_size_px": 7,
        "omit_mask_union": False,
        "fill_holes": False,
    }
