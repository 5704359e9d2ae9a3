"""Settings of the service, validated once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def available_cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one server runs. Raises ValueError outside the ranges.

    ``port`` 0 takes a free port. ``thread_count`` pictures are worked on at once, ``waiting_count`` further calls may
    wait; what comes on top is refused.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    thread_count: int = field(default_factory=available_cores)
    waiting_count: int = 16
    log_level: str = "INFO"
    exit_with_stdin: bool = False

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host must be a host name or an address, got ''")
        for name, low, high in (("port", 0, 65_535), ("thread_count", 1, 1024), ("waiting_count", 0, 1000)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, got {value}")
        if self.log_level not in LOG_LEVELS:
            raise ValueError(f"log_level must be one of {', '.join(LOG_LEVELS)}, got {self.log_level!r}")
