"""The command ``dilate``, and the options of growing masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from painterly_client import DilationRule, KernelShape, MaskDilation
from painterly_client.cli import options as opt
from painterly_client.cli.connecting import Services
from painterly_client.cli.encoding import png_option
from painterly_client.cli.files import check_outputs, read_input, write_result
from painterly_client.cli.parameters import to_json
from painterly_client.cli.session import Session

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
@png_option("-o", "--output", "out")
@dilation_options
@click.option("--feather", type=opt.Number(0, 1023), metavar="PX", help="Width of the soft border in --feather-out.")
@png_option("--feather-out", required=False, help_text="The dilated mask with a soft border, a PNG.")
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
    with Services(("preprocess",), {"preprocess": options["preprocess_endpoint"]}, session) as services:
        answer = services.client("preprocess").dilate_mask(data, dilation=dilation)
    told = {"dilated_mask": write_result(out, answer.dilated_mask)}
    if answer.feathered_mask:
        told["feathered_mask"] = write_result(feather_out, answer.feathered_mask)
    session.say("\n".join(f"{name.replace('_', ' ')}: {path}" for name, path in told.items()))
    session.answer({**told, "dilation_used": to_json(answer.dilation_used)})
