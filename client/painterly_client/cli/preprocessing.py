"""The commands of the preprocess service, each step alone: ``remove-background``, ``compose``, ``dilate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from painterly_client import MaskDilation
from painterly_client.cli import options as opt
from painterly_client.cli.connecting import Services
from painterly_client.cli.cutting import crop_option, removal_from, removal_inputs, removal_options
from painterly_client.cli.files import check_outputs, check_png_name, read_input, write_result
from painterly_client.cli.parameters import to_json
from painterly_client.cli.session import Session

_png_option = click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=opt.OUTPUT_FILE,
    callback=check_png_name,
    metavar="OUT.png",
    help="The result, a PNG.",
)


def _services(session: Session, endpoint: str | None) -> Services:
    return Services(("preprocess",), {"preprocess": endpoint}, session)


@click.command("remove-background")
@click.argument("photo", type=opt.INPUT_FILE)
@_png_option
@removal_options
@crop_option
@opt.endpoint_option("preprocess")
@opt.output_options
@click.pass_context
def remove_background(ctx: click.Context, /, photo: Path, out: Path, **options: Any) -> None:
    """Cut the thing out of a photo.

    The key for remove.bg is the service's: PAINTERLY_REMOVE_BG_API_KEY in its environment.

    \b
    Examples:
      painterly remove-background boat.jpg -o boat.png --method u2net
      painterly remove-background group.jpg -o one.png --object 0.3,0.6 --crop
      painterly remove-background boat.jpg -o boat.png --grabcut-box 0.2,0.3,0.7,0.9
      painterly remove-background product.jpg -o product.png --backdrop auto
    """
    session = ctx.ensure_object(Session)
    check_outputs({"-o": out}, {"PHOTO": photo, **removal_inputs(options)})
    data, removal = read_input("PHOTO", photo), removal_from(options)
    with _services(session, options["preprocess_endpoint"]) as services:
        answer = services.client("preprocess").remove_background(data, removal=removal)
    write_result(out, answer.element)
    session.say(f"element: {out} ({answer.method_reason})")
    session.answer(
        {
            "element": out,
            "method_used": to_json(answer.method_used),
            "method_reason": answer.method_reason,
            "details": to_json(answer.details),
        }
    )


@click.command()
@click.argument("element", type=opt.INPUT_FILE)
@click.argument("painting", type=opt.INPUT_FILE)
@_png_option
@click.option(
    "--mask-out",
    required=True,
    type=opt.OUTPUT_FILE,
    callback=check_png_name,
    metavar="MASK.png",
    help="The composite's mask, a PNG.",
)
@opt.placement_options
@opt.endpoint_option("preprocess")
@opt.output_options
@click.pass_context
def compose(ctx: click.Context, /, element: Path, painting: Path, out: Path, mask_out: Path, **options: Any) -> None:
    """Place a cut-out thing over a painting.

    \b
    Example:
      painterly compose boat.png seascape.jpg -o composite.png --mask-out mask.png --at 0.3,0.6
    """
    session = ctx.ensure_object(Session)
    check_outputs({"-o": out, "--mask-out": mask_out}, {"ELEMENT": element, "PAINTING": painting})
    pictures = read_input("ELEMENT", element), read_input("PAINTING", painting)
    with _services(session, options["preprocess_endpoint"]) as services:
        answer = services.client("preprocess").compose(*pictures, placement=opt.placement_from(options))
    write_result(out, answer.composite)
    session.kept["composite"] = out
    write_result(mask_out, answer.mask)
    session.say(f"composite: {out}\nmask: {mask_out}")
    session.answer({"composite": out, "mask": mask_out, "placement_used": to_json(answer.placement_used)})


class _OddSize(click.IntRange):
    """An odd number of pixels."""

    name = "odd integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read the number; even ones are a usage error."""
        size = int(super().convert(value, param, ctx))
        if size % 2 == 0:
            self.fail(f"{size} is even; the kernel needs an odd size, such as {size + 1}", param, ctx)
        return size


@click.command()
@click.argument("mask", type=opt.INPUT_FILE)
@_png_option
@click.option("--kernel", type=_OddSize(1, 1023), metavar="PX", help="Odd size. [default: by the mask's size]")
@opt.endpoint_option("preprocess")
@opt.output_options
@click.pass_context
def dilate(ctx: click.Context, mask: Path, out: Path, kernel: int | None, preprocess_endpoint: str | None) -> None:
    """Grow a mask.

    \b
    Example:
      painterly dilate mask.png -o dilated_mask.png --kernel 35
    """
    session = ctx.ensure_object(Session)
    check_outputs({"-o": out}, {"MASK": mask})
    data = read_input("MASK", mask)
    with _services(session, preprocess_endpoint) as services:
        answer = services.client("preprocess").dilate_mask(data, dilation=MaskDilation(kernel_size_px=kernel))
    write_result(out, answer.dilated_mask)
    session.say(f"dilated mask: {out}")
    session.answer({"dilated_mask": out, "dilation_used": to_json(answer.dilation_used)})
