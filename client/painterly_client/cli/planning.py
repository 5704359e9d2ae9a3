"""The command that tells what a job would take: ``plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from painterly_client import JobPlan
from painterly_client.cli import options as opt
from painterly_client.cli.connecting import Services
from painterly_client.cli.files import read_input
from painterly_client.cli.parameters import to_json
from painterly_client.cli.session import Session


@click.command(short_help="Tell what a job would take.")
@click.argument("mask", type=opt.INPUT_FILE)
@click.option("--dilated-mask", type=opt.INPUT_FILE, help="The mask, grown. [default: derived from the mask]")
@opt.parameter_options(1, 2)
@opt.endpoint_option("harmonize")
@opt.output_options
@click.pass_context
def plan(ctx: click.Context, /, mask: Path, dilated_mask: Path | None, **options: Any) -> None:
    """Tell at which size, how long and with how much memory a job would run, without running it.

    MASK is the thing's, of the painting's size, as `painterly compose` and `painterly harmonize --keep` write it.

    \b
    Examples:
      painterly plan mask.png --preset standard
      painterly plan mask.png --size 2048 --json
    """
    session = ctx.ensure_object(Session)
    pictures = read_input("MASK", mask), read_input("--dilated-mask", dilated_mask) if dilated_mask else None
    parameters = opt.parameters_from(options)
    with Services(("harmonize",), {"harmonize": options["harmonize_endpoint"]}, session) as services:
        answer = services.client("harmonize").plan(pictures[0], dilated_mask=pictures[1], parameters=parameters)
    for line in _lines(answer):
        session.say(line)
    session.answer(to_json(answer))


def _lines(answer: JobPlan) -> list[str]:
    reduced = ", reduced to what fits" if answer.is_reduced else ""
    lines = [f"the passes run at {answer.working_width_px}x{answer.working_height_px} px on {answer.device}{reduced}"]
    for stage in answer.stages:
        lines.append(
            f"{stage.stage.value}: {stage.width_px}x{stage.height_px} px at {stage.left_px},{stage.top_px}, "
            f"about {stage.predicted_duration_s:.1f} s, {stage.predicted_peak_memory_bytes >> 20} MiB"
        )
    lines.append(
        f"together: about {answer.predicted_duration_s:.0f} s, {answer.predicted_peak_memory_bytes >> 20} MiB "
        f"of {answer.available_memory_bytes >> 20} MiB"
    )
    largest = answer.largest_working_long_side_px
    if largest is None:
        lines.append("it does not fit at any size: reduce the painting or give the server more memory")
    elif not answer.fits:
        lines.append(f"it does not fit: give --size {largest} or less, or --memory-policy reduce")
    else:
        lines.append(f"the largest --size that fits: {largest}")
    return lines
