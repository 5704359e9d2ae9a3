"""The command that makes a result again from its manifest: ``replay``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import click

from painterly_client import Environment, Manifest, Result, StreamOptions
from painterly_client._events import Progress, Queued
from painterly_client.cli import options as opt
from painterly_client.cli.connecting import Services
from painterly_client.cli.exits import CommandFailed
from painterly_client.cli.files import RESULT_FORMATS, check_outputs, write_result
from painterly_client.cli.manifests import ManifestFile, read_inputs, read_manifest
from painterly_client.cli.progress import make_display
from painterly_client.cli.session import Session


@click.command(short_help="Make a result again from its manifest, and compare.")
@click.argument("manifest", type=opt.INPUT_FILE)
@click.option("-o", "--output", "out", type=opt.OUTPUT_FILE, metavar="OUT", help="Write the picture there.")
@click.option(
    "--anyway", is_flag=True, help="Compute also where weights, versions or device differ: the bytes may then differ."
)
@opt.endpoint_option("harmonize")
@opt.output_options
@click.pass_context
def replay(ctx: click.Context, /, manifest: Path, out: Path | None, **options: Any) -> None:
    """Make the result of MANIFEST again and say whether its bytes are the same: exit code 0 where they are, else 1.

    It is refused where an input file has changed, and where weights, versions, the kind of device, its threads or its
    precision are others. A service that is started for the command takes threads and precision from the manifest.

    \b
    Examples:
      painterly harmonize boat.jpg seascape.jpg -o result.png --manifest result.json
      painterly replay result.json
      painterly replay result.json -o again.png --anyway
    """
    session = ctx.ensure_object(Session)
    file = read_manifest(manifest)
    if out is not None:
        _check_output(out, file, manifest)
    images = read_inputs(file)
    settings = {} if options["anyway"] else _settings(file.manifest.environment)
    needed = {"harmonize": options["harmonize_endpoint"]}
    with Services(("harmonize",), needed, session, environment=settings) as services:
        stream = StreamOptions(omit_frames=True, result_format=file.result_format)
        client = services.client("harmonize")
        result = _result(client.replay(file.manifest, images, stream=stream, anywhere=options["anyway"]), session)
    if out is not None:
        session.kept["result"] = write_result(out, result.image)
    _compare(file.manifest, result, out, session)


def _check_output(out: Path, file: ManifestFile, manifest: Path) -> None:
    wanted = file.result_format.name
    if RESULT_FORMATS.get(out.suffix.lower()) != wanted:
        raise click.UsageError(f"-o {out} must be a {wanted} file, as the manifest's result is")
    check_outputs({"-o": out}, {"MANIFEST": manifest, **file.inputs})


def _settings(environment: Environment) -> dict[str, str]:
    """What a service of our own is started with, to compute as it was computed."""
    settings = {"PRECISION": environment.precision}
    if environment.thread_count:
        settings |= {"THREADS": str(environment.thread_count), "DEVICE": "cpu"}
    return {f"PAINTERLY_HARMONIZE_{name}": value for name, value in settings.items()}


def _result(stream: Any, session: Session) -> Result:
    with make_display(quiet=session.quiet) as display, stream:
        for event in stream:
            if isinstance(event, Result):
                return event
            if isinstance(event, Queued):
                display.queued(event)
            elif isinstance(event, Progress):
                display.progress(event)
    raise CommandFailed("the harmonize service ended the stream without a result")


def _compare(manifest: Manifest, result: Result, out: Path | None, session: Session) -> None:
    expected, sha256 = manifest.output, hashlib.sha256(result.image).hexdigest()
    is_equal = sha256 == expected.sha256
    found = result.manifest.output.pixels_sha256 if result.manifest else ""
    are_pixels_equal = is_equal or found == expected.pixels_sha256
    if not is_equal:
        what = "the pixels are equal, the file is not" if are_pixels_equal else "the picture is another"
        text = f"not equal: {what}; sha256 {sha256[:12]}…, the manifest has {expected.sha256[:12]}…"
        raise CommandFailed(text, reason="FILE_DIFFERS" if are_pixels_equal else "RESULT_DIFFERS")
    session.say(f"equal: sha256 {sha256}")
    session.answer({"equal": True, "sha256": sha256, "result": out, "device": result.device})
