"""Settings of the service, validated once."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

API_KEY = re.compile(r"[\x21-\x7e]{1,256}")
LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_RANGES = (
    ("port", 0, 65_535),
    ("thread_count", 1, 1024),
    ("waiting_count", 0, 1000),
    ("network_thread_count", 1, 1024),
)


def available_cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, kw_only=True)
class RemoveBgSettings:
    """How remove.bg is reached. Raises ValueError outside the ranges.

    A picture is sent at most ``attempt_count`` times, with ``backoff_s`` before the second time and twice as long
    before each further one, unless the service says when to come back. The whole call ends after ``total_timeout_s``.
    """

    endpoint: str = "https://api.remove.bg/v1.0"
    api_key: str | None = field(default=None, repr=False)
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    total_timeout_s: float = 120.0
    attempt_count: int = 3
    backoff_s: float = 1.0

    def __post_init__(self) -> None:
        if not re.fullmatch(r"https?://[^\s?#]+", self.endpoint):
            raise ValueError(f"remove.bg endpoint must be an http or https address, got {self.endpoint!r}")
        if self.api_key is not None and not API_KEY.fullmatch(self.api_key):
            raise ValueError("remove.bg api_key must be 1 to 256 visible ASCII characters")
        ranges = {"connect_timeout_s": 600, "read_timeout_s": 600, "total_timeout_s": 3600, "backoff_s": 60}
        for name, high in ranges.items():
            if not 0 < getattr(self, name) <= high:
                raise ValueError(f"remove.bg {name} must be above 0 and at most {high}, got {getattr(self, name)}")
        if not 1 <= self.attempt_count <= 10:
            raise ValueError(f"remove.bg attempt_count must be from 1 to 10, got {self.attempt_count}")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How one server runs. Raises ValueError outside the ranges.

    ``port`` 0 takes a free port. ``thread_count`` pictures are worked on at once, ``waiting_count`` further calls may
    wait; what comes on top is refused. The network works with ``network_thread_count`` threads of its own on each.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    thread_count: int = field(default_factory=available_cores)
    waiting_count: int = 16
    network_thread_count: int = 1
    remove_bg: RemoveBgSettings = field(default_factory=RemoveBgSettings)
    log_level: str = "INFO"
    exit_with_stdin: bool = False

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host must be a host name or an address, got ''")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} must be from {low} to {high}, got {value}")
        if self.log_level not in LOG_LEVELS:
            raise ValueError(f"log_level must be one of {', '.join(LOG_LEVELS)}, got {self.log_level!r}")
