"""``painterly jobs``: the jobs of a harmonize service, and the job files beside outputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from painterly_client import Client, Job, JobNotFound, JobState, PainterlyError
from painterly_client.cli import options as opt
from painterly_client.cli.connecting import Services
from painterly_client.cli.files import RESULT_FORMATS
from painterly_client.cli.job_file import SUFFIX, path_for, read_job_file
from painterly_client.cli.parameters import to_json
from painterly_client.cli.progress import stage_text
from painterly_client.cli.session import Session

_F = TypeVar("_F", bound=Callable[..., Any])

_DEFAULT_ENDPOINT = "127.0.0.1:50052"
# Of these nothing can be fetched any more.
_GONE = frozenset({JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})


@click.group()
def jobs() -> None:
    """Look at the jobs of a harmonize service, cancel them, and clear away the files of those that are gone.

    JOB is a job's id or key, its output or its job file. A job file knows its endpoint; else it is
    --harmonize-endpoint, by default 127.0.0.1:50052.

    \b
    Examples:
      painterly jobs list --state running --state queued
      painterly jobs show result.png
      painterly jobs cancel 4f1c0e6a9d9b4c1f8a53c7f6f5e0f1d2
      painterly jobs prune pictures
    """


def _common(function: _F) -> _F:
    return opt.add(opt.endpoint_option("harmonize"), opt.output_options)(function)


@dataclass(frozen=True, kw_only=True)
class _Target:
    """A job and where it is; ``path`` is its job file, if there is one."""

    endpoint: str
    job_id: str
    job_key: str = ""
    path: Path | None = None

    def ask(self, client: Client) -> Job:
        try:
            return client.get_job(self.job_id) if self.job_id else client.get_job(job_key=self.job_key)
        except JobNotFound:
            if self.path:
                raise
            return client.get_job(job_key=self.job_id)  # what was given may be a key as well


def _target(ctx: click.Context, name: str, harmonize_endpoint: str | None) -> _Target:
    path = Path(name) if name.endswith(SUFFIX) else path_for(Path(name))
    given = ctx.get_parameter_source("harmonize_endpoint") is click.core.ParameterSource.COMMANDLINE
    if path.is_file():
        file = read_job_file(path)
        endpoint = harmonize_endpoint if given and harmonize_endpoint else file.endpoint
        return _Target(endpoint=endpoint, job_id=file.job_id, job_key=file.job_key, path=path)
    if name.endswith((SUFFIX, *RESULT_FORMATS)) or "/" in name:
        raise click.UsageError(f"there is no job file {path}")
    return _Target(endpoint=harmonize_endpoint or _DEFAULT_ENDPOINT, job_id=name)


@jobs.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in JobState]),
    help="Only jobs in this state; may be given several times.",
)
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="The newest N.")
@_common
@click.pass_context
def list_(ctx: click.Context, /, states: Sequence[str], limit: int, harmonize_endpoint: str | None) -> None:
    """List one's own jobs, the newest first.

    \b
    Example:
      painterly jobs list --state parked --json
    """
    session = ctx.ensure_object(Session)
    endpoint = harmonize_endpoint or _DEFAULT_ENDPOINT
    with Services(("harmonize",), {"harmonize": endpoint}, session) as services:
        client = services.client("harmonize")
        found = list(itertools.islice(_all_jobs(client, [JobState(state) for state in states], limit), limit))
    for line in _table(found):
        click.echo(line, err=session.json_wanted)
    session.answer({"endpoint": endpoint, "jobs": [_job_json(job) for job in found]})


@jobs.command()
@click.argument("job")
@_common
@click.pass_context
def show(ctx: click.Context, /, job: str, harmonize_endpoint: str | None) -> None:
    """Show what a server knows of a job.

    \b
    Example:
      painterly jobs show result.png
    """
    session = ctx.ensure_object(Session)
    target = _target(ctx, job, harmonize_endpoint)
    with Services(("harmonize",), {"harmonize": target.endpoint}, session) as services:
        found = target.ask(services.client("harmonize"))
    for line in _lines(found):
        click.echo(line, err=session.json_wanted)
    session.answer(_job_json(found))


@jobs.command()
@click.argument("names", nargs=-1, required=True, metavar="JOB...")
@_common
@click.pass_context
def cancel(ctx: click.Context, /, names: Sequence[str], harmonize_endpoint: str | None) -> None:
    """Cancel jobs; their job files are removed. One that has ended stays as it is.

    \b
    Example:
      painterly jobs cancel result.png
    """
    session = ctx.ensure_object(Session)
    states: dict[str, str] = {}
    for name in names:
        target = _target(ctx, name, harmonize_endpoint)
        with Services(("harmonize",), {"harmonize": target.endpoint}, session) as services:
            client = services.client("harmonize")
            job = client.cancel_job(target.ask(client).job_id)
        has_ended = job.state in (JobState.SUCCEEDED, JobState.FAILED)
        if target.path and job.state is not JobState.SUCCEEDED:
            target.path.unlink(missing_ok=True)
        session.say(f"job {job.job_id}: " + (f"had {job.state.value} already" if has_ended else "is cancelled"))
        states[job.job_id] = job.state.value
    session.answer({"jobs": states})


@jobs.command()
@click.argument("folders", nargs=-1, metavar="[FOLDER]...", type=opt.FOLDER)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@_common
@click.pass_context
def prune(ctx: click.Context, /, folders: Sequence[Path], dry_run: bool, harmonize_endpoint: str | None) -> None:
    """Remove the job files in the folders whose jobs failed, were cancelled, or are no longer known to their server.

    Without FOLDER: in this one. Files of jobs that can still be resumed or fetched stay, and so do those whose server
    cannot be asked.

    \b
    Example:
      painterly jobs prune pictures --dry-run
    """
    session = ctx.ensure_object(Session)
    removed: list[Path] = []
    for path in sorted(path for folder in folders or (Path(),) for path in folder.glob(f"*{SUFFIX}")):
        try:
            state = _state(_target(ctx, str(path), harmonize_endpoint), session)
        except (click.UsageError, PainterlyError) as error:
            session.say(f"{path} stays: {error}")
            continue
        if state is not None and state not in _GONE:
            session.say(f"{path} stays: its job is {state.value}")
            continue
        what = f"its job is {state.value if state else 'unknown'}"
        session.say(f"{path} {'would be' if dry_run else 'is'} removed: {what}")
        removed.append(path)
        if not dry_run:
            path.unlink(missing_ok=True)
    session.answer({"removed": removed, "dry_run": dry_run})


def _state(target: _Target, session: Session) -> JobState | None:
    """The state of a job; None for one that its server does not know."""
    try:
        with Services(("harmonize",), {"harmonize": target.endpoint}, session) as services:
            return target.ask(services.client("harmonize")).state
    except JobNotFound:
        return None


def _all_jobs(client: Client, states: Sequence[JobState], limit: int) -> Iterator[Job]:
    token = ""
    while True:
        page = client.list_jobs(states=states, page_size=min(limit, 1000), page_token=token)
        yield from page.jobs
        token = page.next_page_token
        if not token:
            return


def _table(found: Sequence[Job]) -> Iterator[str]:
    rows = [("JOB", "CALL", "STATE", "PROGRESS", "BEGUN", "KEY")]
    for job in found:
        begun = job.create_time.astimezone().strftime("%Y-%m-%d %H:%M:%S")
        rows.append((job.job_id, job.kind.value, job.state.value, _progress(job), begun, job.job_key))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _progress(job: Job) -> str:
    if job.position is not None:
        return f"{job.position} before it"
    if job.progress is None:
        return "-"
    return f"{stage_text(job.progress.stage)} {job.progress.iteration}/{job.progress.iteration_count}"


def _lines(job: Job) -> Iterator[str]:
    yield f"job: {job.job_id}"
    if job.job_key:
        yield f"key: {job.job_key}"
    yield f"call: {job.kind.value}"
    yield f"state: {job.state.value}"
    yield f"progress: {_progress(job)}"
    if job.estimated_wait_s is not None:
        yield f"estimated wait: {job.estimated_wait_s:.0f} s"
    yield f"accepted: {_time_text(job.create_time)}"
    for name, time in (("started", job.start_time), ("ended", job.end_time), ("kept until", job.expire_time)):
        if time is not None:
            yield f"{name}: {_time_text(time)}"
    if job.checkpoint:
        yield f"checkpoint: {stage_text(job.checkpoint.stage)}, iteration {job.checkpoint.iteration}"
    yield f"attempt: {job.attempt}"
    yield f"runs unattended: {'yes' if job.runs_unattended else 'no'}"
    if job.failure:
        yield f"failure: {job.failure.reason}: {job.failure.message}"


def _time_text(time: datetime) -> str:
    return time.astimezone().isoformat(sep=" ", timespec="seconds")


def _job_json(job: Job) -> dict[str, Any]:
    times = ("create_time", "start_time", "end_time", "expire_time")
    told = {name: getattr(job, name).isoformat() for name in times if getattr(job, name) is not None}
    return {**to_json(job), **told}
