"""``painterly weights`` over a store of its own; the store has its own tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client.cli.kit import lines_about, one_json, run


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PAINTERLY_WEIGHTS_DIR", str(tmp_path / "store"))
    return tmp_path / "store"


@pytest.fixture
def corrupt(store: Path) -> Path:
    store.mkdir()
    path = store / "u2net.onnx"
    path.write_bytes(b"not a network")
    return path


def test_list_tells_what_is_there(corrupt: Path) -> None:
    outcome = run("weights", "list", "--json")
    assert outcome.exit_code == 0
    told = one_json(outcome.stdout)
    assert told["directory"] == str(corrupt.parent)
    states = {each["name"]: (each["state"], each["size_bytes"]) for each in told["weights"]}
    assert states == {"vgg16": ("missing", None), "vgg19": ("missing", None), "u2net": ("corrupt", 13)}
    assert all(each["license"] and each["sources"] for each in told["weights"])
    text = run("weights", "list").stdout
    assert text.splitlines()[0] == f"weight store: {corrupt.parent}"


def test_verify_finds_the_fault(corrupt: Path) -> None:
    outcome = run("weights", "verify", "--json")
    assert outcome.exit_code == 1
    told = one_json(outcome.stdout)
    assert not told["ok"]
    problem = next(each["problem"] for each in told["weights"] if each["name"] == "u2net")
    assert str(corrupt) in problem
    assert "painterly weights fetch u2net" in problem


def test_verify_passes_over_what_nobody_asked_for() -> None:
    assert run("weights", "verify").exit_code == 0
    named = run("weights", "verify", "vgg16")
    assert named.exit_code == 1
    assert "missing" in named.stdout


@pytest.mark.parametrize(
    ("command", "exit_code", "text"),
    [
        ("fetch nothing", 2, "there are no weights named 'nothing'; known names: vgg16, vgg19, u2net"),
        ("verify nothing", 2, "there are no weights named 'nothing'"),
        ("fetch", 2, "name the networks to fetch, or give --all"),
        ("fetch vgg16 --all", 2, "name the networks to fetch, or give --all"),
        ("fetch vgg16 vgg19 --from wrong.bin", 2, "exactly one network"),
        ("fetch u2net --from wrong.bin", 1, "wrong.bin"),
    ],
)
def test_a_command_that_cannot_be_done(command: str, exit_code: int, text: str) -> None:
    Path("wrong.bin").write_bytes(b"something else")
    outcome = run("weights", *command.split())
    assert outcome.exit_code == exit_code
    assert text in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_a_fetch_without_sources_in_reach_says_so_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("wrong.bin").write_bytes(b"something else")
    outcome = run("weights", "fetch", "u2net", "--from", "wrong.bin", "--json", "--quiet")
    assert outcome.exit_code == 1
    assert one_json(outcome.stdout)["error"]["reason"] == "WeightsUnobtainable"
    assert "u2net" in lines_about(outcome.stderr, "painterly")[0]
