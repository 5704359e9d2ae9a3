"""What Prometheus is told of jobs, from a real front and a real worker."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from painterly_harmonize.jobs.counts import Counts
from painterly_harmonize.jobs.records import WorkerReport
from painterly_harmonize.metrics import FrontMetrics, StoreMetrics
from tests.contract.test_metrics import labels_of, value
from tests.harmonize.jobs.counting import request_of
from tests.harmonize.jobs.kit import QUICK, front_of, open_again, read, submission, worker_of


async def test_jobs_frames_waits_and_checkpoints_are_counted(tmp_path: Path) -> None:
    registry, counts, store = CollectorRegistry(), Counts(), open_again(tmp_path)
    registry.register(StoreMetrics(store, QUICK))
    with worker_of(tmp_path, counts=counts):
        async with front_of(tmp_path, observer=FrontMetrics(registry)) as front:
            for key in ("a", "a", "b"):
                record, is_new = await front.submit(submission(request_of(100, 0.002), key))
                await read(front, record, is_new=is_new)
        text = generate_latest(registry).decode()
    store.close()
    shown = {
        name: float(number) for name, number in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    }
    sums = counts.sums()
    assert shown["painterly_stream_resumes_total"] == 1
    assert shown["painterly_frames_sent_total"] + shown["painterly_frames_dropped_total"] == 201
    assert shown["painterly_time_to_first_frame_seconds_count"] == 2
    assert (shown["painterly_queue_depth"], shown["painterly_jobs_active"], shown["painterly_worker_up"]) == (0, 0, 1)
    assert 'painterly_jobs_total{outcome="succeeded"}' in shown
    assert (sums["succeeded_count"], sums["attempt_count"], sums["wait_count"]) == (2, 2, 2)
    assert sums["job_seconds"] > 0.4
    assert sums["checkpoint_count"] >= 1
    assert sums["checkpoint_bytes"] > 10 * sums["checkpoint_count"]


OF_JOBS: dict[str, set[str]] = {
    **{
        f"painterly_{name}": set()
        for name in (
            *("queue_depth", "jobs_active", "queue_wait_seconds", "job_attempts", "job_seconds"),
            *("time_to_first_frame_seconds", "frames_sent", "frames_dropped", "stream_resumes"),
            *("checkpoint_seconds", "checkpoint_bytes", "lease_lost", "worker_up", "device_oom"),
            *("store_op_seconds", "store_errors", "worker_store_errors"),
        )
    },
    "painterly_jobs": {"outcome"},
    "painterly_iterations": {"stage"},
    "painterly_iteration_seconds": {"stage"},
    "painterly_device_memory_bytes": {"device"},
}


def exposed(folder: Path) -> str:
    """What a front shows whose one worker has reported one of everything."""
    registry, counts, store = CollectorRegistry(), Counts(), open_again(folder)
    registry.register(StoreMetrics(store, QUICK))
    front = FrontMetrics(registry)
    counts.on_started(3.0, 1)
    counts.on_started(1.0, 2)
    counts.on_iterations("pass1", 10, 0.5)
    counts.on_iterations("pass1", 10, 0.25)
    counts.on_failed("DEVICE_OUT_OF_MEMORY")
    counts.on_failed("MASK_EMPTY")
    counts.on_ended("succeeded", 12.0)
    counts.on_lease_lost()
    counts.on_store_error()
    front.on_store_op(0.002)
    report = WorkerReport(
        worker_id="w",
        device="cpu",
        precision="float32",
        torch_version="2",
        available_bytes=5,
        flop_per_s=1.0,
        bytes_per_s=1.0,
        correction=1.0,
        counts=counts.sums(),
    )
    store.report(report)
    text = generate_latest(registry).decode()
    store.close()
    return text


def test_the_set_of_series_is_closed_and_what_a_worker_reports_is_shown(tmp_path: Path) -> None:
    text = exposed(tmp_path)
    assert labels_of(text) == OF_JOBS
    assert value(text, "painterly_iterations_total", stage="pass1") == 20
    assert value(text, "painterly_iteration_seconds_sum", stage="pass1") == 0.75
    assert value(text, "painterly_iterations_total", stage="pass2") == 0
    expected = {
        "job_attempts_total": 2,
        "queue_wait_seconds_sum": 3,
        "job_seconds_sum": 12,
        "device_oom_total": 1,
        "lease_lost_total": 1,
        "worker_up": 1,
        "worker_store_errors_total": 1,
        "store_op_seconds_sum": 0.002,
    }
    assert {name: value(text, f"painterly_{name}") for name in expected} == expected
    assert value(text, "painterly_device_memory_bytes", device="cpu") == 5


def test_the_exposition_is_well_formed(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: apt install prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=exposed(tmp_path), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
