"""The options that say how the thing is cut out of its photo, and what they become."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from painterly_client import (
    BackgroundRemoval,
    BackgroundRemovalMethod,
    ChromaKey,
    GrabCut,
    ObjectSelection,
    PhotoBox,
    PhotoPoint,
    RemoveBg,
    RemoveBgSize,
    RemoveBgType,
    RgbColor,
)
from painterly_client.cli import options as opt
from painterly_client.cli.files import read_input

_FILES: Mapping[str, str] = {
    "cutout_mask": "--cutout-mask",
    "foreground_strokes": "--foreground-strokes",
    "background_strokes": "--background-strokes",
}


def _fractions(value: str, counts: tuple[int, ...]) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in counts or not all(0 <= number <= 1 for number in numbers):
        wanted = " or ".join({2: "X,Y", 4: "LEFT,TOP,RIGHT,BOTTOM"}[count] for count in counts)
        raise click.BadParameter(f"{value!r} must be {wanted}, as fractions of the photo's sides from 0 to 1")
    if len(numbers) == 4 and not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise click.BadParameter(f"{value!r} must have its left before its right and its top before its bottom")
    return numbers


def _box(numbers: tuple[float, ...]) -> PhotoBox:
    left, top, right, bottom = numbers
    return PhotoBox(left_fraction=left, top_fraction=top, right_fraction=right, bottom_fraction=bottom)


def _read_object(_ctx: click.Context, _param: click.Parameter, value: str | None) -> ObjectSelection | None:
    if value is None:
        return None
    if value == "largest":
        return ObjectSelection(largest=True)
    numbers = _fractions(value, (2, 4))
    if len(numbers) == 4:
        return ObjectSelection(box=_box(numbers))
    return ObjectSelection(point=PhotoPoint(x_fraction=numbers[0], y_fraction=numbers[1]))


def _read_box(_ctx: click.Context, _param: click.Parameter, value: str | None) -> PhotoBox | None:
    return None if value is None else _box(_fractions(value, (4,)))


def _read_backdrop(_ctx: click.Context, _param: click.Parameter, value: str | None) -> ChromaKey | None:
    if value is None or value == "auto":
        return None if value is None else ChromaKey()
    if not re.fullmatch(r"#?[0-9a-fA-F]{6}", value):
        raise click.BadParameter(f"{value!r} must be auto, or a color such as #00b140")
    red, green, blue = bytes.fromhex(value.removeprefix("#"))
    return ChromaKey(color=RgbColor(red=red, green=green, blue=blue))


removal_options = opt.add(
    click.option(
        "--method",
        type=click.Choice(["auto", "alpha", "mask", "u2net", "grabcut", "remove-bg", "chroma-key"]),
        help="How the thing is cut out of the photo. [default: auto, which takes what the options below belong to]",
    ),
    click.option("--cutout-mask", type=opt.INPUT_FILE, help="Cut out by this mask of the photo's size, white inside."),
    click.option(
        "--object",
        "selection",
        callback=_read_object,
        metavar="largest|X,Y|L,T,R,B",
        help="Of several things: the largest, the one at a point, or those in a box; fractions of the photo's sides.",
    ),
    click.option(
        "--least-object",
        "island_fraction",
        type=opt.Number(0, 1),
        metavar="F",
        help="Drop what is smaller than this fraction of the largest thing. [default: by method]",
    ),
    click.option(
        "--refine-edges/--no-refine-edges", default=None, help="Follow hair and blur at the edge. [default: by method]"
    ),
    click.option(
        "--grabcut-box",
        callback=_read_box,
        metavar="L,T,R,B",
        help="GrabCut: a box around the thing, as fractions of the photo's sides.",
    ),
    click.option("--foreground-strokes", type=opt.INPUT_FILE, help="GrabCut: a mask, white where surely the thing is."),
    click.option("--background-strokes", type=opt.INPUT_FILE, help="GrabCut: a mask, white where surely it is not."),
    click.option(
        "--backdrop",
        callback=_read_backdrop,
        metavar="auto|#RRGGBB",
        help="The photo has a plain backdrop, of this color or of the one at its border.",
    ),
    click.option(
        "--remove-bg-size",
        type=click.Choice([each.value for each in RemoveBgSize]),
        help="remove.bg: resolution, which decides the price. [default: auto]",
    ),
    click.option(
        "--remove-bg-type",
        type=click.Choice([each.value for each in RemoveBgType]),
        help="remove.bg: what the thing is. [default: auto]",
    ),
)
crop_option = click.option("--crop", is_flag=True, help="Crop the result to the thing.")

REMOVAL_NAMES = (
    "method",
    *_FILES,
    "selection",
    "island_fraction",
    "refine_edges",
    "grabcut_box",
    "backdrop",
    "remove_bg_size",
    "remove_bg_type",
)


def removal_inputs(options: Mapping[str, Any]) -> dict[str, Path]:
    """The files among the options, by the option."""
    return {flag: options[name] for name, flag in _FILES.items() if options[name]}


def given_flags(options: Mapping[str, Any]) -> list[str]:
    """The options of this kind that somebody gave."""
    flags = {"selection": "--object", "island_fraction": "--least-object"}
    given = (name for name in REMOVAL_NAMES if options[name] is not None)
    return [flags.get(name, opt.flag_of(name)) for name in given]


def removal_from(options: Mapping[str, Any]) -> BackgroundRemoval:
    """The options as the client's type; what nobody said stays unset."""
    files = {name: read_input(flag, options[name]) if options[name] else None for name, flag in _FILES.items()}
    selection, island_fraction = options["selection"], options["island_fraction"]
    if island_fraction is not None:
        chosen = selection or ObjectSelection()
        selection = ObjectSelection(
            largest=chosen.largest, point=chosen.point, box=chosen.box, island_fraction=island_fraction
        )
    hints = GrabCut(
        box=options["grabcut_box"],
        foreground_strokes=files["foreground_strokes"],
        background_strokes=files["background_strokes"],
    )
    size, kind = options["remove_bg_size"], options["remove_bg_type"]
    service = RemoveBg(size=RemoveBgSize(size) if size else None, type=RemoveBgType(kind) if kind else None)
    return BackgroundRemoval(
        method=BackgroundRemovalMethod((options["method"] or "auto").replace("-", "_")),
        mask=files["cutout_mask"],
        grab_cut=None if hints == GrabCut() else hints,
        chroma_key=options["backdrop"],
        remove_bg=None if service == RemoveBg() else service,
        refine_edges=options["refine_edges"],
        selection=selection,
        crop_to_content=bool(options.get("crop")),
    )
