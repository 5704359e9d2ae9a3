"""The Python client of Painterly: puts a thing from a photo into a painting, in the painter's hand.

    from pathlib import Path
    from painterly_client import Client, Result

    with Client(preprocess_endpoint="127.0.0.1:50051", harmonize_endpoint="127.0.0.1:50052") as client:
        painting = Path("painting.jpg").read_bytes()
        prepared = client.prepare(Path("photo.jpg").read_bytes(), painting)
        for event in client.harmonize(prepared.composite, painting, prepared.mask, dilated_mask=prepared.dilated_mask):
            if isinstance(event, Result):
                Path("result.png").write_bytes(event.image)

:class:`AsyncClient` is its twin for asyncio. Every error is a :class:`PainterlyError`.
"""

from painterly_client._async import AsyncClient, AsyncEventStream
from painterly_client._base import HealthStatus, Service
from painterly_client._credentials import Credentials
from painterly_client._errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidRequest,
    PainterlyError,
    PreconditionFailed,
    ServerBusy,
    ServerError,
    ServerUnavailable,
)
from painterly_client._events import Event, Frame, Progress, Queued, Result, StylizationLevel
from painterly_client._manifest import Environment, ImageDigest, Manifest
from painterly_client._quality import QualityMeasures, QualityReport, QualityWarning, StyleMeasures
from painterly_client._sync import Client, EventStream
from painterly_client._types import (
    BackgroundRemoval,
    BackgroundRemovalDetails,
    BackgroundRemovalMethod,
    BackgroundRemoved,
    ChromaKey,
    Composed,
    Compositing,
    Dilated,
    DilationRule,
    GrabCut,
    HarmonizeParameters,
    ImageFormat,
    JobPlan,
    KernelShape,
    MaskDilation,
    MemoryPolicy,
    Network,
    ObjectSelection,
    OutputOptions,
    ParityParameters,
    Pass1Parameters,
    Pass2Parameters,
    PhotoBox,
    PhotoPoint,
    PlacedElement,
    Placement,
    PlacementAnchor,
    PlacementScores,
    PlacementSuggestion,
    PostprocessParameters,
    Prepared,
    Preset,
    RefinementGuide,
    RemoveBg,
    RemoveBgSize,
    RemoveBgType,
    RemoveBgUsage,
    RgbColor,
    Stage,
    StagePlan,
    StreamOptions,
    StyleRegion,
)

__all__ = [
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
    "Dilated",
    "DilationRule",
    "Environment",
    "Event",
    "EventStream",
    "Frame",
    "GrabCut",
    "HarmonizeParameters",
    "HealthStatus",
    "ImageDigest",
    "ImageFormat",
    "InvalidRequest",
    "JobPlan",
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
    "RefinementGuide",
    "RemoveBg",
    "RemoveBgSize",
    "RemoveBgType",
    "RemoveBgUsage",
    "Result",
    "RgbColor",
    "ServerBusy",
    "ServerError",
    "ServerUnavailable",
    "Service",
    "Stage",
    "StagePlan",
    "StreamOptions",
    "StyleMeasures",
    "StyleRegion",
    "StylizationLevel",
]
