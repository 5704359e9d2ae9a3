"""The commands that repaint: ``harmonize``, ``pass1`` and ``pass2``."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from painterly_client import Reattachment
from painterly_client.cli import options as opt
from painterly_client.cli import placements
from painterly_client.cli.connecting import Services
from painterly_client.cli.cutting import REMOVAL_NAMES, given_flags, removal_from, removal_inputs, removal_options
from painterly_client.cli.files import check_outputs, read_input
from painterly_client.cli.following import destination_from, stream_options_from, ways_on
from painterly_client.cli.ordering import Order
from painterly_client.cli.parameters import to_json
from painterly_client.cli.recording import Keeper
from painterly_client.cli.running import check_job_options, finish_order, run_order
from painterly_client.cli.session import Session

_PREPARED_NAMES = ("composite.png", "mask.png", "dilated_mask.png", "element.png")
_STAGE_NAMES = ("pass1.png", "pass2.png")


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """The files that the harmonize service works from.

    ``dilated_mask`` None: the server derives it. ``style_mask`` None: the whole painting lends its hand.
    """

    painting: Path
    composite: Path
    mask: Path
    dilated_mask: Path | None
    style_mask: Path | None

    @property
    def _more(self) -> dict[str, Path]:
        given = {"dilated_mask": self.dilated_mask, "style_mask": self.style_mask}
        return {name: path for name, path in given.items() if path}

    def arguments(self) -> list[str]:
        """These files as arguments of a command."""
        more = [word for name, path in self._more.items() for word in (opt.flag_of(name), str(path))]
        return ["--composite", str(self.composite), "--mask", str(self.mask), *more, str(self.painting)]

    def inputs(self) -> dict[str, Path]:
        """These files by the name of the option."""
        more = {opt.flag_of(name): path for name, path in self._more.items()}
        return {"PAINTING": self.painting, "--composite": self.composite, "--mask": self.mask, **more}

    def files(self) -> dict[str, Path]:
        """These files by the keyword of the client's calls."""
        return {"painting": self.painting, "composite": self.composite, "mask": self.mask, **self._more}


def _prepared_options(*, required: bool) -> Callable[[Any], Any]:
    return opt.add(
        click.option("--composite", type=opt.INPUT_FILE, required=required, help="The thing pasted over the painting."),
        click.option("--mask", type=opt.INPUT_FILE, required=required, help="White where the thing is."),
        click.option("--dilated-mask", type=opt.INPUT_FILE, help="The mask, grown. [default: derived from the mask]"),
        click.option(
            "--style-mask",
            type=opt.INPUT_FILE,
            help="White where the painting is to lend its hand. [default: all of it]",
        ),
    )


@click.command(short_help="Put the thing in a photo into a painting.")
@click.argument("pictures", nargs=-1, required=True, metavar="[PHOTO] PAINTING", type=opt.INPUT_FILE)
@opt.result_option
@placements.placement_options
@placements.save_option
@placements.compositing_options
@removal_options
@_prepared_options(required=False)
@opt.parameter_options(1, 2)
@opt.stream_options
@opt.endpoint_option("preprocess")
@opt.endpoint_option("harmonize")
@opt.job_options
@opt.output_options
@click.pass_context
def harmonize(ctx: click.Context, /, pictures: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Put the thing in PHOTO into PAINTING, in the painter's hand.

    With --composite and --mask, start from prepared files instead of a photo.

    At a given harmonize endpoint the job outlives this command: a lost connection is taken up again by itself, and the
    first Ctrl-C (or --detach) leaves the job there, for `painterly resume`; a second Ctrl-C cancels it. At a terminal,
    f ends the running pass early with what it has.

    \b
    Examples:
      painterly harmonize boat.jpg seascape.jpg -o result.png --at 0.3,0.6 --height 0.4 --preset draft
      painterly harmonize boat.jpg seascape.jpg -o result.png --at auto --save-placement place.json
      painterly harmonize boat.jpg seascape.jpg -o result.png --frames frames --report report.html
      painterly harmonize --composite c.png --mask m.png seascape.jpg -o result.png --level 8
      painterly harmonize boat.jpg seascape.jpg -o result.png --harmonize-endpoint gpu:50052 --detach
    """
    session = ctx.ensure_object(Session)
    photo, painting = _photo_and_painting(ctx, pictures, options)
    if photo is None:
        prepared = _given(painting, options)
        inputs, kept_names, needed = prepared.inputs(), [*_STAGE_NAMES], ["harmonize"]
    else:
        inputs = {"PHOTO": photo, "PAINTING": painting, **removal_inputs(options)}
        if options["style_mask"]:
            inputs["--style-mask"] = options["style_mask"]
        kept_names = [*_PREPARED_NAMES, *_STAGE_NAMES]
        needed = ["preprocess", "harmonize"]
        if options["save_placement"]:
            check_outputs({"--save-placement": options["save_placement"]}, inputs)
    destination = destination_from(out, options, inputs, kept_names)
    check_job_options(options)
    parameters, stream = opt.parameters_from(options), stream_options_from(destination, options)
    keeper = Keeper(destination.keep, session)
    shown: dict[str, Path] = {}
    extra: dict[str, Any] = {}
    with _services(needed, options, session) as services:
        if photo is not None:
            prepared, extra = _prepare(services, photo, painting, options, keeper)
            shown = {"photo": photo, "element": keeper.path("element.png")}
        order = Order(
            command="harmonize",
            inputs=prepared.files(),
            parameters=parameters,
            stream=stream,
            destination=destination,
            shown=shown,
            extra=extra,
            again=_command(ctx, harmonize, prepared, out),
            second_pass=_command(ctx, pass2, prepared, out, "--pass1", str(keeper.path("pass1.png"))),
        )
        if photo is not None:
            session.go_on = ways_on(order)
        run = run_order(services.client("harmonize"), order, options, session)
    finish_order(run, order, session)


def _services(needed: Sequence[str], options: dict[str, Any], session: Session) -> Services:
    return Services(
        needed,
        {name: options[f"{name}_endpoint"] for name in needed},
        session,
        reattachment=Reattachment(give_up_after_s=options["give_up_after"]),
        waits_when_busy=options["wait"],
    )


def _given(painting: Path, options: dict[str, Any]) -> Prepared:
    return Prepared(
        painting=painting,
        composite=options["composite"],
        mask=options["mask"],
        dilated_mask=options["dilated_mask"],
        style_mask=options["style_mask"],
    )


def _photo_and_painting(
    ctx: click.Context, pictures: tuple[Path, ...], options: dict[str, Any]
) -> tuple[Path | None, Path]:
    from_files = [name for name in ("composite", "mask", "dilated_mask") if options[name]]
    if not from_files:
        if len(pictures) != 2:
            raise click.UsageError(f"PHOTO and PAINTING are needed, got {len(pictures)} pictures", ctx)
        return pictures
    missing = [f"--{name}" for name in ("composite", "mask") if not options[name]]
    if missing:
        raise click.UsageError(f"prepared files need {' and '.join(missing)} too", ctx)
    if len(pictures) != 1:
        raise click.UsageError("with --composite and --mask, give PAINTING alone, without PHOTO", ctx)
    useless = given_flags(options) + [
        opt.flag_of(name) for name in placements.PLACEMENT_NAMES if options[name] is not None
    ]
    if useless:
        raise click.UsageError(f"{', '.join(useless)}: the thing in --composite has its place already", ctx)
    return None, pictures[0]


def _prepare(
    services: Services, photo: Path, painting: Path, options: dict[str, Any], keeper: Keeper
) -> tuple[Prepared, dict[str, Any]]:
    answer = services.client("preprocess").prepare(
        read_input("PHOTO", photo),
        read_input("PAINTING", painting),
        removal=removal_from(options),
        placement=placements.placements_from(options, 1)[0],
        compositing=placements.compositing_from(options),
    )
    if options["save_placement"]:
        placements.write_placements(options["save_placement"], [answer.placement_used])
    prepared = Prepared(
        painting=painting,
        composite=keeper.keep("composite.png", answer.composite),
        mask=keeper.keep("mask.png", answer.mask),
        dilated_mask=keeper.keep("dilated_mask.png", answer.dilated_mask),
        style_mask=options["style_mask"],
    )
    keeper.keep("element.png", answer.element)
    extra = {
        "method_used": to_json(answer.method_used),
        "method_reason": answer.method_reason,
        "details": to_json(answer.details),
        "placement_used": to_json(answer.placement_used),
        **({"placement_reason": answer.placement_reason} if answer.placement_reason else {}),
        "dilation_used": to_json(answer.dilation_used),
    }
    return prepared, extra


_REPLACED = (
    *("out", "composite", "mask", "dilated_mask", "style_mask", "pass1", "job_key"),
    *REMOVAL_NAMES,
    *placements.PLACEMENT_NAMES,
)


def _command(ctx: click.Context, command: click.Command, prepared: Prepared, out: Path, *more: str) -> str:
    given = opt.given_arguments(ctx, command, without=_REPLACED)
    arguments = ["painterly", str(command.name), *prepared.arguments(), *more, "-o", str(out), *given]
    return shlex.join(arguments)


def _run_pass(ctx: click.Context, painting: Path, out: Path, options: dict[str, Any]) -> None:
    """Run one pass alone, from prepared files."""
    session = ctx.ensure_object(Session)
    prepared = _given(painting, options)
    inputs, files = prepared.inputs(), prepared.files()
    if "pass1" in options:
        inputs["--pass1"] = files["pass1_result"] = options["pass1"]
    destination = destination_from(out, options, inputs, [])
    check_job_options(options)
    order = Order(
        command="pass2" if "pass1" in options else "pass1",
        inputs=files,
        parameters=opt.parameters_from(options),
        stream=stream_options_from(destination, options),
        destination=destination,
    )
    with _services(("harmonize",), options, session) as services:
        run = run_order(services.client("harmonize"), order, options, session)
    finish_order(run, order, session)


@click.command()
@click.argument("painting", type=opt.INPUT_FILE)
@opt.result_option
@_prepared_options(required=True)
@opt.parameter_options(1)
@opt.stream_options
@opt.endpoint_option("harmonize")
@opt.job_options
@opt.output_options
@click.pass_context
def pass1(ctx: click.Context, /, painting: Path, out: Path, **options: Any) -> None:
    """Run the first, coarse pass alone.

    \b
    Example:
      painterly pass1 --composite c.png --mask m.png painting.jpg -o pass1.png --pass1-iterations 200
    """
    _run_pass(ctx, painting, out, options)


@click.command()
@click.argument("painting", type=opt.INPUT_FILE)
@opt.result_option
@_prepared_options(required=True)
@click.option("--pass1", type=opt.INPUT_FILE, required=True, help="The first pass's result, lossless.")
@opt.parameter_options(2)
@opt.stream_options
@opt.endpoint_option("harmonize")
@opt.job_options
@opt.output_options
@click.pass_context
def pass2(ctx: click.Context, /, painting: Path, out: Path, **options: Any) -> None:
    """Run the second, refining pass alone.

    \b
    Example:
      painterly pass2 --composite c.png --mask m.png --pass1 pass1.png painting.jpg -o pass2.png
    """
    _run_pass(ctx, painting, out, options)
