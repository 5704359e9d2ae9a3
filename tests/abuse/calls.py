"""The calls of both services, and valid requests to start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from google.protobuf.message import Message

from painterly.v1 import harmonize_service_pb2, image_pb2, preprocess_service_pb2
from painterly.v1 import harmonize_service_pb2 as harmonize
from painterly.v1 import preprocess_service_pb2 as preprocess
from tests.abuse import pictures
from tests.harmonize import toy

_Request = TypeVar("_Request", bound=Message)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of a service: the path on the wire, its request's type, and whether its answer is a stream."""

    service: str
    name: str
    request: type[Message]
    streams: bool

    @property
    def path(self) -> str:
        """The path on the wire."""
        return f"/painterly.v1.{'Preprocess' if self.service == 'preprocess' else 'Harmonize'}Service/{self.name}"


@cache
def calls(service: str) -> Sequence[Call]:
    """Every call of ``preprocess`` or ``harmonize``, from its descriptor: a new one is tested from its first day."""
    module = {"preprocess": preprocess_service_pb2, "harmonize": harmonize_service_pb2}[service]
    (descriptor,) = module.DESCRIPTOR.services_by_name.values()
    return [
        Call(
            service=service,
            name=method.name,
            request=getattr(module, method.input_type.name),
            streams=method.server_streaming,
        )
        for method in descriptor.methods
    ]


@cache
def valid(call: Call) -> Sequence[Message]:
    """Valid requests that are quickly answered; of a call without pictures an empty one."""
    images = {name: image_pb2.Image(data=data) for name, data in pictures.honest().items()}
    if call.service == "harmonize":
        return _valid_harmonize(call.request, images)
    placement = preprocess.Placement(height_fraction=0.6)
    placed = preprocess.PlacedElement(element=images["element"], placement=placement)
    removal = preprocess.BackgroundRemoval(
        method=preprocess.BACKGROUND_REMOVAL_METHOD_MASK, mask=images["mask"], refine_edges=True
    )
    hints = preprocess.BackgroundRemoval(
        grab_cut=preprocess.GrabCut(foreground_strokes=images["mask"], background_strokes=images["strokes"])
    )
    key = preprocess.BackgroundRemoval(chroma_key=preprocess.ChromaKey(color=preprocess.RgbColor(red=200)))
    web = preprocess.BackgroundRemoval(remove_bg=preprocess.RemoveBg(size=preprocess.REMOVE_BG_SIZE_PREVIEW))
    made: dict[type[Message], list[Message]] = {
        preprocess.RemoveBackgroundRequest: [
            preprocess.RemoveBackgroundRequest(photo=images["composite"], background_removal=each)
            for each in (removal, hints, key, web)
        ],
        preprocess.ComposeRequest: [
            preprocess.ComposeRequest(element=images["element"], painting=images["painting"], placement=placement),
            preprocess.ComposeRequest(elements=[placed, placed], painting=images["painting"]),
        ],
        preprocess.SuggestPlacementRequest: [
            preprocess.SuggestPlacementRequest(painting=images["painting"], element=images["element"])
        ],
        preprocess.DilateMaskRequest: [
            preprocess.DilateMaskRequest(mask=images["mask"], dilation=preprocess.MaskDilation(feather_px=3))
        ],
        preprocess.PrepareRequest: [
            preprocess.PrepareRequest(photo=images["element"], painting=images["painting"], placement=placement),
            preprocess.PrepareRequest(
                photo=images["composite"], painting=images["painting"], background_removal=removal
            ),
        ],
    }
    return made.get(call.request) or [call.request()]


def _valid_harmonize(kind: type[Message], images: Mapping[str, image_pb2.Image]) -> Sequence[Message]:
    whole = toy.request(harmonize.HarmonizeRequest, iteration_count=1)
    whole.dilated_mask.CopyFrom(images["dilated_mask"])
    request = _common(kind, whole)
    for name in ("pass1_result", "result"):
        if name in kind.DESCRIPTOR.fields_by_name:
            getattr(request, name).CopyFrom(images["composite"])
    return [request]


def _common(kind: type[_Request], source: Message) -> _Request:
    """A message with the fields of the same names as the source's."""
    message = kind()
    for field, value in source.ListFields():
        if field.name in kind.DESCRIPTOR.fields_by_name:
            getattr(message, field.name).CopyFrom(value)
    return message
