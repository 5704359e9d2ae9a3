"""Keeps a worker process alive: starts it, restarts it when it ends or falls silent, and ends it."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

from painterly_harmonize.jobs.observer import Observer
from painterly_harmonize.jobs.orders import DRAIN, STOP
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.store import JobStore, StoreUnavailable

logger = logging.getLogger(__name__)

# Importing torch and reading weights takes its time.
_START_S = 120.0
_LOOK_EVERY_S = 0.2
_STOP_S = 15.0
_KILL_S = 5.0
# A worker that lived so long begins with a clean slate.
_GOOD_LIFE_S = 60.0


class Supervisor:
    """Runs one worker process until :meth:`stop`."""

    def __init__(
        self,
        command: Callable[[str], Sequence[str]],
        *,
        worker_id: str,
        store: JobStore,
        policy: Policy,
        observer: Observer,
    ) -> None:
        """``command`` makes the command for a worker's id; each process gets one of its own."""
        self._command, self._name = command, worker_id
        self._store, self._policy, self._observer = store, policy, observer
        self._lock = threading.Lock()
        self._is_stopping = threading.Event()
        self._count = 0
        self._process = self._start()
        self._thread = threading.Thread(target=self._supervise, name="painterly-supervisor", daemon=True)
        self._thread.start()

    @property
    def process_id(self) -> int:
        """The id of the present process."""
        return self._process.pid

    def drain(self) -> None:
        """Let the worker begin no more jobs and end with the one that runs; it is not started again."""
        self._is_stopping.set()
        self._thread.join()
        if self._silence_s() is None:  # it is still starting, and has nothing to end with
            self._process.kill()
        self._order(DRAIN)

    def is_alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Interrupt the worker's job at a checkpoint, and wait for the process to end."""
        self.drain()
        self._order(STOP)
        self._close_orders()
        self._await_end(_STOP_S)
        self._forget()

    def _start(self) -> subprocess.Popen[bytes]:
        self._count += 1
        self._worker_id = f"{self._name}-{self._count}"
        self._began_s = time.monotonic()
        # A session of its own, so that a terminal's Ctrl-C reaches the supervisor alone.
        return subprocess.Popen(list(self._command(self._worker_id)), stdin=subprocess.PIPE, start_new_session=True)

    def _order(self, order: str) -> None:
        with self._lock, contextlib.suppress(BrokenPipeError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.write(f"{order}\n".encode())
            self._process.stdin.flush()

    def _close_orders(self) -> None:
        with self._lock, contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def _supervise(self) -> None:
        shortest_s, longest_s = self._policy.restart_s
        delay_s = shortest_s
        is_up = False
        while not self._is_stopping.wait(_LOOK_EVERY_S):
            silent_s = self._silence_s()
            if silent_s is not None and not is_up:
                is_up = True
                self._observer.on_worker(True)
            if self.is_alive():
                lived_s = time.monotonic() - self._began_s
                if (_START_S if silent_s is None else self._policy.silence_s) >= (silent_s or lived_s):
                    continue
                logger.error("worker %s is silent; it is killed", self._worker_id)
                self._process.kill()
            logger.error("worker %s ended with code %s", self._worker_id, self._process.wait())
            self._close_orders()
            is_up = False
            self._observer.on_worker(False)
            self._forget()
            if time.monotonic() - self._began_s > _GOOD_LIFE_S:
                delay_s = shortest_s
            if self._is_stopping.wait(delay_s):
                return
            delay_s = min(2 * delay_s, longest_s)
            with self._lock:
                self._process = self._start()

    def _silence_s(self) -> float | None:
        """How long the worker has not given a sign of life; None when it never has, or nobody knows."""
        try:
            for worker in self._store.workers():
                if worker.report.worker_id == self._worker_id:
                    return max(0.0, time.time() - worker.reported_at)
        except StoreUnavailable as error:
            logger.warning("the workers cannot be looked after: %s", error)
            self._began_s = time.monotonic()
        return None

    def _forget(self) -> None:
        """Let others have the jobs of the process that has ended."""
        try:
            self._store.forget_worker(self._worker_id)
        except StoreUnavailable as error:  # its leases expire
            logger.warning("worker %s could not be signed off: %s", self._worker_id, error)

    def _await_end(self, patience_s: float) -> None:
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            logger.error("worker %s does not end; it is killed", self._worker_id)
            self._process.kill()
            self._process.wait(_KILL_S)
