"""docs/operations.md: its cheap commands run as they stand, its tables name what there is."""

from __future__ import annotations

import dataclasses
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from painterly.configuration import ServerSettings
from painterly.serving import listener_of
from painterly.serving.metrics import CallMetrics
from painterly_harmonize.jobs.policy import Policy
from painterly_harmonize.jobs.sqlite_store import open_folder
from painterly_harmonize.metrics import FrontMetrics, StoreMetrics
from painterly_harmonize.settings import Settings
from painterly_preprocess.metrics import WorkMetrics

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text("utf-8")


def blocks(title: str) -> list[str]:
    """The shell commands of a section."""
    begin = TEXT.index(f"# {title}\n")
    end = re.compile(r"^##", re.M).search(TEXT, begin + len(title) + 3)
    return re.findall(r"^```sh\n(.*?)^```", TEXT[begin : end.start() if end else None], re.S | re.M)


def run(script: str, folder: Path) -> str:
    """Run commands as they stand. Raises: CalledProcessError."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return tmp_path


def test_the_certificates_and_tokens_that_it_makes_are_of_use(folder: Path) -> None:
    assert "server.pem: OK\nstudio-7.pem: OK\n" in run(blocks("Certificates")[0], folder)
    run(blocks("Tokens")[0], folder)
    listener = listener_of(
        Settings(
            host="0.0.0.0",
            tls_certificate=folder / "server.pem",
            tls_key=folder / "server.key",
            tls_client_ca=folder / "ca.pem",
            token_file=folder / "tokens",
        )
    )
    tokens = listener.authentication.tokens
    assert tokens is not None
    found = {name: tokens.find((folder / f"{name}.token").read_text().strip()) for name in ("studio-7", "archive")}
    grants = {name: (grant.principal, set(grant.services)) for name, grant in found.items() if grant}
    assert grants == {"studio-7": ("studio-7", set()), "archive": ("archive", {"preprocess"})}


def test_a_backup_can_be_restored(tmp_path: Path) -> None:
    store, spool = open_folder(tmp_path / "data", Policy())
    name = spool.put(b"a result")
    back_up, restore = blocks("Back it up")
    try:
        run(back_up, tmp_path)
    finally:
        store.close()
    run(restore, tmp_path)
    again, blobs = open_folder(tmp_path / "restored", Policy())
    try:
        assert blobs.get(name) == b"a result"
        assert again.queue().waiting == ()
    finally:
        again.close()
    with sqlite3.connect(tmp_path / "jobs.backup") as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def test_promtool_finds_no_fault_with_configuration_and_rules() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: apt install prometheus")
    (checks,) = [block for block in blocks("Metrics") if "check rules" in block]
    assert checks.count("promtool") == 3
    assert "SUCCESS" in run(checks, ROOT)


def exposed(folder: Path) -> set[str]:
    """The metrics of both services, by the names that queries use."""
    works, jobs = CollectorRegistry(), CollectorRegistry()
    store, _ = open_folder(folder, Policy())
    for make in (CallMetrics, WorkMetrics):
        make(works)
    FrontMetrics(jobs)
    jobs.register(StoreMetrics(store, Policy()))
    families = [*works.collect(), *jobs.collect()]
    store.close()
    return {f"{family.name}_total" if family.type == "counter" else family.name for family in families}


def test_the_table_of_metrics_is_complete(tmp_path: Path) -> None:
    rows = re.findall(r"^\| `((?:grpc|painterly)_[a-z_]+)` \| (both|preprocess|harmonize) \|", TEXT, re.M)
    assert {name for name, _ in rows} == exposed(tmp_path)
    assert len(rows) == len(exposed(tmp_path))


def test_the_alert_rules_ask_for_metrics_that_there_are(tmp_path: Path) -> None:
    rules = (ROOT / "docker" / "alerts.yml").read_text("utf-8")
    asked = {
        re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:grpc_server|painterly)_[a-z_]+", rules)
    }
    assert len(asked) == 8
    assert asked <= exposed(tmp_path)


def test_the_table_of_settings_names_each_that_both_services_have() -> None:
    table = TEXT[TEXT.index("| setting, both services") : TEXT.index("Not to be set")]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    shared = {each.name for each in dataclasses.fields(ServerSettings)}
    assert {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)} == shared - {"exit_with_stdin"}
