"""The command that measures a finished picture: ``evaluate``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from painterly_client import QualityReport
from painterly_client.cli import options as opt
from painterly_client.cli.connecting import Services
from painterly_client.cli.files import read_input
from painterly_client.cli.measures import measure_rows
from painterly_client.cli.parameters import to_json
from painterly_client.cli.session import Session


@click.command(short_help="Measure how well a result fits into its painting.")
@click.argument("result", type=opt.INPUT_FILE)
@click.argument("painting", type=opt.INPUT_FILE)
@click.option("--composite", type=opt.INPUT_FILE, required=True, help="The thing pasted over the painting.")
@click.option("--mask", type=opt.INPUT_FILE, required=True, help="White where the thing is.")
@click.option("--dilated-mask", type=opt.INPUT_FILE, help="The mask, grown. [default: derived from the mask]")
@click.option("--style-mask", type=opt.INPUT_FILE, help="White where the painting lent its style.")
@opt.endpoint_option("harmonize")
@opt.output_options
@click.pass_context
def evaluate(ctx: click.Context, /, result: Path, painting: Path, **options: Any) -> None:
    """Measure how well RESULT, a finished picture, fits into PAINTING, beside the plain composite.

    Works for pictures of any origin, all of one size. With --json the numbers go to standard output.

    \b
    Examples:
      painterly evaluate result.png seascape.jpg --composite result-work/composite.png --mask result-work/mask.png
      painterly evaluate result.png seascape.jpg --composite c.png --mask m.png --json
    """
    session = ctx.ensure_object(Session)
    names = ("composite", "mask", "dilated_mask", "style_mask")
    paths = {"RESULT": result, "PAINTING": painting}
    paths |= {opt.flag_of(name): options[name] for name in names if options[name]}
    files = {name.strip("-").replace("-", "_").lower(): read_input(name, path) for name, path in paths.items()}
    with Services(("harmonize",), {"harmonize": options["harmonize_endpoint"]}, session) as services:
        report = services.client("harmonize").evaluate(**files)
    for line in _lines(report):
        session.say(line)
    session.answer(to_json(report))


def _lines(report: QualityReport) -> Iterator[str]:
    rows = [(row.name, row.before, row.after, row.meaning) for row in measure_rows(report)]
    rows.insert(0, ("", "before", "after", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for name, before, after, meaning in rows:
        yield f"{name:{widths[0]}}  {before:>{widths[1]}}  {after:>{widths[2]}}  {meaning}".rstrip()
    size = f"{report.evaluated_width_px}x{report.evaluated_height_px}"
    yield f"the object covers {report.object_area:.1%} of the painting; measured at {size} px"
    for warning in report.warnings:
        yield f"look: {warning.message}; {warning.advice}"
