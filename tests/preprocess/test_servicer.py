"""painterly_preprocess.servicer, over the wire: a real server, a real channel, real pictures."""

from __future__ import annotations

import asyncio
import io
import math
import struct
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from painterly.errors import ErrorDetails, ServiceError, read_details
from painterly.limits import MAX_MESSAGE_BYTES
from painterly.v1 import error_reason_pb2, image_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from painterly.weights import WeightsError, WeightStore
from painterly_images import decode
from painterly_preprocess.imaging import masks
from painterly_preprocess.imaging.params import MaskDilation
from painterly_preprocess.removal import U2NET_WEIGHTS
from painterly_preprocess.servicer import within_message_limit

if TYPE_CHECKING:
    from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceAsyncStub as Stub

Pixels = NDArray[np.uint8]
Encoded = Callable[..., image_pb2.Image]

PHOTOS = Path(__file__).parents[2] / "examples" / "photos"
GRABCUT = pb.BackgroundRemoval(method=pb.BACKGROUND_REMOVAL_METHOD_GRABCUT)
U2NET = pb.BackgroundRemoval(method=pb.BACKGROUND_REMOVAL_METHOD_U2NET)
ALPHA = pb.BackgroundRemoval(method=pb.BACKGROUND_REMOVAL_METHOD_ALPHA)


async def refusal(call: Awaitable[Any], code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT) -> ErrorDetails:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details = read_details(caught.value)
    assert details.code is code
    return details


# What the answers hold


async def test_compose(stub: Stub, encoded: Encoded, element: Pixels, painting: Pixels) -> None:
    placement = pb.Placement(center_x_fraction=0.25, center_y_fraction=0.5, height_fraction=20 / 60)
    response = await stub.Compose(
        pb.ComposeRequest(element=encoded(element), painting=encoded(painting), placement=placement)
    )
    expected = painting.copy()
    expected[20:40, 10:30] = element[:, 5:25, :3]
    np.testing.assert_array_equal(decode(response.composite, "composite", "RGB"), expected)
    mask = np.zeros((60, 80), dtype=np.uint8)
    mask[20:40, 10:30] = 255
    np.testing.assert_array_equal(decode(response.mask, "mask", "L"), mask)
    assert response.placement_used == pb.Placement(
        center_x_fraction=0.25,
        center_y_fraction=0.5,
        height_fraction=20 / 60,
        rotation_degrees=0,
        anchor=pb.PLACEMENT_ANCHOR_CENTER,
        opacity=1,
        z_order=0,
    )
    assert list(response.placements_used) == [response.placement_used]
    assert list(response.placement_reasons) == [""]
    assert response.compositing_used == pb.Compositing(tone_match_strength=0)
    assert not response.HasField("alpha")
    for image in (response.composite, response.mask):
        assert (image.format, image.width_px, image.height_px) == (image_pb2.IMAGE_FORMAT_PNG, 80, 60)


async def test_dilate_mask(stub: Stub, encoded: Encoded) -> None:
    mask = np.zeros((40, 700), dtype=np.uint8)
    mask[:, :300] = 255
    response = await stub.DilateMask(pb.DilateMaskRequest(mask=encoded(mask)))
    dilated = decode(response.dilated_mask, "dilated_mask", "L")
    np.testing.assert_array_equal(dilated, masks.to_gray(masks.dilate(mask > 0, MaskDilation(kernel_size_px=35))))
    assert (dilated[20] == 255).sum() == 312
    assert response.dilation_used == pb.MaskDilation(
        kernel_size_px=35,
        rule=pb.DILATION_RULE_PAPER,
        kernel_shape=pb.KERNEL_SHAPE_RECTANGLE,
        iteration_count=1,
        feather_px=0,
    )
    assert not response.HasField("feathered_mask")


async def test_dilate_mask_in_the_classic_way_with_a_feather(stub: Stub, encoded: Encoded) -> None:
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[10:30, 10:30] = 255
    mask[15:25, 15:25] = 0
    dilation = pb.MaskDilation(
        rule=pb.DILATION_RULE_CLASSIC, kernel_size_px=3, iteration_count=2, fill_holes=True, feather_px=4
    )
    response = await stub.DilateMask(pb.DilateMaskRequest(mask=encoded(mask), dilation=dilation))
    expected = np.zeros((40, 60), dtype=np.uint8)
    expected[8:32, 8:32] = 255
    np.testing.assert_array_equal(decode(response.dilated_mask, "dilated_mask", "L"), expected)
    feathered = decode(response.feathered_mask, "feathered_mask", "L")
    assert feathered[20, 30:38].tolist() == [255, 255, 204, 153, 102, 51, 0, 0]


async def test_remove_background_by_grabcut(stub: Stub, encoded: Encoded, photo: Pixels) -> None:
    response = await stub.RemoveBackground(pb.RemoveBackgroundRequest(photo=encoded(photo), background_removal=GRABCUT))
    alpha = decode(response.element, "element", "RGBA")[..., 3]
    truth = np.zeros(alpha.shape, dtype=np.bool_)
    truth[25:75, 35:85] = True
    found = alpha >= 128
    assert (found & truth).sum() / (found | truth).sum() > 0.95
    assert response.method_used == pb.BACKGROUND_REMOVAL_METHOD_GRABCUT
    assert response.method_reason == "The request names this method."


async def test_auto_takes_the_photos_own_alpha(stub: Stub, encoded: Encoded, element: Pixels) -> None:
    response = await stub.RemoveBackground(pb.RemoveBackgroundRequest(photo=encoded(element)))
    np.testing.assert_array_equal(decode(response.element, "element", "RGBA"), element)
    assert response.method_used == pb.BACKGROUND_REMOVAL_METHOD_ALPHA
    assert "transparent pixels of its own" in response.method_reason


async def test_auto_without_weights_says_that_it_falls_back(stub: Stub, encoded: Encoded, photo: Pixels) -> None:
    response = await stub.RemoveBackground(pb.RemoveBackgroundRequest(photo=encoded(photo)))
    assert response.method_used == pb.BACKGROUND_REMOVAL_METHOD_GRABCUT
    assert "painterly weights fetch u2net" in response.method_reason


async def test_prepare_is_the_three_calls_in_one(stub: Stub, encoded: Encoded, photo: Pixels, painting: Pixels) -> None:
    placement = pb.Placement(center_x_fraction=0.4, height_fraction=0.3, rotation_degrees=20, flip_horizontal=True)
    dilation = pb.MaskDilation(kernel_size_px=9)
    prepared = await stub.Prepare(
        pb.PrepareRequest(
            photo=encoded(photo),
            painting=encoded(painting),
            background_removal=GRABCUT,
            placement=placement,
            dilation=dilation,
        )
    )
    removed = await stub.RemoveBackground(pb.RemoveBackgroundRequest(photo=encoded(photo), background_removal=GRABCUT))
    composed = await stub.Compose(
        pb.ComposeRequest(element=removed.element, painting=encoded(painting), placement=placement)
    )
    dilated = await stub.DilateMask(pb.DilateMaskRequest(mask=composed.mask, dilation=dilation))
    assert prepared == pb.PrepareResponse(
        compositing_used=composed.compositing_used,
        composite=composed.composite,
        mask=composed.mask,
        dilated_mask=dilated.dilated_mask,
        element=removed.element,
        method_used=removed.method_used,
        method_reason=removed.method_reason,
        details=removed.details,
        placement_used=composed.placement_used,
        dilation_used=dilated.dilation_used,
    )
    composite = decode(prepared.composite, "composite", "RGB")
    mask, dilated_mask = (decode(image, "mask", "L") == 255 for image in (prepared.mask, prepared.dilated_mask))
    assert mask.any()
    assert (dilated_mask & mask).sum() == mask.sum() < dilated_mask.sum()
    assert (composite[~dilated_mask] == painting[~dilated_mask]).mean() > 0.99


async def test_several_elements(stub: Stub, encoded: Encoded, element: Pixels, painting: Pixels) -> None:
    blue = np.full((20, 20, 4), (0, 0, 200, 255), dtype=np.uint8)
    blue[0, 0, 3] = 254
    corner = pb.Placement(
        center_x_fraction=0, center_y_fraction=0, anchor=pb.PLACEMENT_ANCHOR_TOP_LEFT, height_px=20, z_order=-1
    )
    over = pb.Placement(
        center_x_fraction=10 / 80, center_y_fraction=10 / 60, anchor=pb.PLACEMENT_ANCHOR_TOP_LEFT, width_px=20
    )
    elements = [
        pb.PlacedElement(element=encoded(element), placement=over),
        pb.PlacedElement(element=encoded(blue), placement=corner),
    ]
    response = await stub.Compose(
        pb.ComposeRequest(elements=elements, painting=encoded(painting), output=pb.OutputOptions(include_alpha=True))
    )
    expected = painting.copy()
    expected[:20, :20] = (0, 0, 200)
    expected[10:30, 10:30] = element[:, 5:25, :3]
    composite = decode(response.composite, "composite", "RGB")
    np.testing.assert_array_equal(composite[1:], expected[1:])
    alpha, mask = decode(response.alpha, "alpha", "L"), decode(response.mask, "mask", "L")
    assert alpha[0, :2].tolist() == [254, 255]
    assert mask[0, 0] == 255
    assert (mask > 0).sum() == 700
    assert [used.z_order for used in response.placements_used] == [0, -1]
    assert response.placement_used == response.placements_used[0]
    # What was used can be sent back.
    for placed, used in zip(elements, response.placements_used, strict=True):
        placed.placement.CopyFrom(used)
    again = await stub.Compose(
        pb.ComposeRequest(elements=elements, painting=encoded(painting), output=pb.OutputOptions(include_alpha=True))
    )
    assert again == response


async def test_automatic_places_are_told_and_can_be_sent_back(
    stub: Stub, encoded: Encoded, element: Pixels, painting: Pixels
) -> None:
    cut_out, ground = encoded(element), encoded(painting)
    (best,) = (
        await stub.SuggestPlacement(pb.SuggestPlacementRequest(painting=ground, element=cut_out, suggestion_count=1))
    ).suggestions
    automatic = pb.Placement(is_automatic=True)
    composed = await stub.Compose(pb.ComposeRequest(element=cut_out, painting=ground, placement=automatic))
    prepared = await stub.Prepare(pb.PrepareRequest(photo=cut_out, painting=ground, placement=automatic))
    assert composed.placement_used == prepared.placement_used == best.placement
    assert list(composed.placement_reasons) == [prepared.placement_reason] == [best.reason]
    assert not best.placement.is_automatic
    again = await stub.Compose(pb.ComposeRequest(element=cut_out, painting=ground, placement=best.placement))
    assert again.composite == composed.composite
    two = await stub.Compose(
        pb.ComposeRequest(elements=2 * [pb.PlacedElement(element=cut_out, placement=automatic)], painting=ground)
    )
    assert two.placements_used[0] == best.placement
    assert two.placements_used[1] != best.placement


@pytest.mark.parametrize(
    ("name", "quality", "lossy"),
    [("WEBP", None, False), ("TIFF", None, False), ("BMP", 7, False), ("JPEG", 90, True), ("AVIF", 90, True)],
)
async def test_formats_of_results(
    stub: Stub, encoded: Encoded, element: Pixels, painting: Pixels, name: str, quality: int | None, lossy: bool
) -> None:
    wished = image_pb2.ImageFormat.Value(f"IMAGE_FORMAT_{name}")
    output = pb.OutputOptions(format=wished, quality=quality, allow_lossy=lossy)
    request = pb.PrepareRequest(photo=encoded(element), painting=encoded(painting))
    exact = await stub.Prepare(request)
    request.output.CopyFrom(output)
    response = await stub.Prepare(request)
    assert response.composite.format == wished
    assert response.element.format == (wished if name in ("WEBP", "TIFF", "AVIF") else image_pb2.IMAGE_FORMAT_PNG)
    assert (response.mask, response.dilated_mask) == (exact.mask, exact.dilated_mask)
    pictures = [decode(each.composite, "composite", "RGB").astype(int) for each in (response, exact)]
    difference = np.abs(pictures[0] - pictures[1]).mean()
    assert 0 < difference < 12 if lossy else difference == 0
    if response.element.format != wished:
        return
    cut_out = await stub.RemoveBackground(pb.RemoveBackgroundRequest(photo=request.photo, output=output))
    assert cut_out.element == response.element


async def test_quality_counts(stub: Stub, encoded: Encoded, element: Pixels, painting: Pixels) -> None:
    sizes = []
    for quality in (20, 60, 95):
        output = pb.OutputOptions(format=image_pb2.IMAGE_FORMAT_JPEG, quality=quality, allow_lossy=True)
        request = pb.ComposeRequest(element=encoded(element), painting=encoded(painting), output=output)
        sizes.append(len((await stub.Compose(request)).composite.data))
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[2] / 2


# Pictures of every kind


def oriented() -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = 6
    return {"exif": exif}


async def test_exif_orientation_is_applied(stub: Stub, encoded: Encoded, element: Pixels) -> None:
    response = await stub.RemoveBackground(pb.RemoveBackgroundRequest(photo=encoded(element, **oriented())))
    np.testing.assert_array_equal(decode(response.element, "element", "RGBA"), np.rot90(element, -1))


def picture_of(kind: str, painting: Pixels, encoded: Encoded) -> tuple[image_pb2.Image, Pixels]:
    """A painting as a file of some kind, and what it must be decoded to."""
    rgb = Image.fromarray(painting)
    if kind in ("gray", "palette"):
        converted = rgb.convert("L") if kind == "gray" else rgb.quantize(16)
        return encoded(converted), np.asarray(converted.convert("RGB"))
    if kind == "cmyk":
        return encoded(rgb.convert("CMYK"), "TIFF"), painting
    if kind == "16-bit":
        bgr = painting[..., ::-1].astype(np.uint16) * 257
        return image_pb2.Image(data=cv2.imencode(".png", bgr)[1].tobytes()), painting
    if kind == "alpha":
        transparent = np.zeros((*painting.shape[:2], 1), dtype=np.uint8)
        return encoded(np.dstack([painting, transparent])), np.full_like(painting, 255)
    return encoded(rgb, **oriented()), np.rot90(painting, -1)


@pytest.mark.parametrize("kind", ["gray", "palette", "cmyk", "16-bit", "alpha", "exif"])
async def test_paintings_of_every_kind(
    stub: Stub, encoded: Encoded, element: Pixels, painting: Pixels, kind: str
) -> None:
    image, expected = picture_of(kind, painting, encoded)
    response = await stub.Compose(
        pb.ComposeRequest(
            element=encoded(element),
            painting=image,
            placement=pb.Placement(height_fraction=0.2, center_x_fraction=0.2, center_y_fraction=0.2),
        )
    )
    composite = decode(response.composite, "composite", "RGB")
    assert composite.shape == expected.shape
    np.testing.assert_array_equal(composite[30:], expected[30:])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
async def test_masks_of_every_kind(stub: Stub, encoded: Encoded, mode: str) -> None:
    gray = np.zeros((32, 48), dtype=np.uint8)
    gray[8:24, 10:30] = 255
    request = pb.DilateMaskRequest(
        mask=encoded(Image.fromarray(gray).convert(mode)), dilation=pb.MaskDilation(kernel_size_px=1)
    )
    response = await stub.DilateMask(request)
    np.testing.assert_array_equal(decode(response.dilated_mask, "dilated_mask", "L"), gray)


# What is refused


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def truncated_jpeg() -> bytes:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()[:-500]


BAD_FILES: list[tuple[bytes, str, dict[str, str]]] = [
    (b"", "FIELD_REQUIRED", {}),
    (b"no image at all", "IMAGE_UNDECODABLE", {}),
    (truncated_jpeg(), "IMAGE_UNDECODABLE", {}),
    (png_header(1, 1), "IMAGE_SIZE_OUT_OF_RANGE", {"value": "1x1"}),
    (png_header(20_000, 20_000), "IMAGE_SIZE_OUT_OF_RANGE", {"value": "20000x20000"}),
    (bytes(32 * 2**20 + 1), "IMAGE_SIZE_OUT_OF_RANGE", {"value": str(32 * 2**20 + 1)}),
]
BAD_FILE_NAMES = ["no bytes", "no image", "truncated JPEG", "1x1", "20000x20000", "too many bytes"]


@pytest.mark.parametrize(
    ("method", "field"),
    [
        ("RemoveBackground", "photo"),
        ("Compose", "element"),
        ("Compose", "painting"),
        ("SuggestPlacement", "painting"),
        ("SuggestPlacement", "element"),
        ("DilateMask", "mask"),
        ("Prepare", "photo"),
        ("Prepare", "painting"),
    ],
)
@pytest.mark.parametrize(("data", "reason", "metadata"), BAD_FILES, ids=BAD_FILE_NAMES)
async def test_bad_files(
    stub: Stub,
    encoded: Encoded,
    element: Pixels,
    method: str,
    field: str,
    data: bytes,
    reason: str,
    metadata: dict[str, str],
) -> None:
    request_type = getattr(pb, f"{method}Request")
    fields = {name: encoded(element) for name in ("photo", "element", "painting", "mask")}
    fields = {name: image for name, image in fields.items() if name in request_type.DESCRIPTOR.fields_by_name}
    request = request_type(**{**fields, field: image_pb2.Image(data=data)})
    details = await refusal(getattr(stub, method)(request))
    assert details.reason == reason
    assert {key: details.metadata[key] for key in ("field", *metadata)} == {"field": field, **metadata}
    assert details.violations == ((field, details.message),)
    assert details.metadata["request_id"]


async def test_wrong_format(stub: Stub, encoded: Encoded, photo: Pixels) -> None:
    image = encoded(photo, "JPEG")
    image.format = image_pb2.IMAGE_FORMAT_WEBP
    details = await refusal(stub.RemoveBackground(pb.RemoveBackgroundRequest(photo=image)))
    assert (details.reason, details.metadata["field"]) == ("IMAGE_UNDECODABLE", "photo")
    assert "WEBP" in details.message
    assert "JPEG" in details.message


@pytest.mark.parametrize("method", ["RemoveBackground", "Prepare"])
async def test_unknown_method(stub: Stub, encoded: Encoded, photo: Pixels, painting: Pixels, method: str) -> None:
    request = getattr(pb, f"{method}Request")(photo=encoded(photo))
    request.background_removal.method = 17
    details = await refusal(getattr(stub, method)(request))
    assert (details.reason, details.metadata["field"], details.metadata["value"]) == (
        "UNKNOWN_ENUM_VALUE",
        "background_removal.method",
        "17",
    )


@pytest.mark.parametrize("method", ["Compose", "Prepare"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, 4.5])
async def test_placement_out_of_range(stub: Stub, method: str, value: float) -> None:
    request = getattr(pb, f"{method}Request")(placement=pb.Placement(height_fraction=value))
    details = await refusal(getattr(stub, method)(request))
    assert (details.reason, details.metadata["field"], details.metadata["value"]) == (
        "FIELD_OUT_OF_RANGE",
        "placement.height_fraction",
        str(value),
    )


@pytest.mark.parametrize("method", ["DilateMask", "Prepare"])
@pytest.mark.parametrize("size", [0, 34, 1025])
async def test_dilation_out_of_range(stub: Stub, method: str, size: int) -> None:
    request = getattr(pb, f"{method}Request")(dilation=pb.MaskDilation(kernel_size_px=size))
    details = await refusal(getattr(stub, method)(request))
    assert (details.reason, details.metadata["field"]) == ("FIELD_OUT_OF_RANGE", "dilation.kernel_size_px")


@pytest.mark.parametrize("method", ["DilateMask", "Prepare"])
@pytest.mark.parametrize(
    ("dilation", "reason", "field"),
    [
        (pb.MaskDilation(rule=9), "UNKNOWN_ENUM_VALUE", "rule"),  # type: ignore[arg-type]
        (pb.MaskDilation(kernel_shape=9), "UNKNOWN_ENUM_VALUE", "kernel_shape"),  # type: ignore[arg-type]
        (pb.MaskDilation(iteration_count=0), "FIELD_OUT_OF_RANGE", "iteration_count"),
        (pb.MaskDilation(feather_px=math.nan), "FIELD_OUT_OF_RANGE", "feather_px"),
    ],
)
async def test_dilations_that_cannot_be(
    stub: Stub, method: str, dilation: pb.MaskDilation, reason: str, field: str
) -> None:
    details = await refusal(getattr(stub, method)(getattr(pb, f"{method}Request")(dilation=dilation)))
    assert (details.reason, details.metadata["field"]) == (reason, f"dilation.{field}")


@pytest.mark.parametrize("method", ["Compose", "Prepare"])
@pytest.mark.parametrize(
    ("fields", "reason", "field", "more"),
    [
        (
            {"placement": pb.Placement(height_px=9, width_px=9)},
            "FIELDS_CONFLICT",
            "placement.width_px",
            {"conflicts_with": "placement.height_px"},
        ),
        (
            {"placement": pb.Placement(is_automatic=True, center_x_fraction=0.5)},
            "FIELDS_CONFLICT",
            "placement.center_x_fraction",
            {"conflicts_with": "placement.is_automatic"},
        ),
        ({"placement": pb.Placement(opacity=0)}, "FIELD_OUT_OF_RANGE", "placement.opacity", {"value": "0.0"}),
        ({"placement": pb.Placement(z_order=1001)}, "FIELD_OUT_OF_RANGE", "placement.z_order", {"value": "1001"}),
        ({"placement": pb.Placement(anchor=44)}, "UNKNOWN_ENUM_VALUE", "placement.anchor", {"value": "44"}),  # type: ignore[arg-type]
        (
            {"compositing": pb.Compositing(tone_match_strength=-1)},
            "FIELD_OUT_OF_RANGE",
            "compositing.tone_match_strength",
            {"value": "-1.0"},
        ),
        ({"output": pb.OutputOptions(format=44)}, "UNKNOWN_ENUM_VALUE", "output.format", {"value": "44"}),  # type: ignore[arg-type]
        ({"output": pb.OutputOptions(quality=0)}, "FIELD_OUT_OF_RANGE", "output.quality", {"value": "0"}),
        ({"output": pb.OutputOptions(quality=101)}, "FIELD_OUT_OF_RANGE", "output.quality", {"value": "101"}),
        (
            {"output": pb.OutputOptions(format=image_pb2.IMAGE_FORMAT_JPEG)},
            "FORMAT_UNSUITABLE",
            "output.format",
            {"value": "JPEG"},
        ),
        (
            {"output": pb.OutputOptions(format=image_pb2.IMAGE_FORMAT_WEBP, quality=80)},
            "FORMAT_UNSUITABLE",
            "output.format",
            {"value": "WEBP"},
        ),
    ],
)
async def test_wishes_that_cannot_be(
    stub: Stub, method: str, fields: dict[str, Any], reason: str, field: str, more: dict[str, str]
) -> None:
    details = await refusal(getattr(stub, method)(getattr(pb, f"{method}Request")(**fields)))
    assert details.reason == reason
    assert {key: details.metadata[key] for key in ("field", *more)} == {"field": field, **more}


async def test_an_element_without_alpha_channel_is_not_encoded(stub: Stub) -> None:
    output = pb.OutputOptions(format=image_pb2.IMAGE_FORMAT_BMP)
    details = await refusal(stub.RemoveBackground(pb.RemoveBackgroundRequest(output=output)))
    assert (details.reason, details.metadata["field"], details.metadata["value"]) == (
        "FORMAT_UNSUITABLE",
        "output.format",
        "BMP",
    )


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        ({"aspect_ratio": 0.0}, "aspect_ratio", "0.0"),
        ({"height_fraction": math.nan}, "height_fraction", "nan"),
        ({"suggestion_count": 21}, "suggestion_count", "21"),
    ],
)
async def test_suggestions_out_of_range(stub: Stub, fields: dict[str, Any], field: str, value: str) -> None:
    details = await refusal(stub.SuggestPlacement(pb.SuggestPlacementRequest(**fields)))
    assert (details.reason, details.metadata["field"], details.metadata["value"]) == (
        "FIELD_OUT_OF_RANGE",
        field,
        value,
    )


async def test_suggestions_for_an_element_without_alpha(stub: Stub, encoded: Encoded, painting: Pixels) -> None:
    request = pb.SuggestPlacementRequest(painting=encoded(painting), element=encoded(painting))
    details = await refusal(stub.SuggestPlacement(request))
    assert (details.reason, details.metadata["field"]) == ("IMAGE_WITHOUT_ALPHA", "element")


async def test_elements_that_cannot_be(stub: Stub, encoded: Encoded, element: Pixels, painting: Pixels) -> None:
    cut_out, ground = encoded(element), encoded(painting)
    good, outside = pb.PlacedElement(element=cut_out), pb.Placement(center_x_fraction=2)
    cases = [
        (pb.ComposeRequest(element=cut_out, elements=[good]), "FIELDS_CONFLICT", "element"),
        (pb.ComposeRequest(placement=pb.Placement(), elements=[good]), "FIELDS_CONFLICT", "placement"),
        (pb.ComposeRequest(elements=33 * [pb.PlacedElement()]), "FIELD_OUT_OF_RANGE", "elements"),
        (pb.ComposeRequest(elements=[good, pb.PlacedElement()]), "FIELD_REQUIRED", "elements[1].element"),
        (
            pb.ComposeRequest(elements=[good, pb.PlacedElement(element=ground)]),
            "IMAGE_WITHOUT_ALPHA",
            "elements[1].element",
        ),
        (
            pb.ComposeRequest(elements=[good, pb.PlacedElement(element=cut_out, placement=outside)]),
            "ELEMENT_OUTSIDE_PAINTING",
            "elements[1].placement",
        ),
        (
            pb.ComposeRequest(elements=[pb.PlacedElement(placement=pb.Placement(opacity=7))]),
            "FIELD_OUT_OF_RANGE",
            "elements[0].placement.opacity",
        ),
    ]
    for request, reason, field in cases:
        request.painting.CopyFrom(ground)
        details = await refusal(stub.Compose(request))
        assert (details.reason, details.metadata["field"]) == (reason, field)


async def test_empty_mask(stub: Stub, encoded: Encoded) -> None:
    details = await refusal(stub.DilateMask(pb.DilateMaskRequest(mask=encoded(np.full((20, 20), 127, np.uint8)))))
    assert (details.reason, details.metadata["field"]) == ("MASK_EMPTY", "mask")


async def test_element_without_alpha(stub: Stub, encoded: Encoded, painting: Pixels) -> None:
    details = await refusal(stub.Compose(pb.ComposeRequest(element=encoded(painting), painting=encoded(painting))))
    assert (details.reason, details.metadata["field"]) == ("IMAGE_WITHOUT_ALPHA", "element")


async def test_transparent_element(stub: Stub, encoded: Encoded, element: Pixels, painting: Pixels) -> None:
    element[..., 3] = 0
    details = await refusal(stub.Compose(pb.ComposeRequest(element=encoded(element), painting=encoded(painting))))
    assert (details.reason, details.metadata["field"]) == ("MASK_EMPTY", "element")


async def test_photo_without_alpha(stub: Stub, encoded: Encoded, photo: Pixels) -> None:
    request = pb.RemoveBackgroundRequest(photo=encoded(photo), background_removal=ALPHA)
    details = await refusal(stub.RemoveBackground(request))
    assert (details.reason, details.metadata["field"]) == ("IMAGE_WITHOUT_ALPHA", "photo")


async def test_photo_without_foreground(stub: Stub, encoded: Encoded, painting: Pixels) -> None:
    plain = encoded(np.full((40, 40, 3), 99, dtype=np.uint8))
    details = await refusal(stub.Prepare(pb.PrepareRequest(photo=plain, painting=encoded(painting))))
    assert (details.reason, details.metadata["field"]) == ("MASK_EMPTY", "photo")


@pytest.mark.parametrize(
    ("placement", "reason"),
    [
        (pb.Placement(center_x_fraction=2), "ELEMENT_OUTSIDE_PAINTING"),
        (pb.Placement(height_fraction=4), "MASK_FULL"),
        (pb.Placement(center_x_fraction=-0.12, height_fraction=20 / 60), "MASK_EMPTY"),
    ],
)
async def test_unusable_placements(
    stub: Stub, encoded: Encoded, element: Pixels, painting: Pixels, placement: pb.Placement, reason: str
) -> None:
    cut_out, ground = encoded(element), encoded(painting)
    for call in (
        stub.Compose(pb.ComposeRequest(element=cut_out, painting=ground, placement=placement)),
        stub.Prepare(pb.PrepareRequest(photo=cut_out, painting=ground, placement=placement)),
    ):
        details = await refusal(call)
        assert (details.reason, details.metadata["field"]) == (reason, "placement")


def test_answers_that_no_message_holds() -> None:
    fitting = pb.ComposeResponse(composite=image_pb2.Image(data=bytes(MAX_MESSAGE_BYTES - 100)))
    assert within_message_limit(fitting, "painting") is fitting
    with pytest.raises(ServiceError, match="send a smaller painting") as caught:
        within_message_limit(pb.ComposeResponse(composite=image_pb2.Image(data=bytes(MAX_MESSAGE_BYTES))), "painting")
    assert caught.value.reason == error_reason_pb2.ERROR_REASON_IMAGE_SIZE_OUT_OF_RANGE
    assert caught.value.field == "painting"
    assert int(caught.value.metadata["value"]) > MAX_MESSAGE_BYTES


# Weights


async def test_missing_weights(stub: Stub, encoded: Encoded, photo: Pixels) -> None:
    request = pb.RemoveBackgroundRequest(photo=encoded(photo), background_removal=U2NET)
    details = await refusal(stub.RemoveBackground(request), grpc.StatusCode.FAILED_PRECONDITION)
    assert (details.reason, details.metadata["weights"]) == ("WEIGHTS_MISSING", "u2net")
    assert "painterly weights fetch u2net" in details.message


@pytest.mark.parametrize("wish", [U2NET, pb.BackgroundRemoval()], ids=["U2NET", "AUTO"])
async def test_corrupt_weights(
    connect: Any, tmp_path: Path, encoded: Encoded, photo: Pixels, wish: pb.BackgroundRemoval
) -> None:
    (tmp_path / "u2net.onnx").write_bytes(b"not a network")
    async with connect(store=WeightStore(tmp_path)) as stub:
        request = pb.RemoveBackgroundRequest(photo=encoded(photo), background_removal=wish)
        details = await refusal(stub.RemoveBackground(request), grpc.StatusCode.FAILED_PRECONDITION)
    assert (details.reason, details.metadata["weights"]) == ("WEIGHTS_CORRUPT", "u2net")
    assert str(tmp_path) not in details.message


@pytest.fixture
def stored_u2net() -> WeightStore:
    store = WeightStore()
    try:
        store.path(U2NET_WEIGHTS)
    except WeightsError as error:
        pytest.skip(str(error))
    return store


@pytest.mark.weights
async def test_u2net_on_photos(connect: Any, stored_u2net: WeightStore) -> None:
    # Recorded: the share of the photo that is foreground, and points inside (x, y) and outside.
    expectations = {
        "coffee": (0.474, [(290, 170), (420, 260)], [(20, 20), (580, 380)]),
        "rocket": (0.026, [(324, 200), (324, 300), (324, 400)], [(100, 100), (390, 200), (600, 400)]),
    }
    async with connect(store=stored_u2net) as stub:
        for name, (share, inside, outside) in expectations.items():
            photo = image_pb2.Image(data=(PHOTOS / f"{name}.jpg").read_bytes())
            response = await stub.RemoveBackground(pb.RemoveBackgroundRequest(photo=photo))
            assert response.method_used == pb.BACKGROUND_REMOVAL_METHOD_U2NET
            assert "has the weights" in response.method_reason
            alpha = decode(response.element, "element", "RGBA")[..., 3]
            assert (alpha >= 128).mean() == pytest.approx(share, rel=0.1)
            assert min(int(alpha[y, x]) for x, y in inside) >= 245
            assert [int(alpha[y, x]) for x, y in outside] == [0] * len(outside)


# Load


async def test_event_loop_stays_free_and_overload_is_refused(
    connect: Any, encoded: Encoded, element: Pixels, painting: Pixels
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), dtype=np.uint8)
    slow = pb.RemoveBackgroundRequest(photo=encoded(noise, "BMP"), background_removal=GRABCUT)
    quick = pb.ComposeRequest(element=encoded(element), painting=encoded(painting))
    async with connect(threads=1, queue_size=1) as stub:
        await stub.Compose(quick)
        running = asyncio.ensure_future(stub.RemoveBackground(slow))
        await asyncio.sleep(0.1)
        waiting = asyncio.ensure_future(stub.Compose(quick))
        await asyncio.sleep(0.1)
        # The answer to a third call comes while the first still runs.
        details = await refusal(stub.Compose(quick), grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert not running.done()
        assert not waiting.done()
        assert (details.reason, details.metadata["queue_size"], details.retry_after_s) == ("QUEUE_FULL", "1", 1.0)
        assert (await waiting).composite.width_px == 80
        assert running.done()
        await asyncio.gather(running, return_exceptions=True)
        assert (await stub.Compose(quick)).composite.width_px == 80


async def test_calls_in_parallel_do_not_mix(connect: Any, encoded: Encoded, painting: Pixels) -> None:
    async with connect(threads=4) as stub:

        async def composed(red: int) -> tuple[int, ...]:
            element = np.full((20, 20, 4), (red, 0, 0, 255), dtype=np.uint8)
            element[0, 0, 3] = 254
            response = await stub.Compose(pb.ComposeRequest(element=encoded(element), painting=encoded(painting)))
            return tuple(decode(response.composite, "composite", "RGB")[30, 40])

        # As many as may work and wait.
        assert await asyncio.gather(*(composed(red) for red in range(12))) == [(red, 0, 0) for red in range(12)]
