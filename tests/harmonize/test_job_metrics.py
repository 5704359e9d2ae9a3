"""What jobs tell Prometheus, also from a worker's process: each observation has its series, and the set is closed."""

from __future__ import annotations

import io
import shutil
import subprocess

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from painterly_harmonize.job_metrics import JobMetrics
from painterly_harmonize.jobs.records import Queue, Running, Waiting, WorkerReport
from painterly_harmonize.jobs.relay import Relay, replay
from tests.contract.test_metrics import labels_of, value

OF_JOBS: dict[str, set[str]] = {
    **{
        f"painterly_{name}": set()
        for name in (
            *("queue_depth", "jobs_active", "queue_wait_seconds", "job_attempts", "job_seconds"),
            *("time_to_first_frame_seconds", "frames_sent", "frames_dropped", "stream_resumes"),
            *("checkpoint_seconds", "checkpoint_bytes", "lease_lost", "worker_up", "device_oom"),
            *("store_op_seconds", "store_errors"),
        )
    },
    "painterly_jobs": {"outcome"},
    "painterly_iterations": {"stage"},
    "painterly_iteration_seconds": {"stage"},
    "painterly_device_memory_bytes": {"device"},
}


def observed() -> str:
    """The metrics after one of everything; what a worker observes comes through a relay."""
    registry = CollectorRegistry()
    metrics = JobMetrics(registry)
    pipe = io.StringIO()
    worker = Relay(pipe)
    worker.on_started("Harmonize", 3.0, 1)
    worker.on_iterations("pass1", 10, 0.5)
    worker.on_iterations("no stage", 10, 0.5)
    worker.on_checkpoint(0.02, 1 << 20)
    worker.on_ended("Harmonize", "succeeded", 12.0)
    worker.on_ended("Harmonize", "no outcome", 1.0)
    worker.on_failed("DEVICE_OUT_OF_MEMORY")
    worker.on_failed("MASK_EMPTY")
    worker.on_lease_lost()
    worker.on_store_error()
    for line in pipe.getvalue().encode().splitlines():
        replay(line, metrics)
    for nonsense in (b"", b"text", b"[]", b"7", b'["on_queue", 1]', b'["__init__", 1]'):
        replay(nonsense, metrics)
    waiting = Waiting(job_id="a", principal="p", number=1, queued_at=0.0, predicted_s=1.0)
    metrics.on_queue(Queue(waiting=(waiting, waiting), running=(Running(job_id="b", started_at=0.0, predicted_s=1.0),)))
    report = WorkerReport(
        **{"worker_id": "w", "device": "cpu", "precision": "float32", "torch_version": "2"},  # type: ignore[arg-type]
        **{"available_bytes": 5, "flop_per_s": 1.0, "bytes_per_s": 1.0, "correction": 1.0},  # type: ignore[arg-type]
    )
    metrics.on_workers((report,))
    metrics.on_first_frame(2.0)
    metrics.on_frames_sent(4)
    metrics.on_frames_dropped(3)
    metrics.on_resumed()
    metrics.on_store_op(0.001)
    return generate_latest(registry).decode()


def test_every_observation_has_its_series() -> None:
    text = observed()
    assert labels_of(text) == OF_JOBS
    expected = {
        "queue_depth": 2,
        "jobs_active": 1,
        "queue_wait_seconds_sum": 3,
        "job_attempts_total": 1,
        "job_seconds_sum": 13,
        "time_to_first_frame_seconds_sum": 2,
        "frames_sent_total": 4,
        "frames_dropped_total": 3,
        "stream_resumes_total": 1,
        "checkpoint_seconds_sum": 0.02,
        "checkpoint_bytes_sum": 1 << 20,
        "lease_lost_total": 1,
        "worker_up": 1,
        "device_oom_total": 1,
        "store_op_seconds_sum": 0.001,
        "store_errors_total": 1,
    }
    assert {name: value(text, f"painterly_{name}") for name in expected} == expected
    outcomes = {name: value(text, "painterly_jobs_total", outcome=name) for name in ("succeeded", "failed", "lost")}
    assert outcomes == {"succeeded": 1, "failed": 1, "lost": 0}
    assert value(text, "painterly_iterations_total", stage="pass1") == 10
    assert value(text, "painterly_iteration_seconds_sum", stage="pass1") == 0.05
    assert value(text, "painterly_device_memory_bytes", device="cpu") == 5


def test_a_relay_that_nobody_reads_disturbs_nobody() -> None:
    pipe = io.StringIO()
    pipe.close()
    Relay(pipe).on_store_error()


def test_the_exposition_is_well_formed() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt install prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=observed(), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
