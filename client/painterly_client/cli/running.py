"""A run of the harmonize service as its commands make it: a named job at a given endpoint, else an unnamed one."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from painterly_client import Client
from painterly_client.cli.detaching import Tracker, follow_job, leave_job
from painterly_client.cli.following import Finished, finish, follow
from painterly_client.cli.job_file import JobFile, path_for, read_job_file
from painterly_client.cli.ordering import Order
from painterly_client.cli.session import Session


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a run came out: ``finished`` None when it was left to the server, ``tracker`` None for an unnamed job."""

    finished: Finished | None
    tracker: Tracker | None


def check_job_options(options: dict[str, Any]) -> None:
    """Refuse what only a server that outlives the command can do. Raises: click.UsageError."""
    given = [flag for flag, name in (("--job-key", "job_key"), ("--detach", "detach")) if options[name]]
    if given and not options["harmonize_endpoint"]:
        text = f"{' and '.join(given)}: a service that is started for this command ends with it"
        raise click.UsageError(f"{text}; give --harmonize-endpoint")


def run_order(client: Client, order: Order, options: dict[str, Any], session: Session) -> Run:
    """Run an order: named where an endpoint was given, with a job file beside the output."""
    endpoint = options["harmonize_endpoint"]
    if not endpoint:
        finished = follow(lambda: order.begin(client), order, session, finish_early=client.finish_job)
        return Run(finished=finished, tracker=None)
    path = path_for(order.destination.out)
    if path.is_file():
        _say_replaced(path, session)
    file = JobFile(
        path=path,
        endpoint=endpoint,
        job_key=options["job_key"] or f"cli-{uuid.uuid4().hex}",
        order=order,
        runs_unattended=options["detach"],
    )
    tracker = Tracker(file, session)
    if options["detach"]:
        leave_job(client, tracker, session)
        return Run(finished=None, tracker=tracker)
    return Run(finished=follow_job(client, tracker, session), tracker=tracker)


def finish_order(run: Run, order: Order, session: Session) -> None:
    """Write what a run made, if it came to its result; then there is nothing left to resume."""
    if run.finished is None:
        return
    job = session.kept.pop("job", None)
    try:
        finish(run.finished, order, session)
    except BaseException:
        if job:
            session.kept["job"] = job
        raise
    if run.tracker:
        run.tracker.remove()


def _say_replaced(path: Path, session: Session) -> None:
    try:
        before = read_job_file(path)
    except click.UsageError:
        return
    session.say(f"note: {before.path} was that of {before.name} at {before.endpoint}; it is this command's now")
