"""Watching a download while its files and folders come and go."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

from painterly.weights.sources import _bytes_of_largest


def test_the_largest_file_counts(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "small").write_bytes(b"x" * 10)
    (tmp_path / "inner" / "large").write_bytes(b"x" * 30)
    assert _bytes_of_largest(tmp_path) == 30


def test_folders_that_vanish_do_no_harm(tmp_path: Path) -> None:
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            for number in range(20):
                (tmp_path / str(number) / "inner").mkdir(parents=True)
                (tmp_path / str(number) / "inner" / "file").write_bytes(b"x" * 10)
            for number in range(20):
                shutil.rmtree(tmp_path / str(number))

    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        end, seen = time.monotonic() + 1, set()
        while time.monotonic() < end:
            seen.add(_bytes_of_largest(tmp_path))
    finally:
        stop.set()
        thread.join()
    assert seen <= {0, 10}
    assert 10 in seen
