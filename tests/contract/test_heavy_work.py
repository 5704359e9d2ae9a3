"""What work on pictures leaves behind: nothing, however it ends."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from painterly.serving.heavy_work import heavy_work


class Picture:
    """Something that can be seen to be gone."""

    def __init__(self) -> None:
        self.pixels = np.ones((2000, 2000, 8))


def refuse(seen: list[weakref.ref[Picture]]) -> None:
    picture = Picture()
    seen.append(weakref.ref(picture))
    raise ValueError("too large")


def refuse_otherwise(seen: list[weakref.ref[Picture]]) -> None:
    picture = Picture()
    seen.append(weakref.ref(picture))
    try:
        refuse(seen)
    except ValueError:
        raise LookupError("another error") from None


@pytest.mark.parametrize(("work", "is_gone"), [(heavy_work, True), (contextlib.nullcontext, False)])
def test_an_error_keeps_no_pictures_alive(work: Callable[[], AbstractContextManager[None]], is_gone: bool) -> None:
    """Nor does the error before it. Without our help both do."""
    seen: list[weakref.ref[Picture]] = []
    gc.disable()
    try:
        with pytest.raises(LookupError, match="another error") as caught, work():
            refuse_otherwise(seen)
        assert [one() is None for one in seen] == [is_gone, is_gone]
        assert caught.value.__traceback__ is not None
    finally:
        gc.enable()


def test_the_answer_comes_through() -> None:
    def work() -> int:
        with heavy_work():
            return 7

    assert work() == 7


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_freed_memory_goes_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks below malloc's own bound for pages of their own stay with the process, unless they are trimmed."""
    monkeypatch.setattr("painterly.serving.heavy_work._LONG_S", 0.0)
    with heavy_work():
        pass
    before = resident_bytes()
    with heavy_work():
        blocks = [bytearray(100_000) for _ in range(2000)]
        keep = bytearray(100_000)  # the heap's top stays in use
        held = resident_bytes()
        del blocks
    assert held > before + (150 << 20)
    assert resident_bytes() < before + (50 << 20)
    assert len(keep) == 100_000
