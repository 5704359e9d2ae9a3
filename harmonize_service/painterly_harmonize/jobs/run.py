"""One claimed job on its worker: the context it is computed in, and how it ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from enum import Enum
from functools import partial

from painterly_harmonize.jobs.checkpoint_clock import CheckpointClock
from painterly_harmonize.jobs.context import Emission
from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.outbox import Outbox
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import Failure, JobRecord, Lease, NewEvent, Place, State
from painterly_harmonize.jobs.store import BlobMissing, BlobStore, JobStore, LeaseLost, StoreUnavailable

logger = logging.getLogger(__name__)

# Looking at the store more often than that costs more than it tells.
_LOOK_EVERY_S = 0.001
# A job that offers no checkpoint for so long is interrupted without one.
_SUSPENSION_PATIENCE_S = 10.0
_RETRY_S = (0.1, 2.0)


class Stop(Enum):
    """Why a job is to stop."""

    CANCELLED = "cancelled"
    LOST = "lost"
    ORPHANED = "orphaned"
    DRAINED = "drained"
    TOO_LONG = "too long"


class JobRun:
    """The :class:`~painterly_harmonize.jobs.context.JobContext` of one lease. ``stop`` says why it was stopped."""

    def __init__(
        self,
        store: JobStore,
        blobs: BlobStore,
        lease: Lease,
        record: JobRecord,
        policy: Policy,
        observer: Observer,
    ) -> None:
        """Raises: BlobMissing, StoreUnavailable."""
        self.lease, self.record = lease, record
        self.request = blobs.get(record.request_blob)
        self.stop: Stop | None = None
        self._store, self._blobs, self._policy, self._observer = store, blobs, policy, observer
        self._began_s = time.monotonic()
        self._suspension: Stop | None = None
        self._suspended_s = 0.0
        self._looked_s = 0.0
        self._finish_count = self._finishes_done = record.finish_count
        self._place: Place | None = None
        self._placed_s = self._began_s
        self._clock = CheckpointClock(policy.checkpoint_s)
        self.outbox = Outbox(partial(store.append, lease), observer.on_store_error)
        self._is_lost = threading.Event()
        # While nothing can be written, readers cannot say that they are there.
        self.can_renew = True

    @property
    def job_id(self) -> str:
        """The job's name."""
        return self.record.job_id

    @property
    def kind(self) -> str:
        """What is to be computed."""
        return self.record.kind

    @property
    def attempt(self) -> int:
        """How often the job was begun, this time included."""
        return self.lease.attempt

    def suspend(self) -> None:
        """Interrupt the job at its next checkpoint; from any thread."""
        self._suspend(Stop.DRAINED)

    def lose(self) -> None:
        """The job is another worker's now; from any thread."""
        self._is_lost.set()

    def _suspend(self, why: Stop) -> None:
        if self._suspension is None:
            self._suspended_s = time.monotonic()
            self._suspension = why

    def should_stop(self) -> bool:
        """Whether to stop; looks into the store where that is due."""
        if self.stop is not None:
            return True
        now = time.monotonic()
        if self._is_lost.is_set() or self.outbox.is_lost:
            self.stop = Stop.LOST
        elif self._policy.run_limit_s and now - self._began_s > self._policy.run_limit_s:
            self.stop = Stop.TOO_LONG
        elif self._suspension is not None and now - self._suspended_s > _SUSPENSION_PATIENCE_S:
            self.stop = self._suspension
        elif now - self._looked_s >= _LOOK_EVERY_S:
            self._look()
            self._looked_s = now
        return self.stop is not None

    def _look(self) -> None:
        try:
            control = self._store.control(self.lease)
        except LeaseLost:
            self.stop = Stop.LOST
        except StoreUnavailable:
            self._observer.on_store_error()
        else:
            self._finish_count = control.finish_count
            if control.is_cancelled:
                self.stop = Stop.CANCELLED
            elif not control.is_watched and self.can_renew:
                self._suspend(Stop.ORPHANED)
            elif self._suspension is Stop.ORPHANED:
                self._suspension = None  # somebody came back in time

    def should_finish_stage(self) -> bool:
        """Whether to end the running stage with what it has."""
        return self._finish_count > self._finishes_done

    def end_stage(self) -> None:
        """A stage has ended: a wish for its end is fulfilled."""
        self._finishes_done = self._finish_count

    def emit(self, emission: Emission) -> None:
        """Tell the job's readers something."""
        self._note_iterations(emission.place)
        self.outbox.post(emission)

    def _note_iterations(self, place: Place | None) -> None:
        now = time.monotonic()
        before, self._place = self._place, place or self._place
        if place is None or place == before:
            return
        if before is not None and before.stage == place.stage and place.iteration > before.iteration:
            self._observer.on_iterations(place.stage, place.iteration - before.iteration, now - self._placed_s)
        self._placed_s = now

    def begin(self, resumed_from: Place | None, restart_reason: str) -> None:
        """Note where the job goes on."""
        try:
            self._store.begin(self.lease, resumed_from, restart_reason)
        except LeaseLost:
            self.lose()

    def wants_checkpoint(self, *, is_stage_end: bool) -> bool:
        """Whether it is time for a checkpoint: always before an interruption and, for named jobs, as stages end."""
        return self._suspension is not None or (is_stage_end and self.record.is_named) or self._clock.is_due()

    def checkpoint(self, make: Callable[[], bytes], place: Place) -> None:
        """Write a checkpoint; where that cannot be done the job goes on without."""
        began_s = time.monotonic()
        try:
            state = make()
            self._store.checkpoint(self.lease, state, place)
        except LeaseLost:
            self.lose()
            return
        except StoreUnavailable as error:
            self._observer.on_store_error()
            logger.warning("job %s: a checkpoint could not be written: %s", self.job_id, error)
            self._clock.note(time.monotonic() - began_s)
            return
        cost_s = time.monotonic() - began_s
        self._clock.note(cost_s)
        self._observer.on_checkpoint(cost_s, len(state))
        if self._suspension is not None:
            self.stop = self._suspension

    def load_checkpoint(self) -> bytes | None:
        """The last checkpoint, None where there is none."""
        if self.record.checkpoint_blob is None:
            return None
        try:
            return self._blobs.get(self.record.checkpoint_blob)
        except (BlobMissing, StoreUnavailable) as error:
            logger.warning("job %s: its checkpoint cannot be read: %r", self.job_id, error)
            return None

    def succeed(self, last: Emission) -> str:
        """Send all that is left and the last event. Returns the outcome."""
        self.outbox.close()
        payload = last.write()
        return self._finish(State.SUCCEEDED, event=NewEvent(payload=payload, place=last.place))

    def fail(self, failure: Failure) -> str:
        """Send what is left and end with a failure. Returns the outcome."""
        self._observer.on_failed(failure.reason)
        try:
            self.outbox.close()
        except Exception:
            logger.exception("job %s: an event could not be written", self.job_id)
        return self._finish(State.FAILED, failure=failure)

    def end_stopped(self) -> str:
        """End as :attr:`stop` says. Returns the outcome."""
        if self.stop is Stop.TOO_LONG:
            limit_s = f"{self._policy.run_limit_s:g}"
            failure = Failure(
                reason="JOB_RUN_LIMIT",
                message=f"the job ran longer than {limit_s} s; ask for fewer iterations or a smaller size",
                metadata={"limit_s": limit_s},
            )
            return self.fail(failure)
        self.outbox.close(give_up=self.stop is Stop.LOST)
        if self.stop is Stop.LOST:
            self._observer.on_lease_lost()
            return "lost"
        if self.stop is Stop.CANCELLED:
            return self._finish(State.CANCELLED)
        return self._release(State.PARKED if self.stop is Stop.ORPHANED and self.record.is_named else State.QUEUED)

    def give_back(self) -> str:
        """Give the job to another worker, at once."""
        self.outbox.close(give_up=True)
        return self._release(State.QUEUED)

    def _finish(self, state: State, event: NewEvent | None = None, failure: Failure | None = None) -> str:
        return self._insist(lambda: self._store.end(self.lease, state, event, failure), state.value)

    def _release(self, state: State) -> str:
        return self._insist(lambda: self._store.release(self.lease, state), state.value)

    def _insist(self, call: Callable[[], None], outcome: str) -> str:
        """Try until the store takes it: nothing of a job is thrown away for a full disk."""
        delay_s, longest_s = _RETRY_S
        while True:
            try:
                call()
            except LeaseLost:
                self._observer.on_lease_lost()
                return "lost"
            except StoreUnavailable as error:
                self._observer.on_store_error()
                logger.warning("job %s: its end cannot be stored yet: %s", self.job_id, error)
                if self._is_lost.wait(delay_s):
                    return "lost"
                delay_s = min(2 * delay_s, longest_s)
            else:
                return outcome
