"""No test sees the endpoints or the temporary folder of the one who runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.cli.kit import WHOLE_RUN, answer, play, prepare_answer
from tests.client.kit import Harmonize, Preprocess, serving


@pytest.fixture(autouse=True)
def own_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PAINTERLY_PREPROCESS_ENDPOINT", "PAINTERLY_HARMONIZE_ENDPOINT"):
        monkeypatch.delenv(variable, raising=False)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


@pytest.fixture
def preprocess() -> Preprocess:
    """A preprocess service that knows one answer."""
    return Preprocess(Prepare=answer(prepare_answer()))


@pytest.fixture
def harmonize() -> Harmonize:
    """A harmonize service that streams one whole run."""
    return Harmonize(play(*WHOLE_RUN))


@pytest.fixture
def endpoint(preprocess: Preprocess, harmonize: Harmonize, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Both services on one port, known to the commands from the environment."""
    with serving(preprocess, harmonize) as where:
        monkeypatch.setenv("PAINTERLY_PREPROCESS_ENDPOINT", where)
        monkeypatch.setenv("PAINTERLY_HARMONIZE_ENDPOINT", where)
        yield where
