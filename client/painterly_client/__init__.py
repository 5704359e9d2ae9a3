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
from painterly_client._events import Event, Frame, Progress, Queued, Result
from painterly_client._sync import Client, EventStream
from painterly_client._types import (
    BackgroundRemoval,
    BackgroundRemovalDetails,
    BackgroundRemovalMethod,
    BackgroundRemoved,
    ChromaKey,
    Composed,
    Dilated,
    GrabCut,
    HarmonizeParameters,
    ImageFormat,
    JobPlan,
    MaskDilation,
    MemoryPolicy,
    Network,
    ObjectSelection,
    ParityParameters,
    Pass1Parameters,
    Pass2Parameters,
    PhotoBox,
    PhotoPoint,
    Placement,
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
    "DeadlineExceeded",
    "Dilated",
    "Event",
    "EventStream",
    "Frame",
    "GrabCut",
    "HarmonizeParameters",
    "HealthStatus",
    "ImageFormat",
    "InvalidRequest",
    "JobPlan",
    "MaskDilation",
    "MemoryPolicy",
    "Network",
    "ObjectSelection",
    "PainterlyError",
    "ParityParameters",
    "Pass1Parameters",
    "Pass2Parameters",
    "PhotoBox",
    "PhotoPoint",
    "Placement",
    "PostprocessParameters",
    "PreconditionFailed",
    "Prepared",
    "Preset",
    "Progress",
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
]
