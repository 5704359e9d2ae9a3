"""Options that several commands share, and what they become."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from painterly_client import (
    HarmonizeParameters,
    MemoryPolicy,
    Network,
    Preset,
    StyleRegion,
)
from painterly_client.cli.files import check_result_name
from painterly_client.cli.parameters import read_parameters, with_flags
from painterly_client.cli.securing import TOKEN, security_options
from painterly_client.cli.session import Session

_F = TypeVar("_F", bound=Callable[..., Any])

INPUT_FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
OUTPUT_FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

_JOB_KEY = re.compile(r"[A-Za-z0-9._-]{1,128}")
_ITERATIONS = click.IntRange(1, 10_000)


class Number(click.FloatRange):
    """A number within a range; unlike its base it refuses "nan", which is neither below nor above anything."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def _read_region(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    try:
        left, top, width, height = (float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not four numbers such as 0.1,0.2,0.4,0.3") from None
    ends = ((left, left + width), (top, top + height))
    if not all(0 <= start < end <= 1 + 1e-9 for start, end in ends):
        raise click.BadParameter(f"{value!r} must lie within the painting: fractions of its width and height, 0 to 1")
    return left, top, width, height


def add(*decorators: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Apply decorators so that ``--help`` lists their options in this order."""

    def decorate(function: _F) -> _F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def _note_json(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Session).json_wanted = value


def _note_quiet(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    ctx.ensure_object(Session).quiet = value


json_option = click.option(
    "--json", is_flag=True, expose_value=False, callback=_note_json, help="Print one JSON object to standard output."
)
quiet_option = click.option(
    "--quiet", is_flag=True, expose_value=False, callback=_note_quiet, help="Say nothing but errors."
)
output_options = add(json_option, quiet_option)

result_option = click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=OUTPUT_FILE,
    callback=check_result_name,
    metavar="OUT",
    help="The result: .png .tif .bmp .webp keep the painting's pixels, .jpg .avif are lossy.",
)


def endpoint_option(service: str) -> Callable[[_F], _F]:
    """``--preprocess-endpoint`` or ``--harmonize-endpoint``, and what it takes to be let in there."""
    option = click.option(
        f"--{service}-endpoint",
        envvar=f"PAINTERLY_{service.upper()}_ENDPOINT",
        show_envvar=True,
        metavar="HOST:PORT",
        help=f"Use this {service} service, https://HOST:PORT if it speaks TLS. Without it one is started for this "
        "command.",
    )
    return add(option, security_options)


def _check_job_key(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _JOB_KEY.fullmatch(value):
        raise click.BadParameter(f"{value!r} must be 1 to 128 of A-Z a-z 0-9 . _ -")
    return value


give_up_option = click.option(
    "--give-up-after",
    type=Number(0),
    default=600.0,
    show_default=True,
    metavar="S",
    help="Seconds without a sign of a lost server after which to give up.",
)

job_options = add(
    click.option(
        "--job-key",
        metavar="KEY",
        callback=_check_job_key,
        help="Name of the job at a given endpoint; the same command with the same key reads on. [default: made up]",
    ),
    click.option(
        "--detach",
        is_flag=True,
        help="Leave the job to a given endpoint as soon as it is accepted; `painterly resume OUT` fetches it.",
    ),
    click.option("--wait", is_flag=True, help="Where the server has no room yet, wait and ask again."),
    give_up_option,
)


def improvement_option(function: _F) -> _F:
    """``--min-improvement``."""
    return click.option(
        "--min-improvement",
        type=click.FloatRange(0, 0.5),
        metavar="SHARE",
        help="End a pass early once 25 iterations lower its style loss by less than this. [default: never]",
    )(function)


def region_option(function: _F) -> _F:
    """``--style-region``."""
    return click.option(
        "--style-region",
        callback=_read_region,
        metavar="X,Y,W,H",
        help="Learn the hand from this part of the painting alone: left, top, width and height as fractions of its "
        "sides. [default: all of it]",
    )(function)


def iterations_option(number: int) -> Callable[[_F], _F]:
    """``--pass1-iterations`` or ``--pass2-iterations``."""
    return click.option(
        f"--pass{number}-iterations",
        type=_ITERATIONS,
        metavar="N",
        help=f"Optimizer steps of pass {number}. [default: by preset]",
    )


def parameter_options(*passes: int) -> Callable[[_F], _F]:
    """The options that become HarmonizeParameters, with iteration counts of the given passes."""
    return add(
        click.option(
            "--preset",
            type=click.Choice(["draft", "standard", "full"]),
            help="Size and iteration counts: draft for a first look. [default: standard]",
        ),
        click.option(
            "--level",
            type=Number(1, 10),
            metavar="1..10",
            help="Strength of the style: 1 realistic, 5 impressionist, 10 expressionist. [default: estimated]",
        ),
        click.option("--network", type=click.Choice(["vgg16", "vgg19"]), help="The feature network. [default: vgg16]"),
        click.option("--seed", type=click.IntRange(0, 2**31 - 1), metavar="N", help="Random seed. [default: 0]"),
        click.option(
            "--size",
            type=click.IntRange(64, 2048),
            metavar="PX",
            help="Largest long side at which the passes run. [default: by preset]",
        ),
        click.option(
            "--object-size",
            type=click.IntRange(16, 1024),
            metavar="PX",
            help="Size of the object at which the passes run: the square root of its box's area. "
            "[default: by preset, none with --size]",
        ),
        click.option(
            "--memory-policy",
            type=click.Choice(["refuse", "reduce"]),
            help="Where memory does not suffice: refuse, or reduce the size of the passes. "
            "[default: reduce, refuse with --size or --object-size]",
        ),
        *(iterations_option(number) for number in passes),
        *((region_option,) if passes else ()),
        *((improvement_option,) if passes else ()),
        click.option(
            "--parameters",
            "parameters_file",
            type=INPUT_FILE,
            metavar="FILE.json",
            help="Any other parameter, as in the parameters_used that --json prints. Flags win.",
        ),
    )


stream_options = add(
    click.option("--frames", type=FOLDER, metavar="DIR", help="Write every frame there, with an index.json."),
    click.option(
        "--frame-interval",
        type=Number(0, 3600),
        metavar="SECONDS",
        help="Least time between two frames; 0 for every iteration. [default: 1]",
    ),
    click.option(
        "--manifest",
        type=OUTPUT_FILE,
        metavar="FILE.json",
        help="Write what the result was made from and with, for `painterly replay`.",
    ),
    click.option("--report", type=OUTPUT_FILE, metavar="FILE.html", help="Write a page that shows the whole run."),
    click.option(
        "--keep", type=FOLDER, metavar="DIR", help="Where intermediate pictures go. [default: OUT's name + -work]"
    ),
)


def parameters_from(options: dict[str, Any]) -> HarmonizeParameters:
    """The parameter options as the client's type; what nobody said stays unset. Raises: click.UsageError."""
    file = options["parameters_file"]
    preset, network, policy = options["preset"], options["network"], options["memory_policy"]
    flags = {
        "preset": Preset[preset.upper()] if preset else None,
        "network": Network[network.upper()] if network else None,
        "stylization_level": options["level"],
        "seed": options["seed"],
        "working_long_side_px": options["size"],
        "object_size_px": options["object_size"],
        "memory_policy": MemoryPolicy(policy) if policy else None,
        "pass1.iteration_count": options.get("pass1_iterations"),
        "pass2.iteration_count": options.get("pass2_iterations"),
        "style_region": _style_region(options.get("style_region")),
        "pass1.min_improvement": options.get("min_improvement"),
        "pass2.min_improvement": options.get("min_improvement"),
    }
    return with_flags(read_parameters(file) if file else HarmonizeParameters(), flags)


def _style_region(region: tuple[float, ...] | None) -> StyleRegion | None:
    if region is None:
        return None
    left, top, width, height = region
    return StyleRegion(left_fraction=left, top_fraction=top, width_fraction=width, height_fraction=height)


def flag_of(name: str) -> str:
    """``--dilated-mask`` for ``dilated_mask``."""
    return "--" + name.replace("_", "-")


def given_arguments(ctx: click.Context, command: click.Command, without: Sequence[str] = ()) -> list[str]:
    """The options that were given on the command line and that ``command`` has too, as arguments for it.

    A token is left out: what is made of the arguments is shown and kept.
    """
    values = {**ctx.params, **ctx.ensure_object(Session).security}
    arguments: list[str] = []
    for param in command.params:
        given = ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
        if not isinstance(param, click.Option) or not given or param.name in (*without, TOKEN):
            continue
        flag, value = (
            param.opts[-1] if param.opts[-1].startswith("--") else param.opts[0],
            values.get(param.name or ""),
        )
        if param.is_flag:
            arguments.append(flag)
        else:
            arguments += [flag, ",".join(map(str, value)) if isinstance(value, tuple) else str(value)]
    return arguments
