"""How streams go on when their connection is lost: settings, and the time of the next attempt. No I/O."""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from painterly_client._errors import invalid


@dataclass(frozen=True, kw_only=True)
class Reattachment:
    """How the stream of a named job is taken up again, by itself, when it is lost.

    Lost means: the server is unavailable or stops, the transport failed, or nothing came for ``idle_timeout_s``
    (servers send a heartbeat every 10 s). Before the n-th attempt since the last event passes a random time between 0
    and ``initial_backoff_s * backoff_multiplier ** (n - 1)``, at most ``max_backoff_s``, or what the server asks for
    if that is longer. Attempts end ``give_up_after_s`` after the last event, and ``begin_within_s`` after the call as
    long as there was none; 0 makes none. Raises: InvalidRequest for a number outside its range.
    """

    initial_backoff_s: float = 0.25
    backoff_multiplier: float = 2.0
    max_backoff_s: float = 5.0
    idle_timeout_s: float = 30.0
    give_up_after_s: float = 600.0
    begin_within_s: float = 10.0

    def __post_init__(self) -> None:
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            low = {"give_up_after_s": 0.0, "begin_within_s": 0.0, "backoff_multiplier": 1.0}.get(each.name, 0.001)
            if not low <= value < math.inf:
                text = f"reattachment.{each.name}: {value} must be a finite number, at least {low:g}"
                raise invalid("FIELD_OUT_OF_RANGE", text, field=f"reattachment.{each.name}", value=str(value))


class Backoff:
    """When to try again; one for each stream. ``clock`` gives seconds, ``draw`` a random number between two."""

    def __init__(
        self,
        settings: Reattachment,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._settings, self._clock, self._draw = settings, clock, draw
        self._failure_count = 0
        self.left_s = math.inf  # until it is time to give up, as of the last delay
        self._last_event_s = clock()
        self._has_begun = False

    def reset(self) -> None:
        """An event came."""
        self._failure_count = 0
        self._last_event_s = self._clock()
        self._has_begun = True

    def next_delay_s(self, retry_after_s: float | None) -> float | None:
        """How long to wait before the next attempt; None when it is time to give up.

        ``retry_after_s`` is what the server asks for; one that does is there, and need not begin at once.
        """
        settings = self._settings
        # A power that is out of a float's range is far above the most that is waited.
        power = min(self._failure_count, 64)
        longest_s = min(settings.initial_backoff_s * settings.backoff_multiplier**power, settings.max_backoff_s)
        delay_s = max(self._draw(0.0, longest_s), retry_after_s or 0.0)
        self._failure_count += 1
        end_s = self._last_event_s + self._patience_s(is_there=self._has_begun or retry_after_s is not None)
        self.left_s = max(end_s - self._clock(), 0.0)
        return delay_s if delay_s < self.left_s else None

    def _patience_s(self, *, is_there: bool) -> float:
        settings = self._settings
        return settings.give_up_after_s if is_there else min(settings.begin_within_s, settings.give_up_after_s)

    @property
    def failure_count(self) -> int:
        """How often it was tried since the last event."""
        return self._failure_count

    @property
    def silence_s(self) -> float:
        """How long ago the last event was."""
        return self._clock() - self._last_event_s
