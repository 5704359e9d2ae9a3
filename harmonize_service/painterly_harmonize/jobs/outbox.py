"""From the computing thread to the store: events are written on their own thread, and only the newest of a kind."""

from __future__ import annotations

import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable

from painterly_harmonize.jobs.context import Emission
from painterly_harmonize.jobs.records import NewEvent
from painterly_harmonize.jobs.store import LeaseLost, StoreUnavailable

logger = logging.getLogger(__name__)

_RETRY_S = (0.1, 2.0)


class Outbox:
    """Sends what is posted, in order; of a slot's emissions only the newest. Ends with :meth:`close`."""

    def __init__(self, append: Callable[[NewEvent], None], on_store_error: Callable[[], None]) -> None:
        """``append`` may raise LeaseLost, after which nothing is sent any more, and StoreUnavailable."""
        self._append, self._on_store_error = append, on_store_error
        self._changed = threading.Condition()
        self._numbers = itertools.count()
        self._slot_numbers: dict[str, int] = {}
        self._newest: dict[str, tuple[int, Emission, int]] = {}
        self._must_arrive: deque[tuple[int, Emission, int]] = deque()
        self._is_closed = self._is_lost = self._is_given_up = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._send_all, name="painterly-outbox", daemon=True)
        self._thread.start()

    @property
    def is_lost(self) -> bool:
        """Whether the job is another worker's by now."""
        return self._is_lost

    def post(self, emission: Emission) -> None:
        """Send an emission soon."""
        with self._changed:
            number = self._slot_numbers[emission.slot] = self._slot_numbers.get(emission.slot, 0) + 1
            posted = (next(self._numbers), emission, number)
            if emission.slot:
                self._newest[emission.slot] = posted
            else:
                self._must_arrive.append(posted)
            self._changed.notify()

    def close(self, *, give_up: bool = False) -> None:
        """Wait until all is sent, or send nothing more. Raises what writing an event raised."""
        with self._changed:
            self._is_closed = True
            self._is_given_up = give_up
            self._changed.notify()
        self._thread.join()
        if self._error is not None and not give_up:
            raise self._error

    def _send_all(self) -> None:
        while (taken := self._take()) is not None:
            _, emission, number = taken
            try:
                self._send(NewEvent(payload=emission.write(), slot=emission.slot, number=number, place=emission.place))
            except LeaseLost:
                self._is_lost = True
                return
            except Exception as error:  # noqa: BLE001 - raised by close, on the thread that cares
                self._error = error
                return

    def _send(self, event: NewEvent) -> None:
        delay_s, longest_s = _RETRY_S
        while True:
            try:
                return self._append(event)
            except StoreUnavailable as error:
                self._on_store_error()
                if event.slot:
                    return logger.warning("an event was dropped: %s", error)
                logger.warning("an event cannot be stored yet: %s", error)
            with self._changed:
                self._changed.wait_for(lambda: self._is_given_up, delay_s)
                if self._is_given_up:
                    return None
            delay_s = min(delay_s * 2, longest_s)

    def _take(self) -> tuple[int, Emission, int] | None:
        """Wait for the oldest that is there; None when there will be none."""
        with self._changed:
            while True:
                if self._is_given_up:
                    return None
                slot = min(self._newest, key=lambda slot: self._newest[slot][0], default=None)
                if slot is not None and (not self._must_arrive or self._newest[slot][0] < self._must_arrive[0][0]):
                    return self._newest.pop(slot)
                if self._must_arrive:
                    return self._must_arrive.popleft()
                if self._is_closed:
                    return None
                self._changed.wait()
