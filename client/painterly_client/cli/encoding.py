"""Picture files as results: their options, and how the server is to encode them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from painterly_client import ImageFormat, OutputOptions
from painterly_client.cli import options as opt
from painterly_client.cli.files import LOSSY_SUFFIXES, RESULT_FORMATS, check_png_name, check_result_name

_F = TypeVar("_F", bound=Callable[..., Any])


def png_option(*names: str, required: bool = True, help_text: str = "The result, a PNG.") -> Callable[[_F], _F]:
    """An option for a PNG file."""
    return click.option(
        *names,
        required=required,
        type=opt.OUTPUT_FILE,
        callback=lambda ctx, param, value: check_png_name(ctx, param, value) if value else None,
        metavar="OUT.png",
        help=help_text,
    )


picture_option = click.option(
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


def output_from(suffix: str, quality: int | None, *, lossy: bool, include_alpha: bool = False) -> OutputOptions:
    """How a file of this suffix is encoded. Raises: click.UsageError where it would lose something unasked."""
    if not lossy and (suffix in LOSSY_SUFFIXES or (suffix == ".webp" and quality is not None)):
        raise click.UsageError(
            f"a {suffix} file{' with a quality' if suffix == '.webp' else ''} is not exact, and harmonizing would not "
            "give the painting back; choose .png, .tif, .bmp or .webp without --quality, or add --lossy"
        )
    chosen = ImageFormat[RESULT_FORMATS[suffix]]
    return OutputOptions(format=chosen, quality=quality, allow_lossy=lossy, include_alpha=include_alpha)
