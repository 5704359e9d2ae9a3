"""The commands of the preprocess service, each step alone.

``remove-background``, ``compose``, ``suggest`` and ``dilate``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from painterly_client import DilationRule, ImageFormat, KernelShape, MaskDilation, OutputOptions, PlacedElement
from painterly_client.cli import options as opt
from painterly_client.cli import placements
from painterly_client.cli.connecting import Services
from painterly_client.cli.files import (
    LOSSY_SUFFIXES,
    RESULT_FORMATS,
    check_outputs,
    check_png_name,
    check_result_name,
    read_input,
    write_result,
)
from painterly_client.cli.parameters import to_json
from painterly_client.cli.session import Session

_F = TypeVar("_F", bound=Callable[..., Any])

_ALPHA_SUFFIXES = (".png", ".tif", ".tiff", ".webp", ".avif")


def _png_option(*names: str, required: bool = True, help_text: str = "The result, a PNG.") -> Callable[[_F], _F]:
    return click.option(
        *names,
        required=required,
        type=opt.OUTPUT_FILE,
        callback=lambda ctx, param, value: check_png_name(ctx, param, value) if value else None,
        metavar="OUT.png",
        help=help_text,
    )


_result_option = click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=opt.OUTPUT_FILE,
    callback=check_result_name,
    metavar="OUT",
    help="The result: .png .tif .bmp .webp are exact, .jpg .avif need --lossy.",
)
encoding_options = opt.add(
    click.option(
        "--quality", type=click.IntRange(1, 100), metavar="N", help="Of .jpg .avif, and of .webp, which it makes lossy."
    ),
    click.option("--lossy", is_flag=True, help="Accept a result that is not exact."),
)


def services_of(session: Session, endpoint: str | None) -> Services:
    """The preprocess service alone."""
    return Services(("preprocess",), {"preprocess": endpoint}, session)


def output_from(suffix: str, quality: int | None, *, lossy: bool, include_alpha: bool = False) -> OutputOptions:
    """How a file of this suffix is encoded. Raises: click.UsageError where it would lose something unasked."""
    if not lossy and (suffix in LOSSY_SUFFIXES or (suffix == ".webp" and quality is not None)):
        raise click.UsageError(
            f"a {suffix} file{' with a quality' if suffix == '.webp' else ''} is not exact, and harmonizing would not "
            "give the painting back; choose .png, .tif, .bmp or .webp without --quality, or add --lossy"
        )
    chosen = ImageFormat[RESULT_FORMATS[suffix]]
    return OutputOptions(format=chosen, quality=quality, allow_lossy=lossy, include_alpha=include_alpha)


@click.command("remove-background")
@click.argument("photo", type=opt.INPUT_FILE)
@_result_option
@opt.method_option
@encoding_options
@opt.endpoint_option("preprocess")
@opt.output_options
@click.pass_context
def remove_background(ctx: click.Context, /, photo: Path, out: Path, **options: Any) -> None:
    """Cut the thing out of a photo.

    \b
    Example:
      painterly remove-background boat.jpg -o boat.png --method u2net
    """
    session = ctx.ensure_object(Session)
    suffix = out.suffix.lower()
    if suffix not in _ALPHA_SUFFIXES:
        raise click.UsageError(f"-o {out}: {suffix} has no transparency; it must end in {' '.join(_ALPHA_SUFFIXES)}")
    output = output_from(suffix, options["quality"], lossy=options["lossy"])
    check_outputs({"-o": out}, {"PHOTO": photo})
    data = read_input("PHOTO", photo)
    with services_of(session, options["preprocess_endpoint"]) as services:
        client = services.client("preprocess")
        answer = client.remove_background(data, method=opt.method_from(options["method"]), output=output)
    write_result(out, answer.element)
    session.say(f"element: {out} ({answer.method_reason})")
    session.answer({"element": out, "method_used": to_json(answer.method_used), "method_reason": answer.method_reason})


@click.command()
@click.argument("pictures", nargs=-1, required=True, metavar="ELEMENT... PAINTING", type=opt.INPUT_FILE)
@_result_option
@_png_option("--mask-out", help_text="The composite's mask, a PNG.")
@_png_option("--alpha-out", required=False, help_text="What the elements cover, softly, a PNG.")
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
    with services_of(session, options["preprocess_endpoint"]) as services:
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
    with services_of(session, options["preprocess_endpoint"]) as services:
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


dilation_options = opt.add(
    click.option(
        "--kernel", type=click.IntRange(1, 1023), metavar="PX", help="Its size. [default: by the mask's size]"
    ),
    click.option(
        "--rule",
        type=click.Choice([rule.value for rule in DilationRule]),
        help="The paper's Gaussian, or the maximum under a shape. [default: paper]",
    ),
    click.option(
        "--shape",
        type=click.Choice([shape.value for shape in KernelShape]),
        help="Of the classic kernel. [default: rectangle]",
    ),
    click.option("--iterations", type=click.IntRange(1, 100), metavar="N", help="Of the classic rule. [default: 1]"),
    click.option("--fill-holes", is_flag=True, help="First add to the mask what it encloses."),
)


def dilation_from(options: dict[str, Any], feather_px: float | None = None) -> MaskDilation:
    """The dilation options as the client's type. Raises: click.UsageError."""
    kernel, rule = options["kernel"], options["rule"]
    classic = [f"--{name}" for name in ("shape", "iterations") if options[name] is not None]
    if classic and rule != "classic":
        raise click.UsageError(f"{', '.join(classic)}: only the classic rule has these; add --rule classic")
    if kernel and kernel % 2 == 0 and rule != "classic":
        raise click.UsageError(f"--kernel {kernel} is even; the paper's rule needs an odd size, such as {kernel + 1}")
    return MaskDilation(
        kernel_size_px=kernel,
        rule=DilationRule(rule) if rule else None,
        kernel_shape=KernelShape(options["shape"]) if options["shape"] else None,
        iteration_count=options["iterations"],
        fill_holes=options["fill_holes"],
        feather_px=feather_px,
    )


@click.command()
@click.argument("mask", type=opt.INPUT_FILE)
@_png_option("-o", "--output", "out")
@dilation_options
@click.option("--feather", type=opt.Number(0, 1023), metavar="PX", help="Width of the soft border in --feather-out.")
@_png_option("--feather-out", required=False, help_text="The dilated mask with a soft border, a PNG.")
@opt.endpoint_option("preprocess")
@opt.output_options
@click.pass_context
def dilate(ctx: click.Context, /, mask: Path, out: Path, **options: Any) -> None:
    """Grow a mask.

    \b
    Examples:
      painterly dilate mask.png -o dilated_mask.png --kernel 35
      painterly dilate mask.png -o dilated_mask.png --rule classic --shape ellipse --kernel 20 --iterations 2
      painterly dilate mask.png -o dilated_mask.png --fill-holes --feather 8 --feather-out soft.png
    """
    session = ctx.ensure_object(Session)
    feather, feather_out = options["feather"], options["feather_out"]
    if bool(feather) != bool(feather_out):
        raise click.UsageError("--feather and --feather-out go together")
    dilation = dilation_from(options, feather)
    check_outputs({"-o": out, **({"--feather-out": feather_out} if feather_out else {})}, {"MASK": mask})
    data = read_input("MASK", mask)
    with services_of(session, options["preprocess_endpoint"]) as services:
        answer = services.client("preprocess").dilate_mask(data, dilation=dilation)
    told = {"dilated_mask": write_result(out, answer.dilated_mask)}
    if answer.feathered_mask:
        told["feathered_mask"] = write_result(feather_out, answer.feathered_mask)
    session.say("\n".join(f"{name.replace('_', ' ')}: {path}" for name, path in told.items()))
    session.answer({**told, "dilation_used": to_json(answer.dilation_used)})
