"""The command ``remove-background``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from painterly_client.cli import options as opt
from painterly_client.cli.connecting import Services
from painterly_client.cli.cutting import crop_option, removal_from, removal_inputs, removal_options
from painterly_client.cli.encoding import encoding_options, output_from, picture_option
from painterly_client.cli.files import check_outputs, read_input, write_result
from painterly_client.cli.parameters import to_json
from painterly_client.cli.session import Session

_ALPHA_SUFFIXES = (".png", ".tif", ".tiff", ".webp", ".avif")


@click.command("remove-background")
@click.argument("photo", type=opt.INPUT_FILE)
@picture_option
@removal_options
@crop_option
@encoding_options
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
    suffix = out.suffix.lower()
    if suffix not in _ALPHA_SUFFIXES:
        raise click.UsageError(f"-o {out}: {suffix} has no transparency; it must end in {' '.join(_ALPHA_SUFFIXES)}")
    output = output_from(suffix, options["quality"], lossy=options["lossy"])
    check_outputs({"-o": out}, {"PHOTO": photo, **removal_inputs(options)})
    data, removal = read_input("PHOTO", photo), removal_from(options)
    with Services(("preprocess",), {"preprocess": options["preprocess_endpoint"]}, session) as services:
        answer = services.client("preprocess").remove_background(data, removal=removal, output=output)
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
