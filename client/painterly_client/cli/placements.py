"""Where things go: the options, and placements as JSON files.

A placements file is ``{"placements": [{...}, ...]}`` with the fields of Placement, one object for each element; one
object alone, such as the ``placement_used`` that --json prints, is read as well.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import click

from painterly_client import Compositing, Placement, PlacementAnchor
from painterly_client.cli import options as opt
from painterly_client.cli.files import write_whole
from painterly_client.cli.parameters import from_json, to_json

PLACEMENT_NAMES = (
    *("at", "anchor", "height", "width", "rotate", "flip", "flip_vertical", "opacity", "placement", "save_placement"),
    *("linear_light", "tone_match"),
)
_POSITION = {"center_x_fraction": None, "center_y_fraction": None, "anchor": None}
_NO_SIZE = {"height_fraction": None, "width_fraction": None, "height_px": None, "width_px": None}


def _read_point(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[float, float] | Literal["auto"] | None:
    if value is None:
        return None
    if value == "auto":
        return "auto"
    try:
        x, y = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither two numbers such as 0.5,0.7 nor auto") from None
    if not (-1 <= x <= 2 and -1 <= y <= 2):
        raise click.BadParameter(f"{value!r} must be fractions of the painting's width and height, from -1 to 2")
    return x, y


def _read_size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[str, float] | None:
    """The unit, ``fraction`` or ``px``, and the number."""
    if value is None:
        return None
    unit, low, high = ("px", 1.0, 65_536.0) if value.endswith("px") else ("fraction", 0.01, 4.0)
    try:
        number = float(value.removesuffix("px"))
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a fraction such as 0.4 nor pixels such as 300px") from None
    if not low <= number <= high:
        raise click.BadParameter(f"{value!r} must be from {low:g} to {high:g}{'px' if unit == 'px' else ''}")
    return unit, number


placement_options = opt.add(
    click.option(
        "--at",
        callback=_read_point,
        metavar="X,Y|auto",
        help="Where its center goes, as fractions of the painting's sides; auto finds a place. [default: 0.5,0.5]",
    ),
    click.option(
        "--anchor",
        type=click.Choice([anchor.value.replace("_", "-") for anchor in PlacementAnchor]),
        help="The point of the thing that --at is about, and about which it turns. [default: center]",
    ),
    click.option(
        "--height",
        callback=_read_size,
        metavar="F|PXpx",
        help="Height, as a fraction of the painting's or as pixels such as 300px. [default: 0.5]",
    ),
    click.option("--width", callback=_read_size, metavar="F|PXpx", help="Width instead of height, in the same way."),
    click.option("--rotate", type=opt.Number(-360, 360), metavar="DEG", help="Turn counterclockwise. [default: 0]"),
    click.option("--flip", is_flag=True, default=None, help="Mirror left to right."),
    click.option("--flip-vertical", is_flag=True, default=None, help="Mirror top to bottom."),
    click.option("--opacity", type=opt.Number(0.01, 1), metavar="F", help="How opaque it is. [default: 1]"),
    click.option(
        "--placement",
        type=opt.INPUT_FILE,
        metavar="FILE.json",
        help="Placements as --save-placement wrote them. Flags win.",
    ),
)
save_option = click.option(
    "--save-placement", type=opt.OUTPUT_FILE, metavar="FILE.json", help="Write the placements that were used there."
)
compositing_options = opt.add(
    click.option("--linear-light", is_flag=True, default=None, help="Mix light, not stored values, at soft edges."),
    click.option(
        "--tone-match",
        type=opt.Number(0, 1),
        metavar="F",
        help="Bring its colors so far near the painting's around it. [default: 0]",
    ),
)


def placements_from(options: dict[str, Any], count: int) -> list[Placement]:
    """The placements of ``count`` elements: of the file, and what flags say on top. Raises: click.UsageError."""
    file = options["placement"]
    given = read_placements(file) if file else [Placement()] * (count if count == 1 or options["at"] == "auto" else 0)
    if len(given) != count:
        where = f"--placement {file} has {len(given)}" if file else "flags have one"
        raise click.UsageError(
            f"{count} elements need {count} placements, but {where}; give --placement FILE.json with one for each, "
            "or --at auto"
        )
    return [_with_flags(placement, options) for placement in given]


def compositing_from(options: dict[str, Any], *, fill_mask_holes: bool = False) -> Compositing | None:
    """The compositing options as the client's type; None when nothing was said."""
    if options["linear_light"] is None and options["tone_match"] is None and not fill_mask_holes:
        return None
    return Compositing(
        linear_light=bool(options["linear_light"]),
        tone_match_strength=options["tone_match"],
        fill_mask_holes=fill_mask_holes,
    )


def read_placements(path: Path) -> list[Placement]:
    """Read a placements file. Raises: click.UsageError naming the field, its value and what is allowed."""
    source = f"--placement {path}"
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{source} cannot be read as JSON: {error}") from error
    if not isinstance(data, dict) or "placements" not in data:
        return [from_json(Placement, data, source, "")]
    if not isinstance(data["placements"], list) or not data["placements"] or len(data) > 1:
        raise click.UsageError(f"{source}: must be one placement, or placements alone as a list that is not empty")
    return [from_json(Placement, each, source, f"placements[{index}]") for index, each in enumerate(data["placements"])]


def write_placements(path: Path, placements: Sequence[Placement]) -> None:
    """Write a placements file."""
    text = json.dumps({"placements": [to_json(placement) for placement in placements]}, indent=1)
    write_whole(path, f"{text}\n".encode())


def _with_flags(placement: Placement, options: dict[str, Any]) -> Placement:
    changes: dict[str, Any] = {}
    if options["at"] == "auto":
        changes |= {**_POSITION, "is_automatic": True}
    elif options["at"]:
        changes |= {"center_x_fraction": options["at"][0], "center_y_fraction": options["at"][1], "is_automatic": False}
    if options["anchor"]:
        changes["anchor"] = PlacementAnchor(options["anchor"].replace("-", "_"))
    sizes = {name: options[name] for name in ("height", "width") if options[name]}
    if len(sizes) > 1:
        raise click.UsageError("--height and --width exclude each other: the thing keeps its proportions")
    for name, (unit, number) in sizes.items():
        changes |= {**_NO_SIZE, f"{name}_{unit}": number}
    named = {
        "rotation_degrees": options["rotate"],
        "flip_horizontal": options["flip"],
        "flip_vertical": options["flip_vertical"],
        "opacity": options["opacity"],
    }
    changes |= {name: value for name, value in named.items() if value is not None}
    return dataclasses.replace(placement, **changes)
