"""The command that goes on with a job of an earlier command: ``resume``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from painterly_client import JobNotFound, Reattachment
from painterly_client.cli import options as opt
from painterly_client.cli.connecting import Services
from painterly_client.cli.detaching import Tracker, follow_job
from painterly_client.cli.following import ways_on
from painterly_client.cli.job_file import find_job_file, read_job_file
from painterly_client.cli.recording import History
from painterly_client.cli.running import Run, finish_order
from painterly_client.cli.session import Session


@click.command(short_help="Go on with a job that a command has left.")
@click.argument("target", required=False, metavar="[JOBFILE|OUT]", type=click.Path(dir_okay=False, path_type=Path))
@opt.endpoint_option("harmonize")
@opt.give_up_option
@opt.output_options
@click.pass_context
def resume(ctx: click.Context, /, target: Path | None, harmonize_endpoint: str | None, give_up_after: float) -> None:
    """Go on with a job that was detached from, lost or killed, and write its files as its command would have.

    Name the job file or the output that it stands beside; without either, the only job file in this folder is meant.
    A job that waits parked on the server goes on where it was. By default the endpoint is that of the job file.

    \b
    Examples:
      painterly resume
      painterly resume result.png
      painterly resume result.png.job.json --json
    """
    session = ctx.ensure_object(Session)
    file = read_job_file(find_job_file(target))
    if ctx.get_parameter_source("harmonize_endpoint") is click.core.ParameterSource.COMMANDLINE and harmonize_endpoint:
        file = dataclasses.replace(file, endpoint=harmonize_endpoint)
    tracker = Tracker(file, session)
    pass1 = file.order.destination.keep / "pass1.png"
    session.go_on = ways_on(file.order, has_pass1=file.order.keeps_stages and pass1.exists())
    reattachment = Reattachment(give_up_after_s=give_up_after)
    with Services(("harmonize",), {"harmonize": file.endpoint}, session, reattachment=reattachment) as services:
        client = services.client("harmonize")
        try:
            finished = follow_job(client, tracker, session, History(losses=dict(file.losses)))
        except JobNotFound:
            session.say(f"{file.name} cannot be resumed")
            for purpose, command in session.go_on:
                session.say(f"{purpose}: {command}")
            raise
    finish_order(Run(finished=finished, tracker=tracker), file.order, session)
