"""Background removal over the wire: every method, what it brings along, what is refused."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from painterly.errors import ErrorDetails, read_details
from painterly.v1 import image_pb2
from painterly.v1 import preprocess_service_pb2 as pb
from painterly_images import decode
from tests.preprocess.remove_bg_server import KEY, RemoveBgServer, error

if TYPE_CHECKING:
    from painterly.v1.preprocess_service_pb2_grpc import PreprocessServiceAsyncStub as Stub

Pixels = NDArray[np.uint8]
Encoded = Callable[..., image_pb2.Image]
Removal = pb.BackgroundRemoval

MASK = pb.BACKGROUND_REMOVAL_METHOD_MASK
GRABCUT = pb.BACKGROUND_REMOVAL_METHOD_GRABCUT
CHROMA_KEY = pb.BACKGROUND_REMOVAL_METHOD_CHROMA_KEY
REMOVE_BG = pb.BACKGROUND_REMOVAL_METHOD_REMOVE_BG
SQUARE = np.s_[25:75, 35:85]


@pytest.fixture
def mask(photo: Pixels) -> Pixels:
    """Of the photo's size: 255 on its red square."""
    gray = np.zeros(photo.shape[:2], dtype=np.uint8)
    gray[SQUARE] = 255
    return gray


async def removed(stub: Stub, photo: image_pb2.Image, removal: Removal) -> tuple[Pixels, pb.RemoveBackgroundResponse]:
    response = await stub.RemoveBackground(pb.RemoveBackgroundRequest(photo=photo, background_removal=removal))
    return decode(response.element, "element", "RGBA"), response


async def refusal(call: Awaitable[Any], code: str = "INVALID_ARGUMENT") -> ErrorDetails:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    details = read_details(caught.value)
    assert details.code.name == code
    return details


def refused(stub: Stub, photo: image_pb2.Image, removal: Removal) -> Awaitable[Any]:
    return stub.RemoveBackground(pb.RemoveBackgroundRequest(photo=photo, background_removal=removal))


# The caller's mask


@pytest.mark.parametrize("method", [MASK, pb.BACKGROUND_REMOVAL_METHOD_UNSPECIFIED])
async def test_a_mask(stub: Stub, encoded: Encoded, photo: Pixels, mask: Pixels, method: Any) -> None:
    element, response = await removed(stub, encoded(photo), Removal(method=method, mask=encoded(mask)))
    np.testing.assert_array_equal(element[..., 3], mask)
    np.testing.assert_array_equal(element[SQUARE][..., :3], photo[SQUARE])
    assert response.method_used == MASK
    assert response.details == pb.BackgroundRemovalDetails()
    assert ("brings a mask" in response.method_reason) is (method != MASK)


async def test_a_mask_with_finer_edges(stub: Stub, encoded: Encoded, photo: Pixels, mask: Pixels) -> None:
    removal = Removal(mask=encoded(mask), refine_edges=True)
    element, response = await removed(stub, encoded(photo), removal)
    assert response.details.edges_refined
    assert ((element[..., 3] >= 128) ^ (mask > 0)).mean() < 0.01


async def test_a_mask_of_another_size(stub: Stub, encoded: Encoded, photo: Pixels, mask: Pixels) -> None:
    details = await refusal(refused(stub, encoded(photo), Removal(mask=encoded(mask[:90]))))
    assert details.reason == "IMAGE_SIZE_MISMATCH"
    assert {key: details.metadata[key] for key in ("field", "value", "expected")} == {
        "field": "background_removal.mask",
        "value": "120x90",
        "expected": "120x100",
    }


async def test_the_mask_is_needed_and_not_empty(stub: Stub, encoded: Encoded, photo: Pixels) -> None:
    missing = await refusal(refused(stub, encoded(photo), Removal(method=MASK)))
    assert (missing.reason, missing.metadata["field"]) == ("FIELD_REQUIRED", "background_removal.mask")
    empty = Removal(mask=encoded(np.zeros(photo.shape[:2], dtype=np.uint8)))
    details = await refusal(refused(stub, encoded(photo), empty))
    assert (details.reason, details.metadata["field"]) == ("MASK_EMPTY", "background_removal.mask")


def header_of(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"no image at all", "IMAGE_UNDECODABLE"),
        (header_of(20_000, 20_000), "IMAGE_SIZE_OUT_OF_RANGE"),
        (header_of(16_000, 16_000), "IMAGE_SIZE_OUT_OF_RANGE"),
        (bytes(32 * 2**20 + 1), "IMAGE_SIZE_OUT_OF_RANGE"),
        (header_of(120, 100), "IMAGE_UNDECODABLE"),
    ],
    ids=["no image", "too long a side", "too many pixels", "too many bytes", "no pixels"],
)
@pytest.mark.parametrize("name", ["mask", "grab_cut.foreground_strokes", "grab_cut.background_strokes"])
async def test_bad_files(stub: Stub, encoded: Encoded, photo: Pixels, name: str, data: bytes, reason: str) -> None:
    picture = image_pb2.Image(data=data)
    hints = {name.removeprefix("grab_cut."): picture}
    removal = Removal(mask=picture) if name == "mask" else Removal(grab_cut=pb.GrabCut(**hints))  # type: ignore[arg-type]
    details = await refusal(refused(stub, encoded(photo), removal))
    assert (details.reason, details.metadata["field"]) == (reason, f"background_removal.{name}")


# Hints for GrabCut


async def test_grabcut_with_hints(stub: Stub, encoded: Encoded, photo: Pixels, mask: Pixels) -> None:
    stroke, outside = np.zeros_like(mask), np.zeros_like(mask)
    stroke[45:55, 50:70], outside[:6] = 255, 255
    box = pb.PhotoBox(left_fraction=0.2, top_fraction=0.15, right_fraction=0.8, bottom_fraction=0.85)
    hints = pb.GrabCut(box=box, foreground_strokes=encoded(stroke), background_strokes=encoded(outside))
    element, response = await removed(stub, encoded(photo), Removal(grab_cut=hints))
    assert response.method_used == GRABCUT
    assert "hints for GrabCut" in response.method_reason
    assert ((element[..., 3] >= 128) ^ (mask > 0)).mean() < 0.02
    assert response.details.edges_refined


@pytest.mark.parametrize("name", ["foreground_strokes", "background_strokes"])
async def test_strokes_that_are_no_strokes(stub: Stub, encoded: Encoded, photo: Pixels, name: str) -> None:
    field = f"background_removal.grab_cut.{name}"
    empty, small = np.zeros(photo.shape[:2], dtype=np.uint8), np.full((20, 20), 255, dtype=np.uint8)
    for picture, reason in ((empty, "MASK_EMPTY"), (small, "IMAGE_SIZE_MISMATCH")):
        hints = pb.GrabCut(**{name: encoded(picture)})  # type: ignore[arg-type]
        details = await refusal(refused(stub, encoded(photo), Removal(grab_cut=hints)))
        assert (details.reason, details.metadata["field"]) == (reason, field)
    undecodable = pb.GrabCut(**{name: image_pb2.Image(data=b"no image at all")})  # type: ignore[arg-type]
    details = await refusal(refused(stub, encoded(photo), Removal(grab_cut=undecodable)))
    assert (details.reason, details.metadata["field"]) == ("IMAGE_UNDECODABLE", field)


# A plain backdrop


@pytest.mark.parametrize("color", [None, pb.RgbColor(red=85, green=165, blue=85)])
async def test_a_plain_backdrop(
    stub: Stub, encoded: Encoded, photo: Pixels, mask: Pixels, color: pb.RgbColor | None
) -> None:
    removal = Removal(method=CHROMA_KEY, chroma_key=pb.ChromaKey(color=color, tolerance=25))
    element, response = await removed(stub, encoded(photo), removal)
    assert response.method_used == CHROMA_KEY
    assert ((element[..., 3] >= 128) ^ (mask > 0)).mean() < 0.03


async def test_a_backdrop_that_is_not_plain(stub: Stub, encoded: Encoded) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    details = await refusal(refused(stub, encoded(noise), Removal(method=CHROMA_KEY)))
    assert (details.reason, details.metadata["field"]) == ("FIELD_OUT_OF_RANGE", "background_removal.chroma_key.color")


# Objects


async def test_one_of_two_objects_cropped(stub: Stub, encoded: Encoded, photo: Pixels, mask: Pixels) -> None:
    mask[78:96, 100:118] = 255
    point = pb.ObjectSelection(point=pb.PhotoPoint(x_fraction=0.9, y_fraction=0.85))
    removal = Removal(mask=encoded(mask), selection=point, crop_to_content=True)
    element, response = await removed(stub, encoded(photo), removal)
    assert element.shape == (18, 18, 4)
    assert (response.details.left_px, response.details.top_px) == (100, 78)
    np.testing.assert_array_equal(element[..., :3], photo[78:96, 100:118])
    largest = Removal(mask=encoded(mask), selection=pb.ObjectSelection(largest=True), crop_to_content=True)
    assert (await removed(stub, encoded(photo), largest))[0].shape == (50, 50, 4)


BOX = pb.PhotoBox(left_fraction=0, top_fraction=0, right_fraction=0.1, bottom_fraction=0.1)


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"selection": pb.ObjectSelection(box=BOX)}, "MASK_EMPTY", "selection.box"),
        ({"selection": pb.ObjectSelection(point=pb.PhotoPoint())}, "MASK_EMPTY", "selection.point"),
        ({"selection": pb.ObjectSelection(box=pb.PhotoBox())}, "FIELD_OUT_OF_RANGE", "selection.box.right_fraction"),
        ({"selection": pb.ObjectSelection(box=BOX, largest=True)}, "FIELD_OUT_OF_RANGE", "selection.box"),
        (
            {"selection": pb.ObjectSelection(point=pb.PhotoPoint(x_fraction=1.5))},
            "FIELD_OUT_OF_RANGE",
            "selection.point.x_fraction",
        ),
        ({"selection": pb.ObjectSelection(island_fraction=2)}, "FIELD_OUT_OF_RANGE", "selection.island_fraction"),
        ({"method": GRABCUT}, "FIELD_OUT_OF_RANGE", "mask"),
        ({"method": REMOVE_BG}, "FIELD_OUT_OF_RANGE", "mask"),
        ({"method": MASK, "grab_cut": pb.GrabCut()}, "FIELD_OUT_OF_RANGE", "grab_cut"),
        ({"method": MASK, "chroma_key": pb.ChromaKey()}, "FIELD_OUT_OF_RANGE", "chroma_key"),
        ({"method": MASK, "remove_bg": pb.RemoveBg()}, "FIELD_OUT_OF_RANGE", "remove_bg"),
        ({"chroma_key": pb.ChromaKey(tolerance=0)}, "FIELD_OUT_OF_RANGE", "chroma_key.tolerance"),
        (
            {"chroma_key": pb.ChromaKey(color=pb.RgbColor(green=300))},
            "FIELD_OUT_OF_RANGE",
            "chroma_key.color.green",
        ),
        ({"remove_bg": pb.RemoveBg(size=9)}, "UNKNOWN_ENUM_VALUE", "remove_bg.size"),  # type: ignore[arg-type]
        ({"remove_bg": pb.RemoveBg(type=9)}, "UNKNOWN_ENUM_VALUE", "remove_bg.type"),  # type: ignore[arg-type]
        ({"remove_bg": pb.RemoveBg(api_key="a b")}, "FIELD_OUT_OF_RANGE", "remove_bg.api_key"),
    ],
)
async def test_what_is_refused(
    stub: Stub, encoded: Encoded, photo: Pixels, painting: Pixels, mask: Pixels, changes: Any, reason: str, field: str
) -> None:
    given = {} if {"chroma_key", "remove_bg"} & set(changes) and "method" not in changes else {"mask": encoded(mask)}
    removal = Removal(**{**given, **changes})
    for call in (
        refused(stub, encoded(photo), removal),
        stub.Prepare(pb.PrepareRequest(photo=encoded(photo), painting=encoded(painting), background_removal=removal)),
    ):
        details = await refusal(call)
        assert (details.reason, details.metadata["field"]) == (reason, f"background_removal.{field}")


async def test_prepare_takes_the_same_wishes(
    stub: Stub, encoded: Encoded, photo: Pixels, painting: Pixels, mask: Pixels
) -> None:
    removal = Removal(mask=encoded(mask), crop_to_content=True)
    request = pb.PrepareRequest(photo=encoded(photo), painting=encoded(painting), background_removal=removal)
    response = await stub.Prepare(request)
    assert (response.element.width_px, response.element.height_px) == (50, 50)
    assert (response.details.left_px, response.details.top_px) == (35, 25)


# remove.bg


async def test_remove_bg_with_the_operators_key(connect: Any, encoded: Encoded, photo: Pixels, mask: Pixels) -> None:
    with RemoveBgServer().running() as server:
        async with connect(remove_bg_endpoint=server.endpoint, remove_bg_api_key=KEY) as stub:
            options = pb.RemoveBg(size=pb.REMOVE_BG_SIZE_FULL, type=pb.REMOVE_BG_TYPE_CAR)
            element, response = await removed(stub, encoded(photo), Removal(method=REMOVE_BG, remove_bg=options))
    assert ((element[..., 3] >= 128) ^ (mask > 0)).mean() < 0.01
    assert response.method_used == REMOVE_BG
    usage = response.details.remove_bg_usage
    assert (usage.credits_charged, usage.credits_left) == (1, 199)
    assert (server.forms[0]["size"], server.forms[0]["type"]) == (b"full", b"car")


async def test_auto_sends_a_photo_away_only_when_asked_to(connect: Any, encoded: Encoded, photo: Pixels) -> None:
    with RemoveBgServer().running() as server:
        async with connect(remove_bg_endpoint=server.endpoint, remove_bg_api_key=KEY) as stub:
            _, response = await removed(stub, encoded(photo), Removal())
            assert response.method_used == GRABCUT
            assert server.paths == []
            _, response = await removed(stub, encoded(photo), Removal(remove_bg=pb.RemoveBg(api_key="mine")))
            assert response.method_used == REMOVE_BG
            assert server.keys == ["mine"]


@pytest.mark.parametrize(
    ("answer", "reason", "code"),
    [
        (error(402, "Insufficient credits"), "REMOVE_BG_CREDITS_EXHAUSTED", "FAILED_PRECONDITION"),
        (error(403, "Invalid key"), "REMOVE_BG_KEY_REFUSED", "FAILED_PRECONDITION"),
        (error(429, "Slow down", Retry_After="200"), "REMOVE_BG_RATE_LIMITED", "RESOURCE_EXHAUSTED"),
        (error(404, "Nothing here"), "REMOVE_BG_FAILED", "ABORTED"),
        (error(400, "Nobody there", "unknown_foreground"), "MASK_EMPTY", "INVALID_ARGUMENT"),
    ],
)
async def test_faults_of_remove_bg(
    connect: Any, encoded: Encoded, photo: Pixels, answer: Any, reason: str, code: str
) -> None:
    with RemoveBgServer([answer]).running() as server:
        async with connect(remove_bg_endpoint=server.endpoint, remove_bg_api_key=KEY) as stub:
            details = await refusal(refused(stub, encoded(photo), Removal(method=REMOVE_BG)), code)
    assert details.reason == reason
    assert details.retry_after_s == (200 if code == "RESOURCE_EXHAUSTED" else None)
    assert KEY not in details.message


async def test_remove_bg_without_a_key(stub: Stub, encoded: Encoded, photo: Pixels) -> None:
    details = await refusal(refused(stub, encoded(photo), Removal(method=REMOVE_BG)), "FAILED_PRECONDITION")
    assert details.reason == "REMOVE_BG_KEY_MISSING"
