"""The public face: names, the two clients' likeness, what an import loads."""

from __future__ import annotations

import inspect
import subprocess
import sys

import painterly_client
from painterly_client import AsyncClient, AsyncEventStream, Client, EventStream

NAMES = [
    "Accepted",
    "AsyncClient",
    "AsyncEventStream",
    "BackgroundRemoval",
    "BackgroundRemovalDetails",
    "BackgroundRemovalMethod",
    "BackgroundRemoved",
    "Cancelled",
    "ChromaKey",
    "Client",
    "Composed",
    "Compositing",
    "Credentials",
    "DeadlineExceeded",
    "DeviceInfo",
    "Dilated",
    "DilationRule",
    "Environment",
    "Event",
    "EventStream",
    "Frame",
    "GrabCut",
    "HarmonizeParameters",
    "HealthStatus",
    "Heartbeat",
    "ImageDigest",
    "ImageFormat",
    "InvalidRequest",
    "Job",
    "JobFailed",
    "JobFailure",
    "JobKeyConflict",
    "JobKind",
    "JobNotFound",
    "JobPage",
    "JobPlan",
    "JobState",
    "KernelShape",
    "Manifest",
    "MaskDilation",
    "MemoryPolicy",
    "Network",
    "ObjectSelection",
    "OutputOptions",
    "PainterlyError",
    "ParityParameters",
    "Pass1Parameters",
    "Pass2Parameters",
    "PhotoBox",
    "PhotoPoint",
    "PlacedElement",
    "Placement",
    "PlacementAnchor",
    "PlacementScores",
    "PlacementSuggestion",
    "PostprocessParameters",
    "PreconditionFailed",
    "Prepared",
    "Preset",
    "Progress",
    "QualityMeasures",
    "QualityReport",
    "QualityWarning",
    "Queued",
    "Reattachment",
    "RefinementGuide",
    "RemoveBg",
    "RemoveBgSize",
    "RemoveBgType",
    "RemoveBgUsage",
    "RestartReason",
    "Result",
    "ResumePoint",
    "RgbColor",
    "ServerBusy",
    "ServerError",
    "ServerInfo",
    "ServerLimits",
    "ServerUnavailable",
    "Service",
    "Stage",
    "StagePlan",
    "StreamLost",
    "StreamOptions",
    "StyleMeasures",
    "StyleRegion",
    "StylizationLevel",
    "WeightsInfo",
]
HEAVY = {"torch", "numpy", "PIL", "cv2", "requests", "click", "rich"}


def test_the_public_names_are_these() -> None:
    assert painterly_client.__all__ == NAMES
    assert all(hasattr(painterly_client, name) for name in NAMES)


def public(kind: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(member)
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") or name == "__init__"
    }


def test_the_clients_are_twins() -> None:
    blocking, asynchronous = public(Client), public(AsyncClient)
    assert list(blocking) == list(asynchronous)
    assert "harmonize" in blocking
    for name, signature in blocking.items():
        assert signature.parameters == asynchronous[name].parameters, name
        assert asynchronous[name].return_annotation == signature.return_annotation.replace("Event", "AsyncEvent"), name
        assert (getattr(Client, name).__doc__ or "") == (getattr(AsyncClient, name).__doc__ or ""), name


def test_the_streams_are_twins() -> None:
    assert public(EventStream)["cancel"] == public(AsyncEventStream)["cancel"]


def test_importing_the_client_loads_nothing_heavy() -> None:
    program = f"import sys, painterly_client; print(sorted(set(sys.modules) & {HEAVY!r}), 'grpc' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"
