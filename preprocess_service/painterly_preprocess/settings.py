"""Settings of the service: each a field, with what it may be and what it is for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from painterly.configuration import Between, Matching, Secret, ServerSettings, Variable, available_cores

API_KEY = re.compile(r"[\x21-\x7e]{1,256}")

_REMOVE_BG_ENDPOINT = "https://api.remove.bg/v1.0"
_ENDPOINT = Matching(r"https?://[^\s?#]+", "an http or https address")
_KEY = Matching(API_KEY.pattern, "1 to 256 visible ASCII characters")


@dataclass(frozen=True, kw_only=True)
class RemoveBgSettings:
    """How remove.bg is reached. Raises ValueError outside the ranges.

    A picture is sent at most ``attempt_count`` times, with ``backoff_s`` before the second time and twice as long
    before each further one, unless the service says when to come back. The whole call ends after ``total_timeout_s``.
    """

    endpoint: str = _REMOVE_BG_ENDPOINT
    api_key: str | None = field(default=None, repr=False)
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    total_timeout_s: float = 120.0
    attempt_count: int = 3
    backoff_s: float = 1.0

    def __post_init__(self) -> None:
        if not _ENDPOINT.allows(self.endpoint):
            raise ValueError(f"remove.bg endpoint {_ENDPOINT.words}, got {self.endpoint!r}")
        if self.api_key is not None and not _KEY.allows(self.api_key):
            raise ValueError(f"remove.bg api_key {_KEY.words}")
        ranges = {"connect_timeout_s": 600, "read_timeout_s": 600, "total_timeout_s": 3600, "backoff_s": 60}
        for name, high in ranges.items():
            if not 0 < getattr(self, name) <= high:
                raise ValueError(f"remove.bg {name} must be above 0 and at most {high}, got {getattr(self, name)}")
        if not 1 <= self.attempt_count <= 10:
            raise ValueError(f"remove.bg attempt_count must be from 1 to 10, got {self.attempt_count}")


@dataclass(frozen=True, kw_only=True)
class Settings(ServerSettings):
    """How one server runs. Raises: SettingsError with every fault."""

    service: ClassVar[str] = "preprocess"

    port: Annotated[int, Between(0, 65_535), "Port, 0 for a free one."] = 50051
    threads: Annotated[int, Between(1, 1024), "Pictures worked on at once."] = field(default_factory=available_cores)
    queue_size: Annotated[int, Between(0, 10_000), "Further calls that may wait; what comes on top is refused."] = (
        field(default_factory=lambda: 4 * available_cores())
    )
    network_threads: Annotated[
        int, Between(1, 1024), "Threads of the network on each picture; more than 1 only for a server with few calls."
    ] = 1
    remove_bg_endpoint: Annotated[str, _ENDPOINT, Variable("PAINTERLY_REMOVE_BG_ENDPOINT"), "Where remove.bg is."] = (
        _REMOVE_BG_ENDPOINT
    )
    remove_bg_api_key: Annotated[
        str | None, _KEY, Secret, Variable("PAINTERLY_REMOVE_BG_API_KEY"), "The key for remove.bg."
    ] = field(default=None, repr=False)

    @property
    def remove_bg(self) -> RemoveBgSettings:
        """How remove.bg is reached."""
        return RemoveBgSettings(endpoint=self.remove_bg_endpoint, api_key=self.remove_bg_api_key)
