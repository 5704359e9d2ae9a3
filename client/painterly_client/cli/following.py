"""One stream of the harmonize service from its first event to the files on disk."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from painterly_client import (
    Accepted,
    EventStream,
    Frame,
    PainterlyError,
    Progress,
    Queued,
    Result,
    Stage,
    StreamOptions,
)
from painterly_client.cli import report
from painterly_client.cli.exits import CommandFailed
from painterly_client.cli.files import (
    LOSSY_SUFFIXES,
    RESULT_FORMATS,
    check_outputs,
    make_folder,
    media_type_and_suffix,
    write_result,
    write_whole,
)
from painterly_client.cli.keys import can_read_keys, key_presses
from painterly_client.cli.manifests import write_manifest
from painterly_client.cli.ordering import Destination, Order
from painterly_client.cli.parameters import to_json
from painterly_client.cli.progress import level_text, make_display, resumption_text
from painterly_client.cli.recording import FrameFolder, History, Keeper
from painterly_client.cli.session import Session

FINISH_KEY = "f"


def destination_from(
    out: Path, options: dict[str, Any], inputs: dict[str, Path], kept_names: Sequence[str]
) -> Destination:
    """Settle where the files go, before any work. Raises: click.UsageError when an input would be overwritten."""
    keep = options["keep"] or out.with_name(f"{out.stem}-work")
    more = {f"--{name}": options[name] for name in ("report", "manifest") if options[name]}
    outputs = {"-o": out, **more}
    check_outputs(outputs | {f"the kept {name}": keep / name for name in kept_names}, inputs)
    if options["frames"]:
        make_folder("--frames", options["frames"])
    if options["report"]:
        report.check_result_name(out)
    return Destination(
        out=out, keep=keep, report=options["report"], frames=options["frames"], manifest=options["manifest"]
    )


def stream_options_from(destination: Destination, options: dict[str, Any]) -> StreamOptions:
    """What the stream is to carry."""
    return StreamOptions(frame_interval_s=options["frame_interval"], result_format=destination.result_format)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A stream that came to its result."""

    result: Result
    history: History
    frame_count: int


def follow(
    open_stream: Callable[[], EventStream],
    order: Order,
    session: Session,
    *,
    finish_early: Callable[[str], object],
    on_event: Callable[[EventStream, History], None] = lambda _stream, _history: None,
    history: History | None = None,
) -> Finished:
    """Read a stream to its end, showing progress and writing frames; on any failure the latest frame is kept.

    ``finish_early`` is called with the job's id when the key for it is pressed at a terminal; ``on_event`` after what
    an event brings is on disk. With a ``history`` the run goes on from an earlier one.
    """
    destination = order.destination
    keeper = Keeper(destination.keep, session)
    folder = FrameFolder(destination.frames, continues=history is not None) if destination.frames else None
    history = history or History()
    try:
        with (
            _told_to(session),
            make_display(quiet=session.quiet) as display,
            open_stream() as stream,
            _finishing(stream, finish_early, session),
        ):
            for event in stream:
                if isinstance(event, Result):
                    return Finished(result=event, history=history, frame_count=folder.count if folder else 0)
                if isinstance(event, Queued):
                    display.queued(event)
                elif isinstance(event, Progress):
                    display.progress(event)
                    history.add_progress(event)
                elif isinstance(event, Frame):
                    _keep_frame(event, order, history, folder, keeper)
                elif isinstance(event, Accepted) and event.attempt > 1:
                    session.say(resumption_text(event))
                on_event(stream, history)
    except BaseException:
        _keep_latest_frame(history, keeper)
        raise
    finally:
        if folder:
            folder.write_index()
    raise CommandFailed("the harmonize service ended the stream without a result")


def _keep_frame(event: Frame, order: Order, history: History, folder: FrameFolder | None, keeper: Keeper) -> None:
    history.add_frame(event)
    if folder:
        folder.add(event)
    if event.is_stage_result and folder:
        folder.write_index()
    if event.is_stage_result and order.keeps_stages:
        keeper.keep(f"{event.stage.value}.png", event.image)
        if event.stage is Stage.PASS1:
            keeper.session.go_on = ways_on(order, has_pass1=True)


def ways_on(order: Order, *, has_pass1: bool = False) -> list[tuple[str, str]]:
    """The commands that carry on from what is kept, each with its purpose."""
    ways = [("go on with", order.again)] if order.again else []
    if has_pass1 and order.second_pass:
        ways.append(("or with the second pass alone, without post-processing", order.second_pass))
    return ways


@contextlib.contextmanager
def _finishing(stream: EventStream, finish_early: Callable[[str], object], session: Session) -> Iterator[None]:
    """While it lasts, a key press ends the running pass early."""

    def on_key(key: str) -> None:
        if key.lower() != FINISH_KEY or not stream.job_id:
            return
        try:
            finish_early(stream.job_id)
        except PainterlyError as error:
            session.say(f"the pass cannot be ended early: {error}")
        else:
            session.say("the running pass ends with what it has")

    if can_read_keys():
        session.say(f"press {FINISH_KEY} to end the running pass early, with what it has")
    with key_presses(on_key):
        yield


@contextlib.contextmanager
def _told_to(session: Session) -> Iterator[None]:
    """What the client library logs of lost connections is said to the user."""

    class Saying(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            session.say(record.getMessage())

    handler, logger = Saying(), logging.getLogger("painterly_client")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _keep_latest_frame(history: History, keeper: Keeper) -> None:
    frame = history.latest_frame
    # A stage's result is on disk already.
    if frame and not frame.is_stage_result:
        keeper.keep(f"latest-frame{media_type_and_suffix(frame.image)[1]}", frame.image)


def finish(finished: Finished, order: Order, session: Session) -> None:
    """Write the result, manifest and report, say where everything is, and answer as JSON when that was asked for."""
    result, destination = finished.result, order.destination
    write_result(destination.out, result.image)
    session.kept["result"] = destination.out
    if destination.manifest:
        write_manifest(destination.manifest, result, order.inputs, destination.out)
    if destination.report:
        pictures = order.pictures()
        run = report.Run(
            title=destination.out.name,
            pictures=pictures,
            before=dict(pictures)["composite"],
            result=result,
            history=finished.history,
            extra=dict(order.extra),
        )
        write_whole(destination.report, report.render(run).encode())
    _say_where(finished, destination, session)
    kept = {name: path for name, path in session.kept.items() if name != "result"}
    session.answer({**_result_json(finished, destination), **order.extra, "kept": kept})


def _say_where(finished: Finished, destination: Destination, session: Session) -> None:
    result = finished.result
    if destination.out.suffix.lower() in LOSSY_SUFFIXES:
        name = RESULT_FORMATS[destination.out.suffix.lower()]
        session.say(f"note: {name} is lossy; .png .tif .bmp .webp keep the painting's own pixels exactly")
    if destination.out.suffix.lower() == ".webp":
        session.say("note: .webp results are written lossless and keep the painting's own pixels exactly")
    seconds = sum(result.stage_times_s.values())
    size = f"{result.width_px} x {result.height_px}"
    session.say(
        f"result: {destination.out} ({size}, {result.changed_pixel_count} pixels repainted, "
        f"{seconds:.1f} s on {result.device})"
    )
    if level := level_text(result):
        session.say(f"level: {level}")
    if destination.frames:
        session.say(f"frames: {destination.frames} ({finished.frame_count} and index.json)")
    kept = [str(path) for name, path in session.kept.items() if name != "result"]
    if kept:
        session.say(f"kept: {', '.join(kept)}")
    if destination.report:
        session.say(f"report: {destination.report}")
    if destination.manifest:
        session.say(f"manifest: {destination.manifest}")
    for warning in result.quality.warnings if result.quality else ():
        session.say(f"look: {warning.message}; {warning.advice}")


def _result_json(finished: Finished, destination: Destination) -> dict[str, Any]:
    result = finished.result
    return {
        "result": destination.out,
        "width_px": result.width_px,
        "height_px": result.height_px,
        "changed_pixel_count": result.changed_pixel_count,
        "blend_pixel_count": result.blend_pixel_count,
        "working_width_px": result.working_width_px,
        "working_height_px": result.working_height_px,
        "parameters_used": to_json(result.parameters_used),
        "stylization_level": to_json(result.stylization_level),
        "pass2_weights": dict(result.pass2_weights),
        "painting_noise": result.painting_noise,
        "device": result.device,
        "weights_checksum": result.weights_checksum,
        "stage_times_s": {stage.value: seconds for stage, seconds in result.stage_times_s.items()},
        "quality": to_json(result.quality),
        "frames": destination.frames,
        "frame_count": finished.frame_count,
        "report": destination.report,
        "manifest": destination.manifest,
    }
