"""What a job sees of the world while it is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from painterly_harmonize.jobs.records import Failure, Place


@dataclass(frozen=True, kw_only=True)
class Emission:
    """An event on its way: ``write`` makes its bytes, on another thread and only if it is sent.

    Of those with the same ``slot`` only the newest is sent, of those without all. ``place`` is how far the job is.
    """

    write: Callable[[], bytes]
    slot: str = ""
    place: Place | None = None


class JobFailed(Exception):
    """The job fails, and its caller is told why."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class JobStopped(Exception):
    """The job has stopped because it was asked to."""


class WorkerBroken(Exception):
    """This process cannot compute any more; the job must be tried in another."""


class JobContext(Protocol):
    """A job, as whoever computes it sees it. All methods are for the computing thread."""

    @property
    def job_id(self) -> str:
        """The job's name."""

    @property
    def kind(self) -> str:
        """What is to be computed."""

    @property
    def request(self) -> bytes:
        """The request as it was stored."""

    @property
    def attempt(self) -> int:
        """How often the job was begun, this time included."""

    def should_stop(self) -> bool:
        """Whether to stop; ask at every iteration and raise JobStopped."""

    def should_finish_stage(self) -> bool:
        """Whether to end the running stage with what it has. Stays true until :meth:`end_stage`."""

    def end_stage(self) -> None:
        """A stage has ended: a wish for its end is fulfilled."""

    def emit(self, emission: Emission) -> None:
        """Tell the job's readers something."""

    def begin(self, resumed_from: Place | None, restart_reason: str) -> None:
        """Say where the job goes on, and why not at its checkpoint; "" where it does or there is nothing to resume."""

    def wants_checkpoint(self, *, is_stage_end: bool) -> bool:
        """Whether it is time to write a checkpoint."""

    def checkpoint(self, make: Callable[[], bytes], place: Place) -> None:
        """Write a checkpoint to go on from."""

    def load_checkpoint(self) -> bytes | None:
        """The last checkpoint, None where there is none."""


# Computes a job and returns its last event. Raises: JobFailed, JobStopped, WorkerBroken; all else is a bug.
RunJob = Callable[[JobContext], Emission]
