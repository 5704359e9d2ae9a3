"""Memory that is no longer needed, given back; and what it looks like when there is not enough."""

from __future__ import annotations

import contextlib
import ctypes
import gc

import torch


def release_memory(device: torch.device) -> None:
    """Give what is free, but kept for reuse, back to the device or the system."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return
    # Only glibc has it; elsewhere there is nothing to do.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory does not suffice."""
    # The CPU's allocator has no error type of its own.
    is_cpu = type(error) is RuntimeError and "DefaultCPUAllocator" in str(error)
    return is_cpu or isinstance(error, (MemoryError, torch.OutOfMemoryError))
