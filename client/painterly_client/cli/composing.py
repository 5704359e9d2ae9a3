"""The commands that put cut-out things into paintings: ``compose`` and ``suggest``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from painterly_client import PlacedElement
from painterly_client.cli import options as opt
from painterly_client.cli import placements
from painterly_client.cli.connecting import Services
from painterly_client.cli.encoding import encoding_options, output_from, picture_option, png_option
from painterly_client.cli.files import check_outputs, read_input, write_result
from painterly_client.cli.parameters import to_json
from painterly_client.cli.session import Session


@click.command()
@click.argument("pictures", nargs=-1, required=True, metavar="ELEMENT... PAINTING", type=opt.INPUT_FILE)
@picture_option
@png_option("--mask-out", help_text="The composite's mask, a PNG.")
@png_option("--alpha-out", required=False, help_text="What the elements cover, softly, a PNG.")
@placements.placement_options
@placements.save_option
@placements.compositing_options
@click.option("--fill-holes", is_flag=True, help="Add to the mask what it encloses.")
@encoding_options
@opt.endpoint_option("preprocess")
@opt.output_options
@click.pass_context
def compose(ctx: click.Context, /, pictures: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Place cut-out things over a painting.

    \b
    Examples:
      painterly compose boat.png seascape.jpg -o composite.png --mask-out mask.png --at 0.3,0.6
      painterly compose boat.png seascape.jpg -o c.png --mask-out m.png --at auto --save-placement place.json
      painterly compose boat.png gull.png seascape.jpg -o c.png --mask-out m.png --placement places.json
    """
    session = ctx.ensure_object(Session)
    if len(pictures) < 2:
        raise click.UsageError("ELEMENT and PAINTING are needed, got 1 picture", ctx)
    *elements, painting = pictures
    output = output_from(
        out.suffix.lower(), options["quality"], lossy=options["lossy"], include_alpha=bool(options["alpha_out"])
    )
    wished = placements.placements_from(options, len(elements))
    compositing = placements.compositing_from(options, fill_mask_holes=options["fill_holes"])
    files = {"-o": out, "--mask-out": options["mask_out"], "--alpha-out": options["alpha_out"]}
    files["--save-placement"] = options["save_placement"]
    check_outputs(
        {name: path for name, path in files.items() if path},
        {**{"ELEMENT" if index == 0 else f"ELEMENT {index + 1}": path for index, path in enumerate(elements)}}
        | {"PAINTING": painting}
        | ({"--placement": options["placement"]} if options["placement"] else {}),
    )
    cut_outs, ground = [read_input("ELEMENT", path) for path in elements], read_input("PAINTING", painting)
    with Services(("preprocess",), {"preprocess": options["preprocess_endpoint"]}, session) as services:
        client = services.client("preprocess")
        if len(elements) == 1:
            answer = client.compose(cut_outs[0], ground, placement=wished[0], compositing=compositing, output=output)
        else:
            placed = [
                PlacedElement(element=each, placement=place) for each, place in zip(cut_outs, wished, strict=True)
            ]
            answer = client.compose_elements(placed, ground, compositing=compositing, output=output)
    write_result(out, answer.composite)
    session.kept["composite"] = out
    write_result(options["mask_out"], answer.mask)
    told = {"composite": out, "mask": options["mask_out"]}
    if answer.alpha:
        told["alpha"] = write_result(options["alpha_out"], answer.alpha)
    used = answer.placements_used or (answer.placement_used,)
    if options["save_placement"]:
        placements.write_placements(options["save_placement"], used)
        told["placement"] = options["save_placement"]
    session.say("\n".join(f"{name}: {path}" for name, path in told.items()))
    for reason in filter(None, answer.placement_reasons):
        session.say(f"place: {reason}")
    session.answer(
        {
            **told,
            "placement_used": to_json(answer.placement_used),
            "placements_used": to_json(used),
            "placement_reasons": list(answer.placement_reasons),
        }
    )


@click.command(short_help="Rank places for a thing in a painting.")
@click.argument("painting", type=opt.INPUT_FILE)
@click.option("--element", type=opt.INPUT_FILE, help="The cut-out thing, whose proportions count.")
@click.option("--aspect", type=opt.Number(0.05, 20), metavar="F", help="Its width by its height. [default: 1]")
@click.option("--height", type=opt.Number(0.01, 4), metavar="F", help="A height to keep, as in compose.")
@click.option("--count", type=click.IntRange(1, 20), metavar="N", help="How many places at most. [default: 5]")
@placements.save_option
@opt.endpoint_option("preprocess")
@opt.output_options
@click.pass_context
def suggest(ctx: click.Context, /, painting: Path, element: Path | None, **options: Any) -> None:
    """Rank places for a thing in a painting: calm ones, on ground rather than sky, at a plausible size.

    The best one is what `--at auto` takes; --save-placement writes it for `--placement`.

    \b
    Examples:
      painterly suggest seascape.jpg --element boat.png
      painterly suggest seascape.jpg --aspect 0.5 --height 0.4 --count 3 --json
    """
    session = ctx.ensure_object(Session)
    if element and options["aspect"]:
        raise click.UsageError("--element has its proportions already; leave out --aspect", ctx)
    inputs = {"PAINTING": painting, **({"--element": element} if element else {})}
    if options["save_placement"]:
        check_outputs({"--save-placement": options["save_placement"]}, inputs)
    pictures = read_input("PAINTING", painting), read_input("--element", element) if element else None
    with Services(("preprocess",), {"preprocess": options["preprocess_endpoint"]}, session) as services:
        found = services.client("preprocess").suggest_placement(
            pictures[0],
            element=pictures[1],
            aspect_ratio=options["aspect"],
            height_fraction=options["height"],
            suggestion_count=options["count"],
        )
    for number, each in enumerate(found, 1):
        place = each.placement
        session.say(
            f"{number}. --at {place.center_x_fraction:g},{place.center_y_fraction:g} --height {place.height_fraction:g}"
            f"  score {each.score:.2f}  {each.reason}"
        )
    if options["save_placement"]:
        placements.write_placements(options["save_placement"], [found[0].placement])
    session.answer({"suggestions": to_json(found)})
