"""``remove-background``, and wrong commands of one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from tests.client.cli.kit import ELEMENT, answer, one_json, run, write_pictures
from tests.client.kit import Preprocess


def test_remove_background(endpoint: str, preprocess: Preprocess) -> None:
    preprocess.handlers["RemoveBackground"] = answer(
        pb.RemoveBackgroundResponse(
            element=image_pb2.Image(data=ELEMENT),
            method_used=pb.BACKGROUND_REMOVAL_METHOD_U2NET,
            method_reason="It has weights.",
            details=pb.BackgroundRemovalDetails(left_px=3, top_px=4, edges_refined=True),
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
        "details": {"left_px": 3, "top_px": 4, "edges_refined": True},
    }


def removed(preprocess: Preprocess, *arguments: object) -> pb.BackgroundRemoval:
    """What ``remove-background`` asks for, with these arguments."""
    preprocess.handlers["RemoveBackground"] = answer(
        pb.RemoveBackgroundResponse(
            element=image_pb2.Image(data=ELEMENT), method_used=pb.BACKGROUND_REMOVAL_METHOD_MASK
        )
    )
    (photo,) = write_pictures(Path(), "photo.png")
    outcome = run("remove-background", photo, "-o", "element.png", *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    removal: pb.BackgroundRemoval = preprocess.requests[-1].background_removal
    return removal


def test_a_mask_and_strokes_are_read_from_files(endpoint: str, preprocess: Preprocess) -> None:
    mask, one, other = write_pictures(Path(), "m.png", "f.png", "b.png")
    assert removed(preprocess, "--cutout-mask", mask).mask.data == mask.read_bytes()
    hints = removed(
        preprocess,
        "--grabcut-box",
        "0.1,0.2,0.5,0.9",
        "--foreground-strokes",
        one,
        "--background-strokes",
        other,
    ).grab_cut
    assert hints.box == pb.PhotoBox(left_fraction=0.1, top_fraction=0.2, right_fraction=0.5, bottom_fraction=0.9)
    assert hints.foreground_strokes.data == one.read_bytes()
    assert hints.background_strokes.data == other.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--object largest", {"selection": pb.ObjectSelection(largest=True)}),
        (
            "--object 0.3,0.6 --least-object 0.1",
            {"selection": pb.ObjectSelection(point=pb.PhotoPoint(x_fraction=0.3, y_fraction=0.6), island_fraction=0.1)},
        ),
        (
            "--object 0,0,0.5,1",
            {"selection": pb.ObjectSelection(box=pb.PhotoBox(right_fraction=0.5, bottom_fraction=1))},
        ),
        ("--no-refine-edges --crop", {"refine_edges": False, "crop_to_content": True}),
        ("--refine-edges", {"refine_edges": True}),
        ("--backdrop auto", {"chroma_key": pb.ChromaKey()}),
        ("--backdrop #00b140", {"chroma_key": pb.ChromaKey(color=pb.RgbColor(red=0, green=177, blue=64))}),
        ("--method chroma-key", {"method": pb.BACKGROUND_REMOVAL_METHOD_CHROMA_KEY}),
        (
            "--method remove-bg --remove-bg-size preview --remove-bg-type car",
            {
                "method": pb.BACKGROUND_REMOVAL_METHOD_REMOVE_BG,
                "remove_bg": pb.RemoveBg(size=pb.REMOVE_BG_SIZE_PREVIEW, type=pb.REMOVE_BG_TYPE_CAR),
            },
        ),
    ],
)
def test_how_it_is_cut_out(endpoint: str, preprocess: Preprocess, arguments: str, expected: dict[str, Any]) -> None:
    wanted = pb.BackgroundRemoval(**{"method": pb.BACKGROUND_REMOVAL_METHOD_AUTO, **expected})
    assert removed(preprocess, *arguments.split()) == wanted


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("dilate a.png -o d.png --kernel 8", "such as 9"),
        ("dilate a.png -o a.png", "would overwrite MASK"),
        ("dilate a.png -o d.jpg", "must end in .png"),
        ("compose a.png b.png -o c.png --mask-out c.png", "would overwrite -o"),
        ("compose a.png b.png -o b.png --mask-out c.png", "would overwrite PAINTING"),
        ("remove-background a.png", "'-o'"),
        ("remove-background a.png -o b.jpg --lossy", "has no transparency"),
        ("remove-background a.png -o b.webp --quality 80", "add --lossy"),
        ("compose a.png -o c.png --mask-out m.png", "ELEMENT and PAINTING are needed"),
        ("compose a.png b.png -o c.jpg --mask-out m.png", "add --lossy"),
        ("compose a.png b.png -o c.png --mask-out m.png --height 2px --width 3px", "exclude each other"),
        ("compose a.png b.png -o c.png --mask-out m.png --height 0px", "must be from 1 to 65536px"),
        ("compose a.png b.png -o c.png --mask-out m.png --height 9", "must be from 0.01 to 4"),
        ("compose a.png b.png -o c.png --mask-out m.png --at here", "nor auto"),
        ("compose a.png a.png b.png -o c.png --mask-out m.png --at 0,0", "2 elements need 2 placements"),
        ("compose a.png b.png -o c.png --mask-out m.png --placement a.png", "cannot be read as JSON"),
        ("suggest a.png --element b.png --aspect 2", "leave out --aspect"),
        ("suggest a.png --save-placement a.png", "would overwrite PAINTING"),
        ("dilate a.png -o d.png --shape cross", "add --rule classic"),
        ("dilate a.png -o d.png --feather 3", "go together"),
        ("prepare a.png -o d", "PHOTO and PAINTING are needed"),
        ("prepare a.png b.png c.png -o d --cutout-mask a.png", "belongs to one photo"),
        ("remove-background a.png -o c.png --object 0.3", "X,Y or LEFT,TOP,RIGHT,BOTTOM"),
        ("remove-background a.png -o c.png --object 0.3,1.2", "from 0 to 1"),
        ("remove-background a.png -o c.png --grabcut-box 0.5,0,0.4,1", "left before its right"),
        ("remove-background a.png -o c.png --backdrop green", "such as #00b140"),
        ("remove-background a.png -o b.png --cutout-mask b.png", "would overwrite --cutout-mask"),
    ],
)
def test_a_wrong_command_is_refused(endpoint: str, preprocess: Preprocess, command: str, text: str) -> None:
    write_pictures(Path(), "a.png", "b.png")
    outcome = run(*command.split())
    assert outcome.exit_code == 2
    assert text in outcome.stderr
    assert preprocess.requests == []
