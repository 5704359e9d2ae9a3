"""A local file server with faults and a local package index."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.weights.kit import FileServer, Server


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    shop = FileServer()
    with Server(shop) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield shop
        shop.closing.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def package_index(file_server: FileServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path], None]:
    """Makes the local server the only package index that pip knows; call it with a wheel to publish the wheel."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", file_server.url("/simple/"))
    monkeypatch.setenv("PIP_CACHE_DIR", str(tmp_path / "pip-cache"))
    monkeypatch.setenv("PIP_RETRIES", "0")
    for variable in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(variable, raising=False)

    def publish(wheel: Path) -> None:
        package = wheel.name.split("-")[0].replace("_", "-")
        page = f'<!DOCTYPE html><html><body><a href="/files/{wheel.name}">{wheel.name}</a></body></html>'
        file_server.files[f"/simple/{package}/"] = page.encode()
        file_server.files[f"/files/{wheel.name}"] = wheel.read_bytes()

    return publish
