"""What Prometheus is told of jobs."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.records import Queue, WorkerReport

_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_SHORT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_BYTES = tuple(2.0**power for power in range(16, 33, 2))
_OUTCOMES = ("succeeded", "failed", "cancelled", "parked", "queued", "lost")
_STAGES = ("pass1", "pass2", "postprocessing")
_OUT_OF_MEMORY = "DEVICE_OUT_OF_MEMORY"


class JobMetrics(Observer):
    """Counts for one server what its front, its supervisor and its workers tell."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"painterly_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"painterly_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(f"painterly_{name}", text, labels, buckets=buckets, registry=registry)

        self._queue_depth = gauge("queue_depth", "Jobs that wait.")
        self._jobs_active = gauge("jobs_active", "Jobs that are being computed.")
        self._queue_wait = histogram("queue_wait_seconds", "Time a job waited before it was begun.", _SECONDS)
        self._attempts = counter("job_attempts", "Jobs begun, once more after each loss of a worker included.")
        self._jobs = counter("jobs", "Jobs that a worker gave away, by how.", "outcome")
        self._job_seconds = histogram(
            "job_seconds", "Time from a job's begin to when its worker gave it away.", _SECONDS
        )
        self._iterations = counter("iterations", "Optimizer steps.", "stage")
        self._iteration_seconds = histogram("iteration_seconds", "Time of an optimizer step.", _SHORT_S, "stage")
        self._first_frame = histogram("time_to_first_frame_seconds", "Time from a call to its first frame.", _SECONDS)
        self._sent = counter("frames_sent", "Frames sent to readers.")
        self._dropped = counter("frames_dropped", "Frames that a reader was too slow for.")
        self._resumes = counter("stream_resumes", "Streams that went on with a job that had begun before.")
        self._checkpoint_seconds = histogram("checkpoint_seconds", "Time to write a checkpoint.", _SHORT_S)
        self._checkpoint_bytes = histogram("checkpoint_bytes", "Size of a checkpoint.", _BYTES)
        self._leases_lost = counter("lease_lost", "Jobs that a worker found to be another's.")
        self._worker_up = gauge("worker_up", "Workers that give signs of life.")
        self._device_memory = gauge("device_memory_bytes", "Memory that a device has for a job.", "device")
        self._out_of_memory = counter("device_oom", "Jobs that failed for want of a device's memory.")
        self._store_op = histogram("store_op_seconds", "Time of a call to the job store.", _SHORT_S)
        self._store_errors = counter("store_errors", "Calls to the job store that failed.")
        for outcome in _OUTCOMES:
            self._jobs.labels(outcome)
        for stage in _STAGES:
            self._iterations.labels(stage)
            self._iteration_seconds.labels(stage)

    def on_queue(self, queue: Queue) -> None:
        """The queue as it is now."""
        self._queue_depth.set(len(queue.waiting))
        self._jobs_active.set(len(queue.running))

    def on_workers(self, reports: tuple[WorkerReport, ...]) -> None:
        """The workers that give signs of life."""
        self._worker_up.set(len(reports))
        for report in reports:
            self._device_memory.labels(report.device).set(report.available_bytes)

    def on_started(self, kind: str, waited_s: float, attempt: int) -> None:
        """A worker began with a job."""
        self._attempts.inc()
        self._queue_wait.observe(waited_s)

    def on_ended(self, kind: str, outcome: str, seconds: float) -> None:
        """A worker gave a job away."""
        self._jobs.labels(outcome if outcome in _OUTCOMES else "failed").inc()
        self._job_seconds.observe(seconds)

    def on_failed(self, reason: str) -> None:
        """A job failed."""
        if reason == _OUT_OF_MEMORY:
            self._out_of_memory.inc()

    def on_iterations(self, stage: str, count: int, seconds: float) -> None:
        """Iterations were done in so many seconds together; each is counted as the mean of them."""
        if stage in _STAGES:
            self._iterations.labels(stage).inc(count)
            self._iteration_seconds.labels(stage).observe(seconds / count)

    def on_lease_lost(self) -> None:
        """A worker found that its job was another's."""
        self._leases_lost.inc()

    def on_checkpoint(self, seconds: float, byte_count: int) -> None:
        """A checkpoint was written."""
        self._checkpoint_seconds.observe(seconds)
        self._checkpoint_bytes.observe(byte_count)

    def on_first_frame(self, seconds: float) -> None:
        """A stream showed its first frame."""
        self._first_frame.observe(seconds)

    def on_frames_sent(self, count: int) -> None:
        """Frames went out."""
        self._sent.inc(count)

    def on_frames_dropped(self, count: int) -> None:
        """Frames did not."""
        self._dropped.inc(count)

    def on_resumed(self) -> None:
        """A reader went on."""
        self._resumes.inc()

    def on_store_op(self, seconds: float) -> None:
        """The store was asked."""
        self._store_op.observe(seconds)

    def on_store_error(self) -> None:
        """The store was not to be read or written."""
        self._store_errors.inc()
