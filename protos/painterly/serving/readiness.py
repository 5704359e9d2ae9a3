"""Whether a server can do what it is for, asked again and again, and told by the health service."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import TypeAlias

from grpc_health.v1 import health, health_pb2

logger = logging.getLogger("painterly.serving")

READINESS = "readiness"
Check: TypeAlias = Callable[[], bool]

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_INTERVAL_S = 1.0
_TIMEOUT_S = 5.0


class Readiness:
    """Runs ``checks`` in threads, every second; one that raises, or says nothing for five seconds, has failed."""

    def __init__(self, servicer: health.aio.HealthServicer, checks: Mapping[str, Check]) -> None:
        self._servicer = servicer
        self._checks = checks
        self._known: dict[str, bool] = {}
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Check once, and from now on."""
        await self._look()
        if self._checks:
            self._task = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """Check no more."""
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_S)
            await self._look()

    async def _look(self) -> None:
        found = dict(zip(self._checks, await asyncio.gather(*map(_holds, self._checks.values())), strict=True))
        found[READINESS] = all(found.values())
        for name, holds in found.items():
            if self._known.get(name) is not holds:
                if name in self._known or not holds:
                    logger.log(
                        logging.INFO if holds else logging.WARNING, "%s: %s", name, "well" if holds else "not well"
                    )
                await self._servicer.set(name, _SERVING if holds else _NOT_SERVING)
        self._known = found


async def _holds(check: Check) -> bool:
    try:
        return await asyncio.wait_for(asyncio.to_thread(check), _TIMEOUT_S)
    except Exception:
        logger.debug("a check failed", exc_info=True)
        return False
