"""``painterly health`` against real health services."""

from __future__ import annotations

import pytest

from tests.client.cli.kit import one_json, run
from tests.client.kit import Harmonize, free_port, serving


def test_a_server_that_serves(endpoint: str) -> None:
    outcome = run("health", endpoint)
    assert (outcome.exit_code, outcome.stdout) == (0, "")
    assert outcome.stderr == f"{endpoint} (the whole server): SERVING\n"


@pytest.mark.parametrize("name", ["harmonize", "painterly.v1.HarmonizeService"])
def test_a_service_by_name(endpoint: str, name: str) -> None:
    outcome = run("health", endpoint, "--service", name, "--json")
    assert outcome.exit_code == 0
    check = {"endpoint": endpoint, "service": "painterly.v1.HarmonizeService", "status": "SERVING"}
    assert one_json(outcome.stdout) == {"serving": True, "checks": [check]}


def test_without_an_endpoint_both_services_are_asked(endpoint: str) -> None:
    outcome = run("health", "--json", "--quiet")
    assert outcome.exit_code == 0
    services = [check["service"] for check in one_json(outcome.stdout)["checks"]]
    assert services == ["painterly.v1.PreprocessService", "painterly.v1.HarmonizeService"]


def test_one_of_two_is_not_enough(harmonize: Harmonize) -> None:
    with serving(harmonize) as where:
        outcome = run("health", "--preprocess-endpoint", where, "--harmonize-endpoint", where, "--json")
    assert outcome.exit_code == 1
    statuses = [check["status"] for check in one_json(outcome.stdout)["checks"]]
    assert statuses == ["SERVICE_UNKNOWN", "SERVING"]


def test_nobody_listens() -> None:
    outcome = run("health", f"127.0.0.1:{free_port()}", "--timeout", "2")
    assert outcome.exit_code == 1
    assert outcome.stderr.endswith(": UNREACHABLE\n")


def test_an_unknown_service_needs_an_endpoint() -> None:
    outcome = run("health", "--service", "other")
    assert outcome.exit_code == 2
    assert "--service other needs an ENDPOINT" in outcome.stderr
