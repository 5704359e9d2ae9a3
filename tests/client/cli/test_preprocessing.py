"""``remove-background``, and wrong commands of one step."""

from __future__ import annotations

from pathlib import Path

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
    ],
)
def test_a_wrong_command_is_refused(endpoint: str, preprocess: Preprocess, command: str, text: str) -> None:
    write_pictures(Path(), "a.png", "b.png")
    outcome = run(*command.split())
    assert outcome.exit_code == 2
    assert text in outcome.stderr
    assert preprocess.requests == []
