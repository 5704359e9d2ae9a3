"""The commands against servers that speak TLS and want a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.certificates import Authority
from tests.client.cli.kit import one_json, run, write_pictures
from tests.client.kit import Harmonize, Preprocess, serving
from tests.client.test_credentials import TOKEN, secured


@pytest.fixture
def where(
    preprocess: Preprocess, harmonize: Harmonize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    authority, folder = Authority(), tmp_path / "server"
    folder.mkdir()
    guest = authority.issue("guest")
    guest.write(tmp_path / "guest.pem", tmp_path / "guest.key")
    with serving(preprocess, harmonize, listener=secured(folder, authority, asks_back=True)) as endpoint:
        monkeypatch.setenv("PAINTERLY_TLS_CA", str(folder / "ca.pem"))
        monkeypatch.setenv("PAINTERLY_TLS_CERTIFICATE", str(tmp_path / "guest.pem"))
        monkeypatch.setenv("PAINTERLY_TLS_KEY", str(tmp_path / "guest.key"))
        monkeypatch.setenv("PAINTERLY_PREPROCESS_ENDPOINT", f"https://{endpoint}")
        monkeypatch.setenv("PAINTERLY_HARMONIZE_ENDPOINT", endpoint)
        yield endpoint


def test_a_whole_run(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, painting = write_pictures(Path(), "photo.png", "painting.png")
    monkeypatch.setenv("PAINTERLY_TOKEN", TOKEN)
    outcome = run("harmonize", str(photo), str(painting), "-o", "out.png", "--report", "report.html", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert TOKEN not in outcome.output + Path("report.html").read_text()


def test_a_token_as_an_option_is_shown_nowhere(where: str, tmp_path: Path) -> None:
    photo, painting = write_pictures(Path(), "photo.png", "painting.png")
    wrong = "wrong-token"
    outcome = run("harmonize", str(photo), str(painting), "-o", "out.png", "--token", wrong, "--json")
    assert outcome.exit_code == 4
    assert one_json(outcome.stdout)["error"]["reason"] == "TOKEN_INVALID"
    assert wrong not in outcome.output


def test_how_to_go_on_names_the_certificates_and_not_the_token(
    where: str, harmonize: Harmonize, tmp_path: Path
) -> None:
    async def failing(request: object, context: object) -> object:
        raise ValueError
        yield

    harmonize.handler = failing  # type: ignore[assignment]
    photo, painting = write_pictures(Path(), "photo.png", "painting.png")
    ca = str(tmp_path / "server" / "ca.pem")
    outcome = run("harmonize", str(photo), str(painting), "-o", "out.png", "--token", TOKEN, "--tls-ca", ca, "--json")
    assert outcome.exit_code == 1
    (command, *_) = one_json(outcome.stdout)["go_on"]
    assert f"--tls-ca {ca}" in command
    assert "--token" not in command
    assert TOKEN not in outcome.output


def test_health_goes_through_tls_and_needs_no_token(where: str) -> None:
    outcome = run("health")
    assert outcome.exit_code == 0, outcome.stderr
    assert run("health", f"https://{where}").exit_code == 0
    assert run("health", f"http://{where}").exit_code == 2
