"""Both clients behind one face: a test that takes ``make_twin`` runs over each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from painterly_client import AsyncClient, Client
from tests.client.kit import MakeTwin, Twin, new_event_loop


@pytest.fixture(params=["sync", "async"])
def make_twin(request: pytest.FixtureRequest) -> Iterator[MakeTwin]:
    loop = new_event_loop()
    twins: list[Twin] = []
    kind = Client if request.param == "sync" else AsyncClient

    def make(**options: Any) -> Twin:
        twins.append(Twin(kind(**options), loop.run_until_complete))
        return twins[-1]

    yield make
    for twin in twins:
        twin.close()
    loop.close()
