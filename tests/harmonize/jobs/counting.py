"""A job that counts, for workers without a network: same steps, same numbers, however often it is interrupted.

``python -m tests.harmonize.jobs.counting FOLDER WORKER_ID POLICY`` is a worker process for such jobs.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
import time
from functools import partial
from pathlib import Path

from painterly_harmonize.jobs.context import Emission, JobContext, JobFailed, JobStopped
from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.orders import follow_orders
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import Failure, Place, WorkerReport
from painterly_harmonize.jobs.sqlite_store import open_folder
from painterly_harmonize.jobs.worker import Worker


def request_of(steps: int, pace_s: float = 0.0, *, crash_at: int = 0, fail_at: int = 0, result_bytes: int = 0) -> bytes:
    """A request for so many steps of ``pace_s`` seconds; the process dies or the job fails at a step that is given."""
    wish = {"steps": steps, "pace_s": pace_s, "crash_at": crash_at, "fail_at": fail_at, "result_bytes": result_bytes}
    return json.dumps(wish).encode()


def expected(steps: int) -> bytes:
    """The result of an uninterrupted run."""
    value = 1
    for step in range(steps):
        value = _next(value, step)
    return b"%d %d" % (steps, value)


def _next(value: int, step: int) -> int:
    return (value * 6364136223846793005 + step) % 2**64


def count(context: JobContext) -> Emission:
    """Count: an event in a slot for each step, one that must arrive for each tenth."""
    wish = json.loads(context.request)
    saved = context.load_checkpoint()
    step, value = json.loads(saved) if saved else (0, 1)
    if context.attempt > 1:
        context.begin(Place(stage="pass1", iteration=step) if saved else None, "" if saved else "no checkpoint")
    while step < wish["steps"]:
        if context.should_stop():
            raise JobStopped
        if context.should_finish_stage():
            context.end_stage()
            break
        if step == wish["crash_at"] and wish["crash_at"]:
            os._exit(1)
        if step == wish["fail_at"] and wish["fail_at"]:
            raise JobFailed(
                Failure(reason="MASK_EMPTY", message="nothing is inside", field="mask", metadata={"field": "mask"})
            )
        value, step = _next(value, step), step + 1
        place = Place(stage="pass1", iteration=step, iteration_count=wish["steps"])
        context.emit(Emission(write=partial(_bytes, step), slot="frame", place=place))
        if step % 10 == 0:
            context.emit(Emission(write=partial(_bytes, step)))
        if context.wants_checkpoint(is_stage_end=False):
            context.checkpoint(lambda: json.dumps([step, value]).encode(), place)  # noqa: B023 - called at once
        time.sleep(wish["pace_s"])
    return Emission(write=partial(_result, step, value, wish["result_bytes"]))


def _bytes(step: int) -> bytes:
    return str(step).encode()


def _result(step: int, value: int, byte_count: int) -> bytes:
    return b"%d %d" % (step, value) + b" " * byte_count


def report_of(worker_id: str) -> WorkerReport:
    """What such a worker says of itself."""
    return WorkerReport(
        worker_id=worker_id,
        device="cpu",
        precision="float32",
        torch_version="none",
        available_bytes=1 << 30,
        flop_per_s=1e9,
        bytes_per_s=1e9,
        correction=1.0,
    )


def main() -> None:
    """Work for a supervisor."""
    folder, worker_id, policy_text = sys.argv[1:]
    policy = Policy(**json.loads(policy_text))
    logging.basicConfig(level="INFO")
    store, blobs = open_folder(Path(folder), policy)
    worker = Worker(
        store=store,
        blobs=blobs,
        policy=policy,
        run_job=count,
        report=lambda: report_of(worker_id),
        observer=Observer(),
    )
    follow_orders(worker)
    worker.run()
    store.close()
    assert "grpc" not in sys.modules
    assert "torch" not in sys.modules


def command(folder: Path, policy: Policy, worker_id: str) -> list[str]:
    """The command of such a process."""
    text = json.dumps(dataclasses.asdict(policy))
    return [sys.executable, "-m", "tests.harmonize.jobs.counting", str(folder), worker_id, text]


if __name__ == "__main__":
    main()
