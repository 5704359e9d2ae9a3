"""painterly_preprocess.settings."""

from __future__ import annotations

from typing import Any

import pytest

from painterly_preprocess.settings import Settings


def test_defaults() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.log_level) == ("127.0.0.1", 50051, "INFO")
    assert settings.threads >= 1


@pytest.mark.parametrize(
    "values",
    [
        {"network_threads": 0},
        {"port": -1},
        {"port": 65_536},
        {"threads": 0},
        {"queue_size": -1},
        {"log_level": "LOUD"},
        {"host": ""},
    ],
)
def test_faults_name_setting_and_value(values: dict[str, Any]) -> None:
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=f"^--{name.replace('_', '-')} .* must be .*{value}"):
        Settings(**values)
