"""Stores, fronts and counting workers for tests of jobs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from painterly.calls import ANONYMOUS
from painterly_harmonize.jobs.counts import Counts
from painterly_harmonize.jobs.front import Front, Submission
from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import JobRecord, NewJob, StoredEvent
from painterly_harmonize.jobs.sqlite_store import SqliteJobStore, open_folder
from painterly_harmonize.jobs.store import BlobStore, JobStore
from painterly_harmonize.jobs.streaming import Accepted, Seen, Silence, Waits
from painterly_harmonize.jobs.worker import Worker
from tests.harmonize.jobs.counting import command, count, report_of

ROOT = Path(__file__).parents[3]
QUICK = Policy(
    lease_s=1.0,
    renewal_s=0.3,
    orphan_s=1.0,
    queue_size=4,
    checkpoint_s=0.05,
    silence_s=2.0,
    sweep_s=0.2,
    heartbeat_s=0.5,
    restart_s=(0.1, 1.0),
)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Stores, and the clock that they go by."""

    store: JobStore
    blobs: BlobStore
    clock: Clock
    policy: Policy

    def add(self, job_id: str, **values: Any) -> JobRecord:
        """Queue a job, by default unnamed and watched for ten seconds."""
        blob = self.blobs.put(values.pop("request", job_id.encode()))
        given = {
            "principal": ANONYMOUS,
            "job_key": "",
            "kind": "Harmonize",
            "digest": {},
            "watched_until": self.clock.now_s + 10,
            **values,
        }
        return self.store.create(NewJob(job_id=job_id, request_blob=blob, **given))

    def get(self, job_id: str) -> JobRecord:
        record = self.store.get(job_id)
        assert record is not None
        return record


def open_sqlite(folder: Path, policy: Policy, clock: Callable[[], float]) -> tuple[JobStore, BlobStore]:
    """A SQLite store that goes by a clock."""
    store, blobs = open_folder(folder, policy)
    store._now = clock
    return store, blobs


def submission(request: bytes, job_key: str = "", **values: Any) -> Submission:
    """A job for counting workers."""
    given = {"principal": ANONYMOUS, "kind": "Harmonize", "digest": {"request": request.hex()}, **values}
    return Submission(job_key=job_key, request=request, **given)


@contextlib.asynccontextmanager
async def front_of(folder: Path, policy: Policy = QUICK, observer: Observer | None = None) -> AsyncIterator[Front]:
    """A front over a data folder."""
    store, blobs = open_folder(folder, policy)
    front = Front(store=store, blobs=blobs, policy=policy, observer=observer or Observer())
    try:
        yield front
    finally:
        await front.close()
        store.close()


@contextlib.contextmanager
def worker_of(
    folder: Path,
    policy: Policy = QUICK,
    worker_id: str = "w",
    observer: Observer | None = None,
    counts: Counts | None = None,
) -> Iterator[Worker]:
    """A counting worker on a thread; ``counts`` go into its reports."""
    store, blobs = open_folder(folder, policy)
    worker = Worker(
        store=store,
        blobs=blobs,
        policy=policy,
        run_job=count,
        report=lambda: replace(report_of(worker_id), counts=counts.sums() if counts else {}),
        observer=counts or observer or Observer(),
    )
    store.report(report_of(worker_id))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join()
        store.close()


@contextlib.contextmanager
def worker_process(folder: Path, policy: Policy = QUICK, worker_id: str = "p") -> Iterator[subprocess.Popen[bytes]]:
    """A counting worker in a process."""
    with subprocess.Popen(
        command(folder, policy, worker_id), cwd=ROOT, stdin=subprocess.PIPE, env={**os.environ}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], Any], timeout_s: float = 20) -> None:
    """Wait for a condition."""
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "it did not happen in time"
        time.sleep(0.005)


def summary(seen: Seen) -> tuple[Any, ...]:
    """What a stream showed, in short."""
    what = seen.what
    if isinstance(what, Accepted):
        return ("accepted", what.record.attempt)
    if isinstance(what, Waits):
        return ("waits", what.position)
    if isinstance(what, Silence):
        return ("silence",)
    return (what.slot or "event", what.payload.decode())


async def read(front: Front, record: JobRecord, after: str = "", *, is_new: bool = False) -> list[Seen]:
    """A whole stream."""
    async with contextlib.aclosing(front.stream(record, after, is_new=is_new)) as things:
        return [seen async for seen in things]


def last_payload(things: list[Seen]) -> bytes:
    """The last event's bytes."""
    last = things[-1].what
    assert isinstance(last, StoredEvent)
    return last.payload


def open_again(folder: Path, policy: Policy = QUICK) -> SqliteJobStore:
    """The store as another process sees it."""
    return open_folder(folder, policy)[0]


def with_policy(**values: Any) -> Policy:
    """The quick policy with some values changed."""
    return replace(QUICK, **values)
