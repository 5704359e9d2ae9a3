"""What fronts, workers and supervisors tell whoever counts. Every method is quick, and may come from any thread."""

from __future__ import annotations

from painterly_harmonize.jobs.records import Queue


class Observer:
    """Takes note of nothing; override what is wanted. Seconds and bytes as the names say."""

    def on_queue(self, queue: Queue) -> None:
        """The queue as it is now."""

    def on_rejected(self, reason: str) -> None:
        """A job was refused; the reason is an ErrorReason's short name."""

    def on_started(self, waited_s: float, attempt: int) -> None:
        """A worker began with a job for the given time."""

    def on_ended(self, outcome: str, seconds: float) -> None:
        """A worker gave a job away: succeeded, failed, cancelled, parked, queued, or lost."""

    def on_failed(self, reason: str) -> None:
        """A job failed; the reason is an ErrorReason's short name."""

    def on_iterations(self, stage: str, count: int, seconds: float) -> None:
        """So many iterations of a stage were done in so many seconds together."""

    def on_lease_lost(self) -> None:
        """A worker found that its job was another's."""

    def on_checkpoint(self, seconds: float, byte_count: int) -> None:
        """A checkpoint was written."""

    def on_first_frame(self, seconds: float) -> None:
        """A stream showed its first frame so long after it began."""

    def on_frames_sent(self, count: int) -> None:
        """Frames went out to a reader."""

    def on_frames_dropped(self, count: int) -> None:
        """Frames were made that a reader did not get."""

    def on_resumed(self) -> None:
        """A reader went on with a job that had begun before."""

    def on_worker(self, is_up: bool) -> None:
        """A supervised worker process is there, or has gone."""

    def on_store_op(self, seconds: float) -> None:
        """A front asked the store, and had its answer so long after."""

    def on_store_error(self) -> None:
        """The store was not to be read or written."""
