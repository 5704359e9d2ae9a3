"""What Prometheus is told of jobs, from a real front and a real worker."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from painterly_harmonize.jobs.counts import Counts
from painterly_harmonize.metrics import FrontMetrics, StoreMetrics
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
        name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
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
