"""The command that prepares many photos for one painting: ``prepare``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from painterly_client import Client, Prepared, ServerBusy, ServerUnavailable
from painterly_client.cli import exits, placements
from painterly_client.cli import options as opt
from painterly_client.cli.connecting import Services
from painterly_client.cli.cutting import removal_from, removal_inputs, removal_options
from painterly_client.cli.dilating import dilation_from, dilation_options
from painterly_client.cli.encoding import encoding_options, output_from
from painterly_client.cli.files import make_folder, read_input, write_whole
from painterly_client.cli.parameters import to_json
from painterly_client.cli.session import Session

_SUFFIXES = {"png": ".png", "tiff": ".tif", "webp": ".webp", "bmp": ".bmp", "jpeg": ".jpg", "avif": ".avif"}
_BUSY_PATIENCE_S = 120.0
# The last file that is written: a folder that has it is complete.
_PLACEMENT_NAME = "placement.json"


@dataclass(frozen=True, kw_only=True)
class _Job:
    """One photo and the folder for its files."""

    photo: Path
    folder: Path


@dataclass(frozen=True, kw_only=True)
class _Outcome:
    """What became of a photo: the answer, or why there is none."""

    job: _Job
    answer: Prepared | None = None
    failure: exits.Failure | None = None


@click.command(short_help="Prepare many photos for one painting.")
@click.argument("pictures", nargs=-1, required=True, metavar="PHOTO... PAINTING", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    required=True,
    type=opt.FOLDER,
    metavar="DIR",
    help="Each photo gets a folder of its own name there.",
)
@click.option("--jobs", type=click.IntRange(1, 32), default=2, show_default=True, help="How many photos at a time.")
@removal_options
@placements.placement_options
@placements.compositing_options
@dilation_options
@click.option(
    "--format",
    "suffix",
    type=click.Choice(list(_SUFFIXES)),
    default="png",
    show_default=True,
    help="Of composites and elements; jpeg and avif need --lossy.",
)
@encoding_options
@opt.endpoint_option("preprocess")
@opt.output_options
@click.pass_context
def prepare(ctx: click.Context, /, pictures: tuple[Path, ...], out: Path, **options: Any) -> None:
    """Cut the thing out of each PHOTO and place it over PAINTING: composite, masks, element and placement.

    A photo that fails does not stop the others: it is named at the end with the reason, and the exit code is 1. After
    Ctrl-C what is done stays.

    \b
    Examples:
      painterly prepare boat.jpg gull.jpg seascape.jpg -o prepared --at auto
      painterly prepare photos/*.jpg seascape.jpg -o prepared --jobs 4 --height 0.3 --json
    """
    session = ctx.ensure_object(Session)
    if len(pictures) < 2:
        raise click.UsageError("PHOTO and PAINTING are needed, got 1 picture", ctx)
    *photos, painting = pictures
    if len(photos) > 1 and (files := removal_inputs(options)):
        raise click.UsageError(f"{', '.join(files)}: belongs to one photo, but there are {len(photos)}", ctx)
    arguments = {
        "removal": removal_from(options),
        "placement": placements.placements_from(options, 1)[0],
        "compositing": placements.compositing_from(options),
        "dilation": dilation_from(options),
        "output": output_from(_SUFFIXES[options["suffix"]], options["quality"], lossy=options["lossy"]),
    }
    jobs = _jobs(photos, out)
    for job, path in ((job, path) for job in jobs for path in pictures):
        if path.resolve().parent == job.folder.resolve():
            raise click.UsageError(f"-o {out}: {path} lies where the files of {job.photo} go; choose another folder")
    ground = read_input("PAINTING", painting)
    make_folder("-o", out)
    with Services(("preprocess",), {"preprocess": options["preprocess_endpoint"]}, session) as services:
        client = services.client("preprocess")

        def work(job: _Job) -> _Outcome:
            return _prepare_one(client, job, ground, arguments, _SUFFIXES[options["suffix"]])

        outcomes = _run_all(work, jobs, options["jobs"], session)
    failed = [outcome for outcome in outcomes if outcome.failure]
    session.say(f"prepared {len(jobs) - len(failed)} of {len(jobs)} in {out}")
    for outcome in failed:
        assert outcome.failure is not None
        click.echo(f"failed: {outcome.job.photo}: {outcome.failure.message}", err=True)
    session.answer({"folder": out, "photos": [_told(outcome) for outcome in outcomes]})
    if failed:
        ctx.exit(failed[0].failure.exit_code if len(jobs) == 1 and failed[0].failure else exits.FAILED)


def _jobs(photos: Sequence[Path], out: Path) -> list[_Job]:
    """A folder for each photo, numbered where names repeat."""
    taken: set[str] = set()
    jobs = []
    for photo in photos:
        name, number = photo.stem, 1
        while name in taken:
            number += 1
            name = f"{photo.stem}-{number}"
        taken.add(name)
        jobs.append(_Job(photo=photo, folder=out / name))
    return jobs


def _run_all(work: Callable[[_Job], _Outcome], jobs: Sequence[_Job], parallel: int, session: Session) -> list[_Outcome]:
    """Work on all photos; outcomes in their order. Interrupted, or without a server, it leaves the rest undone."""
    executor = ThreadPoolExecutor(parallel, thread_name_prefix="prepare")
    futures: dict[Future[_Outcome], int] = {executor.submit(work, job): index for index, job in enumerate(jobs)}
    outcomes: dict[int, _Outcome] = {}
    try:
        with _progress(len(jobs), session) as advance:
            for future in as_completed(futures):
                outcome = future.result()
                outcomes[futures[future]] = outcome
                if outcome.answer:
                    session.kept[str(outcome.job.photo)] = outcome.job.folder
                advance(outcome)
    except BaseException:
        session.say(f"{len(session.kept)} of {len(jobs)} photos are prepared")
        raise
    finally:
        # The calls that still run end when the client is closed.
        executor.shutdown(wait=False, cancel_futures=True)
    return [outcomes[index] for index in range(len(jobs))]


def _prepare_one(client: Client, job: _Job, painting: bytes, arguments: dict[str, Any], suffix: str) -> _Outcome:
    """Prepare one photo and write its files. Raises: ServerUnavailable, which ends the others too."""
    try:
        answer = _patiently(lambda: client.prepare(read_input("PHOTO", job.photo), painting, **arguments))
        _write(job, answer, suffix)
    except ServerUnavailable:
        raise
    except click.UsageError as error:
        return _Outcome(
            job=job, failure=exits.Failure(message=error.message, exit_code=exits.BAD_INPUT, reason="UNREADABLE")
        )
    except Exception as error:  # noqa: BLE001 (one photo's trouble is told and does not stop the others)
        return _Outcome(job=job, failure=exits.failure_of(error))
    return _Outcome(job=job, answer=answer)


def _patiently(call: Callable[[], Prepared]) -> Prepared:
    """Call again while the server is busy and says when to, for two minutes at most."""
    end = time.monotonic() + _BUSY_PATIENCE_S
    while True:
        try:
            return call()
        except ServerBusy as error:
            if error.retry_after_s is None or time.monotonic() > end:
                raise
            time.sleep(error.retry_after_s)


def _write(job: _Job, answer: Prepared, suffix: str) -> None:
    make_folder("-o", job.folder)
    has_alpha = suffix not in (".jpg", ".bmp")
    write_whole(job.folder / f"composite{suffix}", answer.composite)
    write_whole(job.folder / "mask.png", answer.mask)
    write_whole(job.folder / "dilated_mask.png", answer.dilated_mask)
    write_whole(job.folder / f"element{suffix if has_alpha else '.png'}", answer.element)
    placements.write_placements(job.folder / _PLACEMENT_NAME, [answer.placement_used])


@contextlib.contextmanager
def _progress(total: int, session: Session) -> Iterator[Callable[[_Outcome], None]]:
    """A bar at a terminal, lines elsewhere, nothing when quiet."""
    console = Console(stderr=True)
    if session.quiet or not console.is_terminal:
        done = 0

        def tell(outcome: _Outcome) -> None:
            nonlocal done
            done += 1
            session.say(f"{done}/{total} {outcome.job.photo}: {'failed' if outcome.failure else outcome.job.folder}")

        yield tell
        return
    columns = (BarColumn(bar_width=28), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Bars(TextColumn("prepare"), *columns, TextColumn("[dim]{task.fields[photo]}"), console=console) as bars:
        task = bars.add_task("", total=total, photo="")
        yield lambda outcome: bars.update(task, advance=1, photo=outcome.job.photo.name)


def _told(outcome: _Outcome) -> dict[str, Any]:
    if outcome.failure:
        failure = outcome.failure
        return {
            "photo": outcome.job.photo,
            "error": {"message": failure.message, "reason": failure.reason, "metadata": dict(failure.metadata)},
        }
    assert outcome.answer is not None
    return {
        "photo": outcome.job.photo,
        "folder": outcome.job.folder,
        "method_used": to_json(outcome.answer.method_used),
        "placement_used": to_json(outcome.answer.placement_used),
        "placement_reason": outcome.answer.placement_reason,
    }
