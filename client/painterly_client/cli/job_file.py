"""The file beside an output whose job runs on a server: what it takes to go on with it. It holds no token."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from painterly_client import Client, EventStream, Stage
from painterly_client.cli.files import write_whole
from painterly_client.cli.ordering import Order, order_from_json, order_to_json
from painterly_client.cli.recording import LossHistory

SUFFIX = ".job.json"
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class JobFile:
    """One job at ``endpoint``. ``job_id`` and ``cursor`` are empty as long as the server has not said them.

    ``losses`` are those of the events before ``cursor``, for the report.
    """

    path: Path
    endpoint: str
    job_key: str
    order: Order
    job_id: str = ""
    cursor: str = ""
    runs_unattended: bool = False
    losses: LossHistory = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The job in words."""
        return f"job {self.job_id}" if self.job_id else f"the job with the key {self.job_key}"

    def resume_command(self) -> str:
        """The command that goes on with the job."""
        return shlex.join(["painterly", "resume", str(self.order.destination.out)])

    def cancel_command(self) -> str:
        """The command that ends the job."""
        return shlex.join(["painterly", "jobs", "cancel", str(self.order.destination.out)])

    def begin(self, client: Client) -> EventStream:
        """Begin the job, or go on behind ``cursor``."""
        if self.job_id:
            return client.watch_job(self.job_id, after_cursor=self.cursor)
        return self.order.begin(client, job_key=self.job_key, runs_unattended=self.runs_unattended)

    def write(self) -> None:
        """Write the file, whole or not at all."""
        data = {
            "painterly_job": _FORMAT,
            "endpoint": self.endpoint,
            "job_id": self.job_id,
            "job_key": self.job_key,
            "cursor": self.cursor,
            "runs_unattended": self.runs_unattended,
            **order_to_json(self.order),
            "losses": {stage.value: terms for stage, terms in self.losses.items()},
        }
        write_whole(self.path, json.dumps(data, indent=1, default=str).encode())

    def remove(self) -> None:
        """Remove the file, when there is nothing to go on with."""
        self.path.unlink(missing_ok=True)


def path_for(out: Path) -> Path:
    """Where the job file of an output is: ``result.png.job.json`` beside ``result.png``."""
    return out.with_name(out.name + SUFFIX)


def read_job_file(path: Path) -> JobFile:
    """Read a job file. Raises: click.UsageError when it cannot be read or is none."""
    try:
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{path} cannot be read as a job file: {error}") from error
    if not isinstance(data, dict) or data.get("painterly_job") != _FORMAT:
        raise click.UsageError(f"{path} is not a job file of this version of painterly")
    try:
        return _from_json(path, data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise click.UsageError(f"{path} is not a whole job file: {type(error).__name__}: {error}") from error


def find_job_file(given: Path | None) -> Path:
    """The job file that is meant: by its own name, its output's, or as the only one here. Raises: click.UsageError."""
    if given is not None:
        candidates = [given] if given.name.endswith(SUFFIX) else [path_for(given)]
        if candidates[0].is_file():
            return candidates[0]
        raise click.UsageError(f"{candidates[0]} is not there: no job of {given} is known here, or it has ended")
    found = sorted(Path().glob(f"*{SUFFIX}"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise click.UsageError("there is no job file in this folder; name one, or its output")
    raise click.UsageError(f"there are {len(found)} job files in this folder, name one: {', '.join(map(str, found))}")


def moved(file: JobFile, stream: EventStream, losses: LossHistory) -> JobFile:
    """The job file as it is after what has been read of the stream."""
    return dataclasses.replace(file, job_id=stream.job_id, cursor=stream.cursor, losses=losses)


def _from_json(path: Path, data: Mapping[str, Any]) -> JobFile:
    names = ("endpoint", "job_key", "job_id", "cursor")
    texts = {name: data[name] for name in names}
    if not all(isinstance(value, str) for value in texts.values()) or not texts["endpoint"]:
        raise TypeError(f"{', '.join(names)} must be text")
    losses = {
        Stage(stage): {term: [(int(at), float(value)) for at, value in pairs] for term, pairs in terms.items()}
        for stage, terms in data["losses"].items()
    }
    order = order_from_json(data, str(path))
    return JobFile(path=path, order=order, runs_unattended=data["runs_unattended"] is True, losses=losses, **texts)
