"""``compose`` and ``suggest``, and placements as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from tests.client.cli.kit import COMPOSITE, DILATED, MASK, answer, one_json, run, write_pictures
from tests.client.kit import Preprocess


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
    assert request.output == pb.OutputOptions(format=image_pb2.IMAGE_FORMAT_PNG)
    assert not request.HasField("compositing")


async def echo(request: pb.ComposeRequest, context: Any) -> pb.ComposeResponse:
    """Every placement as it came, over pictures that say nothing."""
    used = [each.placement for each in request.elements] or [request.placement]
    return pb.ComposeResponse(
        composite=image_pb2.Image(data=COMPOSITE),
        mask=image_pb2.Image(data=MASK),
        alpha=image_pb2.Image(data=DILATED) if request.output.include_alpha else None,
        placement_used=used[0],
        placements_used=used,
        placement_reasons=["calm" if placement.is_automatic else "" for placement in used],
    )


def test_every_flag_of_compose(endpoint: str, preprocess: Preprocess) -> None:
    preprocess.handlers["Compose"] = echo
    element, painting = write_pictures(Path(), "element.png", "painting.png")
    flags = "--at 0.1,0.2 --anchor bottom-left --width 300px --rotate 5 --flip-vertical --opacity 0.5 --linear-light"
    more = "--tone-match 0.25 --fill-holes --quality 80 --lossy --alpha-out a.png --save-placement p.json"
    outcome = run("compose", element, painting, "-o", "c.jpg", "--mask-out", "m.png", *flags.split(), *more.split())
    assert outcome.exit_code == 0, outcome.stderr
    request = preprocess.requests[0]
    assert request.placement == pb.Placement(
        center_x_fraction=0.1,
        center_y_fraction=0.2,
        anchor=pb.PLACEMENT_ANCHOR_BOTTOM_LEFT,
        width_px=300,
        rotation_degrees=5,
        flip_vertical=True,
        opacity=0.5,
    )
    assert request.compositing == pb.Compositing(linear_light=True, tone_match_strength=0.25, fill_mask_holes=True)
    assert request.output == pb.OutputOptions(
        format=image_pb2.IMAGE_FORMAT_JPEG, quality=80, allow_lossy=True, include_alpha=True
    )
    assert Path("a.png").read_bytes() == DILATED
    # What was saved is the same place again, and flags win over it.
    again = run("compose", element, painting, "-o", "c.png", "--mask-out", "m.png", "--placement", "p.json")
    assert again.exit_code == 0, again.stderr
    assert preprocess.requests[1].placement == request.placement
    changed = ("--placement", "p.json", "--height", "0.2", "--at", "auto")
    assert run("compose", element, painting, "-o", "c.png", "--mask-out", "m.png", *changed).exit_code == 0
    assert preprocess.requests[2].placement == pb.Placement(
        height_fraction=0.2, rotation_degrees=5, flip_vertical=True, opacity=0.5, is_automatic=True
    )


def test_several_elements(endpoint: str, preprocess: Preprocess) -> None:
    preprocess.handlers["Compose"] = echo
    pictures = write_pictures(Path(), "one.png", "two.png", "painting.png")
    places = {"placements": [{"height_px": 20, "anchor": "bottom"}, {"z_order": 2}]}
    Path("places.json").write_text(json.dumps(places))
    outcome = run(
        "compose", *pictures, "-o", "c.png", "--mask-out", "m.png", "--placement", "places.json", "--flip", "--json"
    )
    assert outcome.exit_code == 0, outcome.stderr
    (request,) = preprocess.requests
    assert [each.element.data for each in request.elements] == [path.read_bytes() for path in pictures[:2]]
    assert [each.placement for each in request.elements] == [
        pb.Placement(height_px=20, anchor=pb.PLACEMENT_ANCHOR_BOTTOM, flip_horizontal=True),
        pb.Placement(z_order=2, flip_horizontal=True),
    ]
    assert [each.get("z_order") for each in one_json(outcome.stdout)["placements_used"]] == [None, 2]
    found = run("compose", *pictures, "-o", "c.png", "--mask-out", "m.png", "--at", "auto")
    assert found.exit_code == 0, found.stderr
    assert "place: calm" in found.stderr
    assert [each.placement for each in preprocess.requests[1].elements] == 2 * [pb.Placement(is_automatic=True)]


def test_suggest(endpoint: str, preprocess: Preprocess) -> None:
    place = pb.Placement(center_x_fraction=0.25, center_y_fraction=0.5, height_fraction=0.3)
    suggestion = pb.PlacementSuggestion(placement=place, score=0.5, reason="On the left.", width_px=7)
    preprocess.handlers["SuggestPlacement"] = answer(pb.SuggestPlacementResponse(suggestions=[suggestion]))
    painting, element = write_pictures(Path(), "painting.png", "element.png")
    flags = ("--height", "0.3", "--count", "3", "--save-placement", "p.json", "--json")
    outcome = run("suggest", painting, "--element", element, *flags)
    assert outcome.exit_code == 0, outcome.stderr
    assert "1. --at 0.25,0.5 --height 0.3  score 0.50  On the left." in outcome.stderr
    (request,) = preprocess.requests
    assert (request.element.data, request.suggestion_count) == (element.read_bytes(), 3)
    (told,) = one_json(outcome.stdout)["suggestions"]
    assert (told["placement"]["center_x_fraction"], told["width_px"]) == (0.25, 7)
    assert json.loads(Path("p.json").read_text())["placements"] == [told["placement"]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"placements": []}', "a list that is not empty"),
        ('{"placements": [{}], "more": 1}', "placements alone"),
        ('{"heigth_px": 3}', "unknown field 'heigth_px'"),
        ('{"placements": [{"anchor": "here"}]}', "placements[0].anchor must be one of center, top_left"),
        ('{"height_px": "3"}', "height_px must be a number"),
        ("[]", "must be an object"),
    ],
)
def test_a_wrong_placements_file_is_refused(endpoint: str, preprocess: Preprocess, text: str, told: str) -> None:
    write_pictures(Path(), "a.png", "b.png")
    Path("p.json").write_text(text)
    outcome = run("compose", "a.png", "b.png", "-o", "c.png", "--mask-out", "m.png", "--placement", "p.json")
    assert outcome.exit_code == 2
    assert told in outcome.stderr
    assert preprocess.requests == []
