"""``remove-background``, ``compose`` and ``dilate``."""

from __future__ import annotations

from pathlib import Path

import pytest

from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from tests.client.cli.kit import COMPOSITE, DILATED, ELEMENT, MASK, answer, one_json, run, write_pictures
from tests.client.kit import Preprocess


def test_remove_background(endpoint: str, preprocess: Preprocess) -> None:
    preprocess.handlers["RemoveBackground"] = answer(
        pb.RemoveBackgroundResponse(
            element=image_pb2.Image(data=ELEMENT),
            method_used=pb.BACKGROUND_REMOVAL_METHOD_U2NET,
            method_reason="It has weights.",
        )
    )
    (photo,) = write_pictures(Path(), "photo.png")
    outcome = run("remove-background", photo, "-o", "a/element.png", "--method", "u2net", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert Path("a/element.png").read_bytes() == ELEMENT
    assert preprocess.requests[0].photo.data == photo.read_bytes()
    assert preprocess.requests[0].background_removal.method == pb.BACKGROUND_REMOVAL_METHOD_U2NET
    assert one_json(outcome.stdout) == {
        "element": "a/element.png",
        "method_used": "u2net",
        "method_reason": "It has weights.",
    }


def test_compose(endpoint: str, preprocess: Preprocess) -> None:
    preprocess.handlers["Compose"] = answer(
        pb.ComposeResponse(
            composite=image_pb2.Image(data=COMPOSITE),
            mask=image_pb2.Image(data=MASK),
            placement_used=pb.Placement(
                center_x_fraction=0.1, center_y_fraction=0.2, height_fraction=0.3, rotation_degrees=0
            ),
        )
    )
    element, painting = write_pictures(Path(), "element.png", "painting.png")
    outcome = run(
        "compose", element, painting, "-o", "c.png", "--mask-out", "m.png", "--at", "0.1,0.2", "--height", "0.3"
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert (Path("c.png").read_bytes(), Path("m.png").read_bytes()) == (COMPOSITE, MASK)
    request = preprocess.requests[0]
    assert (request.element.data, request.painting.data) == (element.read_bytes(), painting.read_bytes())
    assert request.placement == pb.Placement(center_x_fraction=0.1, center_y_fraction=0.2, height_fraction=0.3)


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
    assert one_json(outcome.stdout)["dilation_used"] == {"kernel_size_px": 7, "omit_mask_union": False}


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("dilate a.png -o d.png --kernel 8", "such as 9"),
        ("dilate a.png -o a.png", "would overwrite MASK"),
        ("dilate a.png -o d.jpg", "must end in .png"),
        ("compose a.png b.png -o c.png --mask-out c.png", "would overwrite -o"),
        ("compose a.png b.png -o b.png --mask-out c.png", "would overwrite PAINTING"),
        ("remove-background a.png", "'-o'"),
    ],
)
def test_a_wrong_command_is_refused(endpoint: str, preprocess: Preprocess, command: str, text: str) -> None:
    write_pictures(Path(), "a.png", "b.png")
    outcome = run(*command.split())
    assert outcome.exit_code == 2
    assert text in outcome.stderr
    assert preprocess.requests == []
