"""A named job and the command that follows it: its file kept true, Ctrl-C in two steps, leaving it to the server."""

from __future__ import annotations

import time
from collections.abc import Callable

from painterly_client import (
    Accepted,
    Client,
    EventStream,
    JobNotFound,
    JobState,
    PainterlyError,
    PreconditionFailed,
    ServerBusy,
    ServerUnavailable,
)
from painterly_client.cli.exits import INTERRUPTED, CommandFailed
from painterly_client.cli.following import Finished, follow
from painterly_client.cli.job_file import JobFile, moved
from painterly_client.cli.recording import History
from painterly_client.cli.session import Session

SECOND_STEP_S = 3.0
_SAVE_EVERY_S = 2.0
_REFUSED = ("TOKEN_MISSING", "TOKEN_INVALID", "NOT_ALLOWED")


class Tracker:
    """Keeps a job file on disk as far as its stream is. ``clock`` gives seconds."""

    def __init__(self, file: JobFile, session: Session, clock: Callable[[], float] = time.monotonic) -> None:
        self.file = file
        self._session, self._clock = session, clock
        self._saved_s, self._stage_result_count, self._is_failing = clock(), 0, False
        file.write()
        session.kept["job"] = file.path

    def note(self, stream: EventStream, history: History) -> None:
        """An event came, and what it brings is on disk."""
        is_news = stream.job_id != self.file.job_id or history.stage_result_count != self._stage_result_count
        self.file = moved(self.file, stream, history.losses)
        if is_news or self._clock() - self._saved_s >= _SAVE_EVERY_S:
            self.save()
            self._stage_result_count = history.stage_result_count

    def save(self) -> None:
        """Write the file as it is now. When that fails the job is followed nevertheless."""
        self._saved_s = self._clock()
        try:
            self.file.write()
        except OSError as error:
            if not self._is_failing:
                self._session.say(f"{self.file.path} cannot be written, and tells an earlier place: {error.strerror}")
            self._is_failing = True

    def remove(self) -> None:
        """There is nothing to go on with."""
        self.file.remove()
        self._session.kept.pop("job", None)


def follow_job(client: Client, tracker: Tracker, session: Session, history: History | None = None) -> Finished:
    """Follow a named job to its result; the job file stays until :meth:`Tracker.remove`.

    Raises: CommandFailed when the user detaches from it or cancels it.
    """
    try:
        return follow(
            lambda: tracker.file.begin(client),
            tracker.file.order,
            session,
            finish_early=client.finish_job,
            on_event=tracker.note,
            history=history,
        )
    except KeyboardInterrupt:
        tracker.save()
        raise _interrupted(client, tracker, session) from None
    except PainterlyError as error:
        if _may_go_on(error, tracker.file):
            tracker.save()
            _say_ways(tracker.file, session)
        else:
            tracker.remove()
        raise


def leave_job(client: Client, tracker: Tracker, session: Session) -> None:
    """Begin a job, leave it to the server as soon as it is accepted, and say how to fetch it."""
    try:
        with tracker.file.begin(client) as stream:
            for event in stream:
                tracker.note(stream, History())
                if isinstance(event, Accepted):
                    break
    except BaseException:
        if not tracker.file.job_id:
            tracker.remove()
        raise
    tracker.save()
    file = tracker.file
    session.say(f"{file.name} is left to {file.endpoint}; fetch its result with: {file.resume_command()}")
    session.answer(
        {
            "job_id": file.job_id,
            "job_key": file.job_key,
            "endpoint": file.endpoint,
            "job_file": file.path,
            "resume": file.resume_command(),
            "kept": {name: path for name, path in session.kept.items() if name != "job"},
        }
    )


def _interrupted(client: Client, tracker: Tracker, session: Session) -> CommandFailed:
    """The first Ctrl-C has come; a second one soon after it cancels the job."""
    file = tracker.file
    try:
        session.say(f"detaching from {file.name}; Ctrl-C once more within {SECOND_STEP_S:g} s cancels it")
        time.sleep(SECOND_STEP_S)
    except KeyboardInterrupt:
        return _cancelled(client, tracker, session)
    _say_ways(file, session)
    stays = "runs to its end" if file.runs_unattended else "is parked when nobody listens for a while"
    text = f"detached from {file.name}, which is not lost: it {stays} at {file.endpoint}"
    return CommandFailed(text, INTERRUPTED, reason="DETACHED")


def _cancelled(client: Client, tracker: Tracker, session: Session) -> CommandFailed:
    file = tracker.file
    try:
        job = client.cancel_job(file.job_id or client.get_job(job_key=file.job_key).job_id)
        if job.state is JobState.SUCCEEDED:
            session.go_on = [("fetch its result with", file.resume_command()), *session.go_on]
            return CommandFailed(f"interrupted; {file.name} had ended already", INTERRUPTED, reason="INTERRUPTED")
    except JobNotFound:
        pass  # it had not come so far as to be a job
    except PainterlyError as error:
        _say_ways(file, session)
        return CommandFailed(f"interrupted, but {file.name} could not be cancelled: {error}", INTERRUPTED)
    tracker.remove()
    return CommandFailed(f"interrupted; {file.name} is cancelled", INTERRUPTED, reason="INTERRUPTED")


def _say_ways(file: JobFile, session: Session) -> None:
    ways = [("resume with", file.resume_command()), ("or cancel it with", file.cancel_command())]
    session.go_on = [*ways, *(way for way in session.go_on if way not in ways)]


def _may_go_on(error: PainterlyError, file: JobFile) -> bool:
    """Whether the job may still be there, so that its file is of use."""
    if isinstance(error, ServerUnavailable) or not error.reason:
        return True
    if isinstance(error, ServerBusy):
        return bool(file.job_id) and error.retry_after_s is not None
    return isinstance(error, PreconditionFailed) and error.reason in _REFUSED and bool(file.job_id)
