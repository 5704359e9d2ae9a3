"""Settings: where they come from, what is refused, and that all faults are told at once."""

from __future__ import annotations

import dataclasses

import platformdirs
import pytest
import torch

from painterly.configuration import ServerSettings, SettingsError, available_cores, read_configuration
from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2
from painterly_harmonize.settings import (
    Settings,
    describe_device,
    layer_dtype,
    policy_of,
    resolve_device,
)

SHARED = {field.name for field in dataclasses.fields(ServerSettings)} - {"port"}


def read(flags: dict[str, str], environment: dict[str, str] | None = None) -> Settings:
    return read_configuration(Settings, flags=flags, environment=environment or {}).settings


def test_defaults() -> None:
    settings = dataclasses.asdict(read({}))
    assert {name: settings[name] for name in settings if name not in SHARED} == {
        "port": 50052,
        "device": "auto",
        "threads": available_cores(),
        "queue_size": 32,
        "style_cache_mib": 1024,
        "memory_limit_mib": 0,
        "precision": "float32",
        "cuda_graphs": "off",
        "role": "all",
        "data_folder": str(platformdirs.user_data_path("painterly") / "harmonize"),
        "principal_jobs": 8,
        "attempts": 3,
        "request_mib": 512,
        "spool_mib": 20_480,
        "lease_s": 15.0,
        "silence_s": 30.0,
        "orphan_s": 60.0,
        "checkpoint_s": 15.0,
        "run_limit_s": -1.0,
        "result_retention_s": 86_400.0,
        "event_retention_s": 3600.0,
        "heartbeat_s": 10.0,
        "drain_s": 30.0,
    }


def test_a_flag_wins_over_the_environment_and_the_environment_over_the_default() -> None:
    environment = {"PAINTERLY_HARMONIZE_PORT": "7", "PAINTERLY_HARMONIZE_DEVICE": "cuda:3"}
    settings = read({"port": "0", "log_level": "debug"}, environment)
    assert (settings.port, settings.device, settings.log_level) == (0, "cuda:3", "DEBUG")


def test_all_faults_are_told_together_each_with_its_name_value_and_rule() -> None:
    flags = {"port": "x1", "threads": "0", "device": "gpu"}
    with pytest.raises(SettingsError) as caught:
        read(flags, {"PAINTERLY_HARMONIZE_QUEUE_SIZE": "-1"})
    assert sorted(caught.value.faults) == [
        "--device (or PAINTERLY_HARMONIZE_DEVICE) must be auto, cpu, cuda or cuda:N, got 'gpu'",
        "--port (or PAINTERLY_HARMONIZE_PORT) must be a whole number, got 'x1'",
        "--queue-size (or PAINTERLY_HARMONIZE_QUEUE_SIZE) must be from 0 to 1000, got -1",
        "--threads (or PAINTERLY_HARMONIZE_THREADS) must be from 1 to 1024, got 0",
    ]


@pytest.mark.parametrize(("name", "value"), [("port", 65_536), ("threads", 1025), ("queue_size", 1001), ("host", "")])
def test_values_outside_are_refused(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"--{name.replace('_', '-')} "):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ({"precision": "float16"}, "--precision .* must be one of float32, tf32, bfloat16, got 'float16'"),
        ({"cuda_graphs": "yes"}, "--cuda-graphs .* must be one of on, off, got 'yes'"),
        ({"role": "manager"}, "--role .* must be one of all, front, worker, got 'manager'"),
        ({"role": "worker", "data_folder": "temporary"}, "--data-folder .* must be that of a front for a worker"),
        ({"data_folder": ""}, "--data-folder .* must be a folder"),
        ({"cuda_graphs": "on", "device": "cpu"}, "--cuda-graphs .* needs a CUDA device"),
    ],
)
def test_what_a_device_computes_with_is_checked(flags: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        read(flags)
    assert layer_dtype("bfloat16") == torch.bfloat16
    assert layer_dtype("tf32") == layer_dtype("float32") == torch.float32


def test_the_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert describe_device(torch.device("cpu")) == "cpu"


def test_auto_takes_a_cuda_device_if_there_is_one() -> None:
    expected = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    assert resolve_device("auto") == expected


def test_a_missing_device_is_a_typed_error() -> None:
    with pytest.raises(ServiceError, match="device cuda:99 is missing") as caught:
        resolve_device("cuda:99")
    assert caught.value.reason == error_reason_pb2.ERROR_REASON_DEVICE_MISSING
    assert caught.value.metadata == {"device": "cuda:99"}


@pytest.mark.gpu
def test_a_cuda_device_has_an_index_and_a_name() -> None:
    device = resolve_device("cuda")
    assert str(device) == "cuda:0"
    assert describe_device(device) == f"cuda:0 {torch.cuda.get_device_name(0)}"


def test_bounds_of_jobs_follow_from_settings_and_the_device() -> None:
    settings = Settings(lease_s=6.0, spool_mib=3, request_mib=2)
    policy = policy_of(settings, torch.device("cpu"))
    assert (policy.lease_s, policy.renewal_s) == (6.0, 2.0)
    assert (policy.spool_bytes, policy.request_bytes, policy.run_limit_s) == (3 << 20, 2 << 20, 0.0)
    assert policy_of(settings, torch.device("cuda", 0)).run_limit_s == 1800.0
    assert policy_of(Settings(run_limit_s=7.0), torch.device("cuda", 0)).run_limit_s == 7.0


def test_a_worker_has_no_temporary_folder() -> None:
    with pytest.raises(SettingsError, match=r"--data-folder .* must be that of a front for a worker"):
        Settings(role="worker", data_folder="temporary")
