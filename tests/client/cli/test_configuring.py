"""``painterly config show``: both services' real settings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.client.cli.kit import run


def test_both_services_show_values_and_origins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "painterly.toml"
    file.write_text("[preprocess]\nqueue_size = 5\n[harmonize]\nqueue_size = 6\n")
    monkeypatch.setenv("PAINTERLY_CONFIG", str(file))
    monkeypatch.setenv("PAINTERLY_PREPROCESS_THREADS", "3")
    monkeypatch.setenv("PAINTERLY_REMOVE_BG_API_KEY", "hush")
    outcome = run("config", "show", "--json")
    assert outcome.exit_code == 0
    shown = json.loads(outcome.stdout)
    assert {name: shown[name]["queue_size"] for name in shown} == {
        "preprocess": {"value": 5, "origin": f"file {file}"},
        "harmonize": {"value": 6, "origin": f"file {file}"},
    }
    assert shown["preprocess"]["threads"] == {"value": 3, "origin": "environment PAINTERLY_PREPROCESS_THREADS"}
    assert shown["preprocess"]["remove_bg_api_key"]["value"] == "(not shown)"
    assert shown["harmonize"]["port"] == {"value": 50052, "origin": "default"}


def test_faults_are_told_and_end_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    outcome = run("config", "show", "preprocess", "--port", "-1", "--threads", "0")
    assert outcome.exit_code == 1
    assert "the preprocess service would not start with these settings" in outcome.stderr
    told = capfd.readouterr().err
    assert "--port (or PAINTERLY_PREPROCESS_PORT) must be from 0 to 65535, got -1" in told
    assert "--threads (or PAINTERLY_PREPROCESS_THREADS) must be from 1 to 1024, got 0" in told
