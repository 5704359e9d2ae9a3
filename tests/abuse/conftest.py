"""One server of each service for a module's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.abuse.servers import Service, serving


@pytest.fixture(scope="module")
def preprocess(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The preprocess service."""
    with serving("preprocess", tmp_path_factory.mktemp("preprocess")) as service:
        yield service


@pytest.fixture(scope="module")
def harmonize(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The harmonize service."""
    with serving("harmonize", tmp_path_factory.mktemp("harmonize")) as service:
        yield service
