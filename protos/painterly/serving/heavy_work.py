"""Work on large pictures inside a server, after which the server is as small as before."""

from __future__ import annotations

import contextlib
import ctypes
import time
import traceback
from collections.abc import Iterator

# Shorter work leaves nothing behind that is worth the milliseconds.
_LONG_S = 0.1


@contextlib.contextmanager
def heavy_work() -> Iterator[None]:
    """Give back what the work inside has used: an error keeps no pictures alive, freed memory goes to the system."""
    began_s = time.monotonic()
    try:
        yield
    except BaseException as error:
        _forget_locals(error)
        raise
    finally:
        if time.monotonic() - began_s > _LONG_S:
            _trim()


def _forget_locals(error: BaseException) -> None:
    """Clear the local variables of the functions that an error, and those before it, went through."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        waiting += [one.__cause__, one.__context__]


def _trim() -> None:
    # Only glibc has it; elsewhere there is nothing to do.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
