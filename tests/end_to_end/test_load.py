"""Many callers at once against both services: every call and every job ends exactly once, and nothing grows."""

from __future__ import annotations

import pytest

from tests.benchmarks.service_load import MIXED, measure


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sixty_four_callers_for_two_minutes() -> None:
    outcome = measure(["--clients", "64", "--calls", "200", "--jobs", "40", "--minutes", "2"])
    assert outcome.faults == []
    kinds = [each.kind for each in outcome.ended]
    assert set(kinds) == {*MIXED, "job"}
    assert kinds.count("job") >= 40
    assert len(kinds) - kinds.count("job") >= 200
    for service in ("preprocess", "harmonize"):
        assert outcome.growth(service, lambda held: held.processes.rss_bytes) < 64 << 20
        assert outcome.growth(service, lambda held: held.processes.descriptor_count) < 4
        assert outcome.growth(service, lambda held: held.processes.thread_count) < 4
        assert outcome.growth(service, lambda held: held.file_count) < 100
