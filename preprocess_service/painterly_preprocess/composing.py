"""From requests to answers where elements meet paintings: places, composites, masks, and how they are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from painterly.errors import ServiceError
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.v1.image_pb2 import ImageFormat
from painterly_images import decode, encode, has_alpha, is_lossy
from painterly_preprocess import conversion
from painterly_preprocess.imaging import compositing, masks, suggesting
from painterly_preprocess.imaging.compositing import Composite, PlacedElement
from painterly_preprocess.imaging.params import Compositing, MaskDilation, Placement
from painterly_preprocess.imaging.placing import Box, painted_box, visible_box

MAX_ELEMENT_COUNT = 32

_PNG = image_pb2.IMAGE_FORMAT_PNG


@dataclass(frozen=True, kw_only=True)
class Output:
    """How the pictures of an answer are encoded; ``quality`` None is the format's own."""

    format: ImageFormat.ValueType = _PNG
    quality: int | None = None
    include_alpha: bool = False

    def composite(self, pixels: NDArray[np.uint8]) -> image_pb2.Image:
        """Encode a composite."""
        return encode(pixels, self.format, quality=self.quality, field="output.format")

    def element(self, pixels: NDArray[np.uint8]) -> image_pb2.Image:
        """Encode an RGBA element, as PNG where the format has no alpha."""
        chosen = self.format if has_alpha(self.format) else _PNG
        return encode(pixels, chosen, quality=self.quality, field="output.format")

    def alpha(self, alpha: NDArray[np.float32]) -> image_pb2.Image | None:
        """Encode a soft alpha, if it was asked for."""
        return encode(np.rint(alpha * 255).astype(np.uint8), _PNG) if self.include_alpha else None


def output_from_proto(message: pb.OutputOptions, *, needs_alpha: bool = False) -> Output:
    """Read how to encode; ``needs_alpha`` refuses formats without. Raises: ServiceError UNKNOWN_ENUM_VALUE,
    FIELD_OUT_OF_RANGE, FORMAT_UNSUITABLE.
    """
    quality = message.quality if message.HasField("quality") else None
    if message.format not in ImageFormat.values():
        known = ", ".join(ImageFormat.keys()[1:])
        raise _refused("UNKNOWN_ENUM_VALUE", "format", message.format, f"unknown value; known are {known}")
    if quality is not None and not 1 <= quality <= 100:
        raise _refused("FIELD_OUT_OF_RANGE", "quality", quality, "must be from 1 to 100")
    name = ImageFormat.Name(message.format).removeprefix("IMAGE_FORMAT_")
    if needs_alpha and not has_alpha(message.format):
        raise _refused("FORMAT_UNSUITABLE", "format", name, "has no alpha channel; ask for PNG, TIFF, WebP or AVIF")
    if is_lossy(message.format, quality) and not message.allow_lossy:
        text = (
            "changes pixels everywhere, so that harmonizing would not give the painting back; "
            "ask for PNG, TIFF, BMP or WebP without a quality, or set allow_lossy"
        )
        raise _refused("FORMAT_UNSUITABLE", "format", name, text)
    return Output(format=message.format or _PNG, quality=quality, include_alpha=message.include_alpha)


def compose(request: pb.ComposeRequest) -> pb.ComposeResponse:
    """Answer Compose."""
    output = output_from_proto(request.output)
    how = conversion.compositing_from_proto(request.compositing)
    given = _given_elements(request)
    # Every field is looked at before any picture is decoded.
    placements = [conversion.placement_from_proto(each.placement, f"{path}placement") for path, each in given]
    elements = []
    for (path, each), placement in zip(given, placements, strict=True):
        pixels = decode(each.element, f"{path}element", "RGBA")
        compositing.require_cut_out(pixels, f"{path}element")
        elements.append(PlacedElement(pixels=pixels, placement=placement, path=path))
    placed = place(elements, decode(request.painting, "painting", "RGB"), how)
    used = [conversion.placement_to_proto(placement) for placement in placed.placements]
    return pb.ComposeResponse(
        composite=output.composite(placed.composite.pixels),
        mask=encode_mask(placed.composite.mask),
        placement_used=used[0],
        alpha=output.alpha(placed.composite.alpha),
        placements_used=used,
        placement_reasons=placed.reasons,
        compositing_used=conversion.compositing_to_proto(how),
    )


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A composite, the placements that led to it, and why each was chosen (empty for one that was given)."""

    composite: Composite
    placements: Sequence[Placement]
    reasons: Sequence[str]


def place(elements: Sequence[PlacedElement], painting: NDArray[np.uint8], how: Compositing) -> Placed:
    """Find the places that are left to the server, none over another element, and compose.

    Raises: ImagingError.
    """
    painting_size = painting.shape[0], painting.shape[1]
    sizes, occupied = [], []
    for element in elements:
        compositing.require_visible(element.pixels, f"{element.path}element")
        sizes.append(_size(visible_box(element.pixels)))
        if not element.placement.is_automatic:
            occupied.append(painted_box(sizes[-1], painting_size, element.placement))
    resolved, told = [], []
    for element, size in zip(elements, sizes, strict=True):
        placement, reason = element.placement, ""
        if placement.is_automatic:
            placement, reason = suggesting.resolve_automatic(placement, size, painting, occupied)
            occupied.append(painted_box(size, painting_size, placement))
        resolved.append(replace(element, placement=placement))
        told.append(reason)
    composite = compositing.compose(resolved, painting, how)
    return Placed(composite=composite, placements=[each.placement for each in resolved], reasons=told)


def suggest_placement(request: pb.SuggestPlacementRequest) -> pb.SuggestPlacementResponse:
    """Answer SuggestPlacement."""
    wish = conversion.wish_from_proto(request)
    painting = decode(request.painting, "painting", "RGB")
    if request.HasField("element"):
        element = decode(request.element, "element", "RGBA")
        compositing.require_cut_out(element)
        compositing.require_visible(element)
        height, width = _size(visible_box(element))
        wish = replace(wish, aspect_ratio=min(max(width / height, 0.05), 20))
    found = suggesting.suggest(painting, wish)
    return pb.SuggestPlacementResponse(suggestions=[conversion.suggestion_to_proto(each) for each in found])


def dilate_mask(request: pb.DilateMaskRequest) -> pb.DilateMaskResponse:
    """Answer DilateMask."""
    dilation = conversion.dilation_from_proto(request.dilation)
    mask = masks.binarize_gray(decode(request.mask, "mask", "L"), "mask")
    return grow(mask, dilation)


def grow(mask: NDArray[np.bool_], dilation: MaskDilation) -> pb.DilateMaskResponse:
    """A mask's dilation, encoded."""
    dilation = masks.resolve_dilation(dilation, mask)
    grown = masks.dilate(mask, dilation)
    has_feather = dilation.feather_px > 0
    return pb.DilateMaskResponse(
        dilated_mask=encode_mask(grown),
        dilation_used=conversion.dilation_to_proto(dilation),
        feathered_mask=encode(masks.feather(grown, dilation.feather_px), _PNG) if has_feather else None,
    )


def encode_mask(mask: NDArray[np.bool_]) -> image_pb2.Image:
    """A mask as a gray PNG."""
    return encode(masks.to_gray(mask), _PNG)


def _given_elements(request: pb.ComposeRequest) -> list[tuple[str, pb.PlacedElement]]:
    """The elements with their proto paths. Raises: ServiceError FIELDS_CONFLICT, FIELD_OUT_OF_RANGE."""
    if not request.elements:
        return [("", pb.PlacedElement(element=request.element, placement=request.placement))]
    for name in ("element", "placement"):
        if request.HasField(name):
            raise ServiceError(
                reasons.ERROR_REASON_FIELDS_CONFLICT,
                f"{name} and elements are both set; put every element into elements",
                field=name,
                metadata={"conflicts_with": "elements"},
            )
    if len(request.elements) > MAX_ELEMENT_COUNT:
        raise ServiceError(
            reasons.ERROR_REASON_FIELD_OUT_OF_RANGE,
            f"elements are {len(request.elements)} but may be at most {MAX_ELEMENT_COUNT}; compose in several calls",
            field="elements",
            metadata={"value": str(len(request.elements))},
        )
    return [(f"elements[{index}].", element) for index, element in enumerate(request.elements)]


def _size(box: Box) -> tuple[int, int]:
    return box.bottom - box.top, box.right - box.left


def _refused(reason: str, name: str, value: object, text: str) -> ServiceError:
    field = f"output.{name}"
    return ServiceError(
        reasons.ErrorReason.Value(f"ERROR_REASON_{reason}"),
        f"{field} {value}: {text}",
        field=field,
        metadata={"value": str(value)},
    )
