"""What Prometheus is told of jobs: what a front sees, and what workers say of themselves in their reports."""

from __future__ import annotations

import time
from collections import Counter as Sums
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.store import JobStore, StoreUnavailable

_SECONDS = (0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SHORT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_STAGES = ("pass1", "pass2", "postprocessing")
_OUTCOMES = ("succeeded", "failed", "cancelled", "parked", "queued", "lost")


class FrontMetrics(Observer):
    """What a front's streams see."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._sent = Counter("painterly_frames_sent", "Frames sent to readers.", registry=registry)
        self._dropped = Counter("painterly_frames_dropped", "Frames that readers were too slow for.", registry=registry)
        self._resumes = Counter("painterly_stream_resumes", "Readers that came back to a job.", registry=registry)
        self._store_errors = Counter("painterly_store_errors", "Times that the store failed.", registry=registry)
        self._store_op = Histogram(
            "painterly_store_op_seconds", "Time of a call to the store.", buckets=_SHORT_S, registry=registry
        )
        self._first_frame = Histogram(
            "painterly_time_to_first_frame_seconds",
            "From a stream's begin to its first frame.",
            buckets=_SECONDS,
            registry=registry,
        )

    def on_frames_sent(self, count: int) -> None:
        """Frames went out to a reader."""
        self._sent.inc(count)

    def on_frames_dropped(self, count: int) -> None:
        """Frames were made that a reader did not get."""
        self._dropped.inc(count)

    def on_resumed(self) -> None:
        """A reader went on with a job that had begun before."""
        self._resumes.inc()

    def on_store_op(self, seconds: float) -> None:
        """The store was asked."""
        self._store_op.observe(seconds)

    def on_store_error(self) -> None:
        """The store was not to be read or written."""
        self._store_errors.inc()

    def on_first_frame(self, seconds: float) -> None:
        """A stream showed its first frame so long after it began."""
        self._first_frame.observe(seconds)


class StoreMetrics(Collector):
    """What the store knows when it is asked: the queue, and the workers' counts since each began."""

    def __init__(self, store: JobStore, policy: Policy) -> None:
        self._store, self._policy = store, policy

    def describe(self) -> list[Metric]:
        """Nothing: what there is is seen when it is asked for."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics; none while the store cannot be read."""
        try:
            queue, workers = self._store.queue(), self._store.workers()
        except StoreUnavailable:
            return
        yield GaugeMetricFamily("painterly_queue_depth", "Jobs that wait.", len(queue.waiting))
        yield GaugeMetricFamily("painterly_jobs_active", "Jobs that run.", len(queue.running))
        alive = [worker for worker in workers if time.time() - worker.reported_at <= self._policy.silence_s]
        yield GaugeMetricFamily("painterly_worker_up", "Workers that give signs of life.", len(alive))
        memory = GaugeMetricFamily("painterly_device_memory_bytes", "Memory that a job may take.", labels=["device"])
        for worker in alive:
            memory.add_metric([worker.report.device], worker.report.available_bytes)
        yield memory
        sums: Sums[str] = Sums()
        for worker in workers:
            sums.update(worker.report.counts)
        jobs = CounterMetricFamily("painterly_jobs", "Jobs that workers gave away.", labels=["outcome"])
        for outcome in _OUTCOMES:
            jobs.add_metric([outcome], sums[f"{outcome}_count"])
        yield jobs
        yield CounterMetricFamily("painterly_job_attempts", "Times that jobs were begun.", sums["attempt_count"])
        yield CounterMetricFamily("painterly_lease_lost", "Jobs taken from workers.", sums["lease_lost_count"])
        yield CounterMetricFamily(
            "painterly_worker_store_errors", "Times that the store failed for workers.", sums["store_error_count"]
        )
        yield CounterMetricFamily(
            "painterly_device_oom", "Jobs that failed for want of a device's memory.", sums["out_of_memory_count"]
        )
        iterations = CounterMetricFamily("painterly_iterations", "Optimizer steps.", labels=["stage"])
        times = SummaryMetricFamily("painterly_iteration_seconds", "Time of optimizer steps.", labels=["stage"])
        for stage in _STAGES:
            count = sums[f"{stage}_iteration_count"]
            iterations.add_metric([stage], count)
            times.add_metric([stage], int(count), sums[f"{stage}_iteration_seconds"])
        yield iterations
        yield times
        ended = sum(sums[f"{outcome}_count"] for outcome in _OUTCOMES)
        yield _summary("painterly_job_seconds", "Time that jobs took on workers.", ended, sums["job_seconds"])
        yield _summary("painterly_queue_wait_seconds", "Time in the queue.", sums["wait_count"], sums["wait_seconds"])
        written = sums["checkpoint_count"]
        yield _summary("painterly_checkpoint_seconds", "Time of checkpoints.", written, sums["checkpoint_seconds"])
        yield _summary("painterly_checkpoint_bytes", "Size of checkpoints.", written, sums["checkpoint_bytes"])


def _summary(name: str, text: str, count: float, total: float) -> SummaryMetricFamily:
    return SummaryMetricFamily(name, text, count_value=int(count), sum_value=total)
