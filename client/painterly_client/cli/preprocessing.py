"""The command ``remove-background``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from painterly_client.cli import options as opt
from painterly_client.cli.connecting import Services
from painterly_client.cli.encoding import encoding_options, output_from, picture_option
from painterly_client.cli.files import check_outputs, read_input, write_result
from painterly_client.cli.parameters import to_json
from painterly_client.cli.session import Session

_ALPHA_SUFFIXES = (".png", ".tif", ".tiff", ".webp", ".avif")


@click.command("remove-background")
@click.argument("photo", type=opt.INPUT_FILE)
@picture_option
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
    with Services(("preprocess",), {"preprocess": options["preprocess_endpoint"]}, session) as services:
        client = services.client("preprocess")
        answer = client.remove_background(data, method=opt.method_from(options["method"]), output=output)
    write_result(out, answer.element)
    session.say(f"element: {out} ({answer.method_reason})")
    session.answer({"element": out, "method_used": to_json(answer.method_used), "method_reason": answer.method_reason})
