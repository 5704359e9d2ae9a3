"""Tells streams when something has changed for them, by looking at the store's change mark all the time."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from dataclasses import dataclass, field

from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.records import Queue
from painterly_harmonize.jobs.store import JobStore, StoreUnavailable

logger = logging.getLogger(__name__)

# How late an event reaches its reader, at most, beside what it takes to read it.
_LOOK_EVERY_S = 0.005
_STORE_RETRY_S = 0.5


@dataclass(eq=False)
class Subscription:
    """A stream's interest in a job. ``is_waiting`` while the queue matters to it."""

    job_id: str
    is_named: bool
    loop: asyncio.AbstractEventLoop
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    is_waiting: bool = True

    def notify(self) -> None:
        """Wake the stream; from any thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.changed.set)


class Watching:
    """Two threads: one looks for changes, one says who listens and sweeps. Used from any event loop."""

    def __init__(self, store: JobStore, policy: Policy, observer: Observer) -> None:
        self._store, self._policy, self._observer = store, policy, observer
        self._subscriptions: set[Subscription] = set()
        self._stamps: dict[str, object] = {}
        self._order: object = None
        self._changed = threading.Condition()
        self._is_closed = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=f"painterly-{name}", daemon=True)
            for name, target in (("changes", self._look), ("listeners", self._keep))
        ]
        for thread in self._threads:
            thread.start()

    def subscribe(self, job_id: str, *, is_named: bool) -> Subscription:
        """Be woken when the job changes; on the running event loop."""
        subscription = Subscription(job_id, is_named, asyncio.get_running_loop())
        with self._changed:
            self._subscriptions.add(subscription)
            self._changed.notify_all()
        return subscription

    def unsubscribe(self, subscription: Subscription) -> bool:
        """Be woken no more. Returns whether another stream of this process still reads the job."""
        with self._changed:
            self._subscriptions.discard(subscription)
            return any(other.job_id == subscription.job_id for other in self._subscriptions)

    def wake_all(self) -> None:
        """Wake every stream."""
        for subscription in self._all():
            subscription.notify()

    def close(self) -> None:
        """End both threads."""
        self._is_closed.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _all(self) -> tuple[Subscription, ...]:
        with self._changed:
            return tuple(self._subscriptions)

    def _look(self) -> None:
        mark: object = None
        while not self._is_closed.is_set():
            with self._changed:
                self._changed.wait_for(lambda: self._subscriptions or self._is_closed.is_set())
            try:
                new_mark = self._store.change_mark()
                subscriptions = self._all()
                known = all(subscription.job_id in self._stamps for subscription in subscriptions)
                if new_mark != mark or not known:
                    self._notify(subscriptions)
                    mark = new_mark
            except StoreUnavailable as error:
                self._observer.on_store_error()
                logger.warning("the store cannot be read: %s", error)
                self.wake_all()
                self._is_closed.wait(_STORE_RETRY_S)
            self._is_closed.wait(_LOOK_EVERY_S)

    def _notify(self, subscriptions: tuple[Subscription, ...]) -> None:
        stamps = self._store.stamps({subscription.job_id for subscription in subscriptions})
        has_moved = any(subscription.is_waiting for subscription in subscriptions) and self._has_queue_moved()
        for subscription in subscriptions:
            job_id = subscription.job_id
            if stamps.get(job_id) != self._stamps.get(job_id) or (has_moved and subscription.is_waiting):
                subscription.notify()
        self._stamps = {subscription.job_id: stamps.get(subscription.job_id) for subscription in subscriptions}

    def _has_queue_moved(self) -> bool:
        queue = self._store.queue()
        self._observer.on_queue(queue)
        order = _order(queue)
        has_moved, self._order = order != self._order, order
        return has_moved

    def _keep(self) -> None:
        swept_s = time.monotonic()
        while not self._is_closed.wait(self._policy.lease_s / 5):
            try:
                self.refresh()
                if time.monotonic() - swept_s >= self._policy.sweep_s:
                    swept_s = time.monotonic()
                    for job_id in self._store.sweep():
                        logger.error("job %s failed: its worker was lost too often", job_id)
                    self._observer.on_queue(self._store.queue())
            except StoreUnavailable as error:
                self._observer.on_store_error()
                logger.warning("the store cannot be kept: %s", error)

    def refresh(self) -> None:
        """Tell the store who listens. Raises: StoreUnavailable."""
        subscriptions = self._all()
        for is_named, patience_s in ((True, self._policy.orphan_s), (False, self._policy.lease_s)):
            job_ids = {each.job_id for each in subscriptions if each.is_named is is_named}
            if job_ids:
                self._store.watch(job_ids, time.time() + patience_s)


def _order(queue: Queue) -> object:
    return (
        tuple(job.job_id for job in queue.waiting),
        tuple(job.job_id for job in queue.running),
        queue.worker_count,
    )
