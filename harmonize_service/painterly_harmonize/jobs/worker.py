"""A worker: claims one job after the other, computes it, and keeps its right to it alive."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from painterly_harmonize.jobs.context import Emission, JobFailed, JobStopped, RunJob, WorkerBroken
from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import Failure, Lease, WorkerReport
from painterly_harmonize.jobs.run import JobRun
from painterly_harmonize.jobs.store import BlobMissing, BlobStore, JobStore, LeaseLost, StoreUnavailable

logger = logging.getLogger(__name__)

# How long a new job waits for a worker that has nothing to do, at most.
_IDLE_S = 0.01
_STORE_RETRY_S = 0.5
INTERNAL = "INTERNAL"


class Worker:
    """Computes jobs until told otherwise. :meth:`run` is called once, the rest may come from any thread.

    One job computes while the end of the one before it, with its last event, is still being written.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        blobs: BlobStore,
        policy: Policy,
        run_job: RunJob,
        report: Callable[[], WorkerReport],
        observer: Observer,
    ) -> None:
        self._store, self._blobs, self._policy, self._observer = store, blobs, policy, observer
        self._run_job, self._report = run_job, report
        self.worker_id = report().worker_id
        self._runs: set[JobRun] = set()
        self._lock = threading.Lock()
        self._claims_no_more, self._is_stopping, self._is_over = threading.Event(), threading.Event(), threading.Event()

    @property
    def is_idle(self) -> bool:
        """Whether it holds no job."""
        with self._lock:
            return not self._runs

    def drain(self) -> None:
        """Begin no more jobs, and end with the one that runs."""
        self._claims_no_more.set()

    def stop(self) -> None:
        """Begin no more jobs, and interrupt the one that runs at its next checkpoint."""
        self._claims_no_more.set()
        self._is_stopping.set()
        with self._lock:
            runs = tuple(self._runs)
        for run in runs:
            run.suspend()

    def run(self) -> None:
        """Work until drained or stopped. Raises: WorkerBroken when this process cannot compute any more."""
        keeper = threading.Thread(target=self._keep_alive, name="painterly-leases", daemon=True)
        keeper.start()
        try:
            with ThreadPoolExecutor(1, "painterly-finish") as finisher:
                self._work(finisher)
        finally:
            self._is_over.set()
            keeper.join()
            try:
                self._store.forget_worker(self.worker_id)
            except StoreUnavailable as error:
                logger.warning("the worker could not sign off: %s", error)

    def _work(self, finisher: ThreadPoolExecutor) -> None:
        ending: Future[None] | None = None
        mark: object = None
        while not self._claims_no_more.is_set():
            try:
                new_mark = self._store.change_mark()
                lease = self._store.claim(self.worker_id)
            except StoreUnavailable as error:
                self._observer.on_store_error()
                logger.warning("no job can be claimed: %s", error)
                self._claims_no_more.wait(_STORE_RETRY_S)
                continue
            if lease is None:
                mark = new_mark
                self._wait_for_change(mark)
                continue
            end = self._compute(lease)
            if ending is not None:
                ending.result()
            ending = finisher.submit(end)
        if ending is not None:
            ending.result()

    def _wait_for_change(self, mark: object) -> None:
        """Until anything is written, or a lease may have expired."""
        until_s = time.monotonic() + self._policy.renewal_s
        while time.monotonic() < until_s and not self._claims_no_more.wait(_IDLE_S):
            try:
                if self._store.change_mark() != mark:
                    return
            except StoreUnavailable:
                return

    def _compute(self, lease: Lease) -> Callable[[], None]:
        """Compute a job; returns what is left to do for its end."""
        began_s = time.monotonic()
        try:
            record = self._store.get(lease.job_id)
            if record is None:
                return lambda: None
            run = JobRun(self._store, self._blobs, lease, record, self._policy, self._observer)
        except (BlobMissing, StoreUnavailable) as error:
            logger.warning("job %s cannot be read: %r", lease.job_id, error)
            self._observer.on_store_error()
            return lambda: None  # its lease expires, and it is tried again
        with self._lock:
            self._runs.add(run)
        if self._is_stopping.is_set():
            run.suspend()
        self._observer.on_started(max(0.0, time.time() - record.queued_at), lease.attempt)

        def end_with(finish: Callable[[], str]) -> Callable[[], None]:
            return lambda: self._end(run, finish, began_s)

        try:
            last: Emission = self._run_job(run)
        except JobFailed as error:
            failure = error.failure
            return end_with(lambda: run.fail(failure))
        except JobStopped:
            return end_with(run.end_stopped)
        except WorkerBroken:
            self._end(run, run.give_back, began_s)
            raise
        except Exception:
            logger.exception("job %s failed", lease.job_id)
            return end_with(lambda: run.fail(_bug()))
        return end_with(lambda: run.succeed(last))

    def _end(self, run: JobRun, finish: Callable[[], str], began_s: float) -> None:
        try:
            outcome = finish()
        except Exception:
            logger.exception("job %s failed at its end", run.job_id)
            outcome = run.fail(_bug())
        finally:
            with self._lock:
                self._runs.discard(run)
        self._observer.on_ended(outcome, time.monotonic() - began_s)
        logger.info("job %s %s", run.job_id, outcome)

    def _keep_alive(self) -> None:
        while True:
            try:
                self._store.report(self._report())
            except StoreUnavailable as error:
                self._observer.on_store_error()
                logger.warning("the worker cannot report: %s", error)
            with self._lock:
                runs = tuple(self._runs)
            for run in runs:
                try:
                    run.can_renew = False
                    self._store.renew(run.lease)
                    run.can_renew = True
                except LeaseLost:
                    run.lose()
                except StoreUnavailable as error:
                    logger.warning("job %s: its lease cannot be renewed: %s", run.job_id, error)
            if self._is_over.wait(self._policy.renewal_s):
                return


def _bug() -> Failure:
    return Failure(reason=INTERNAL, message="the job failed in its worker; the worker's log has the details")
