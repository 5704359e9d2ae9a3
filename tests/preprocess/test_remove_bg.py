"""painterly_preprocess.remove_bg against a real HTTP server, faults included."""

from __future__ import annotations

import email.utils
import io
import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from painterly.errors import ServiceError, reason_name
from painterly_preprocess.imaging.errors import MaskEmpty
from painterly_preprocess.remove_bg import Kind, Options, RemoveBgMatting, Size, Usage
from painterly_preprocess.settings import RemoveBgSettings
from tests.preprocess.remove_bg_server import KEY, Answer, RemoveBgServer, cut_out, error

Pixels = NDArray[np.uint8]


def encoded(pixels: Pixels, file_format: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, file_format)
    return stream.getvalue()


def bomb() -> bytes:
    """A small file of a picture with 144 million pixels."""
    stream = io.BytesIO()
    Image.new("L", (12_000, 12_000)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def photo() -> Pixels:
    """100×120 RGBA: a red square of 50 px on green."""
    pixels = np.full((100, 120, 4), (60, 140, 60, 255), dtype=np.uint8)
    pixels[25:75, 35:85, :3] = (190, 50, 40)
    return pixels


@pytest.fixture
def truth() -> NDArray[np.bool_]:
    inside = np.zeros((100, 120), dtype=np.bool_)
    inside[25:75, 35:85] = True
    return inside


class Asking:
    """One matting per call, with short times; ``waits`` are the pauses that it would have made."""

    def __init__(self, endpoint: str, **settings: Any) -> None:
        options = {"api_key": KEY, "connect_timeout_s": 2.0, "read_timeout_s": 2.0, "backoff_s": 0.5, **settings}
        self.settings = RemoveBgSettings(endpoint=endpoint, **options)
        self.waits: list[float] = []
        self.usage: Usage | None = None

    def __call__(self, photo: Pixels, options: Options | None = None) -> NDArray[np.float32]:
        matting = RemoveBgMatting(self.settings, options or Options(), sleep=self.waits.append)
        alpha = matting.estimate_alpha(photo)
        self.usage = matting.usage
        return alpha

    def refused(self, photo: Pixels, options: Options | None = None) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            self(photo, options)
        assert KEY not in str(caught.value)
        return caught.value


def test_what_is_sent_and_what_comes_back(photo: Pixels, truth: NDArray[np.bool_]) -> None:
    with RemoveBgServer().running() as server:
        asking = Asking(server.endpoint)
        alpha = asking(photo, Options(size=Size.PREVIEW, kind=Kind.PRODUCT))
    np.testing.assert_array_equal(alpha, truth.astype(np.float32))
    assert alpha.dtype == np.float32
    (form,) = server.forms
    assert {name: value for name, value in form.items() if name != "image_file"} == {
        "size": b"preview",
        "type": b"product",
        "format": b"png",
    }
    assert server.paths == ["/v1.0/removebg", "/v1.0/account"]
    assert server.keys == [KEY]
    assert asking.usage == Usage(credits_charged=1, credits_left=199)


def test_the_callers_key_goes_before_the_operators(photo: Pixels) -> None:
    with RemoveBgServer().running() as server:
        Asking(server.endpoint)(photo, Options(api_key="the-callers"))
    assert server.keys == ["the-callers"]


def test_a_smaller_answer_is_enlarged(photo: Pixels, truth: NDArray[np.bool_]) -> None:
    with RemoveBgServer().running() as server:
        server.scale = 0.5
        alpha = Asking(server.endpoint)(photo)
    assert alpha.shape == truth.shape
    assert (alpha[27:73, 37:83] == 1).all()
    assert ((alpha >= 0.5) ^ truth).sum() < 250


def test_an_answer_of_other_proportions(photo: Pixels) -> None:
    with RemoveBgServer([Answer(body=encoded(photo[:50, :50], "PNG"))]).running() as server:
        failure = Asking(server.endpoint).refused(photo)
    assert "50x50" in failure.message


def test_a_transparent_photo_stays_transparent(photo: Pixels) -> None:
    photo[:, 60:, 3] = 0
    with RemoveBgServer().running() as server:
        alpha = Asking(server.endpoint)(photo)
    assert not alpha[:, 60:].any()
    assert alpha[50, 50] == 1


def test_without_a_key_nothing_is_sent(photo: Pixels) -> None:
    with RemoveBgServer().running() as server:
        failure = Asking(server.endpoint, api_key=None).refused(photo)
    assert reason_name(failure.reason) == "REMOVE_BG_KEY_MISSING"
    assert "PAINTERLY_REMOVE_BG_API_KEY" in failure.message
    assert server.paths == []


@pytest.mark.parametrize("key", ["", "two words", "line\r\nInjected: header", "ü", "x" * 257])
def test_keys_that_no_header_holds(photo: Pixels, key: str) -> None:
    with pytest.raises(ServiceError) as caught:
        RemoveBgMatting(RemoveBgSettings(), Options(api_key=key))
    assert caught.value.metadata == {"field": "background_removal.remove_bg.api_key", "value": "hidden"}
    assert not key or key not in caught.value.message


@pytest.mark.parametrize(
    ("answer", "reason", "code", "text"),
    [
        (error(402, "Insufficient credits"), "REMOVE_BG_CREDITS_EXHAUSTED", "FAILED_PRECONDITION", "Insufficient"),
        (error(403, f"Key {KEY} is invalid"), "REMOVE_BG_KEY_REFUSED", "FAILED_PRECONDITION", "Key *** is invalid"),
        (error(401, "No key"), "REMOVE_BG_KEY_REFUSED", "FAILED_PRECONDITION", "No key"),
        (error(400, "File too large", "file_too_large"), "REMOVE_BG_FAILED", "ABORTED", "File too large"),
        (Answer(status=404, body=b"<html>nothing here</html>"), "REMOVE_BG_FAILED", "ABORTED", "without a reason"),
        (Answer(status=302, headers={"Location": "http://127.0.0.1:1/"}), "REMOVE_BG_FAILED", "ABORTED", "302"),
    ],
)
def test_refusals_are_typed_and_not_repeated(photo: Pixels, answer: Answer, reason: str, code: str, text: str) -> None:
    with RemoveBgServer([answer]).running() as server:
        failure = Asking(server.endpoint).refused(photo)
    assert (reason_name(failure.reason), failure.code.name) == (reason, code)
    assert text in failure.message
    assert "choose another method" in failure.message
    assert "<html>" not in failure.message
    assert len(server.forms) == 1
    if reason == "REMOVE_BG_FAILED":
        assert failure.metadata["status"] == str(answer.status)


def test_no_foreground_is_an_empty_mask(photo: Pixels) -> None:
    answer = error(400, "Could not identify foreground in image.", "unknown_foreground")
    with RemoveBgServer([answer]).running() as server, pytest.raises(MaskEmpty) as caught:
        Asking(server.endpoint)(photo)
    assert caught.value.field == "photo"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_says_later_is_tried_again(photo: Pixels, status: int) -> None:
    with RemoveBgServer([error(status, "later"), error(status, "later"), None]).running() as server:
        asking = Asking(server.endpoint)
        assert asking(photo)[50, 60] == 1
    assert asking.waits == [0.5, 1.0]
    assert len(server.forms) == 3


def test_retry_after_in_seconds_and_as_a_date(photo: Pixels) -> None:
    date = email.utils.formatdate(time.time() + 20, usegmt=True)
    answers = [error(429, "slow down", Retry_After="7"), error(503, "busy", Retry_After=date), None]
    with RemoveBgServer(answers).running() as server:
        asking = Asking(server.endpoint)
        asking(photo)
    assert asking.waits[0] == 7
    assert 17 < asking.waits[1] <= 20


def test_too_often_to_the_last(photo: Pixels) -> None:
    with RemoveBgServer([error(429, "slow down", Retry_After="3")]).running() as server:
        asking = Asking(server.endpoint)
        failure = asking.refused(photo)
    assert (reason_name(failure.reason), failure.code.name) == ("REMOVE_BG_RATE_LIMITED", "RESOURCE_EXHAUSTED")
    assert failure.retry_after_s == 3
    assert asking.waits == [3, 3]


def test_waiting_longer_than_the_call_may_take_is_left_to_the_caller(photo: Pixels) -> None:
    with RemoveBgServer([error(429, "slow down", Retry_After="300")]).running() as server:
        asking = Asking(server.endpoint)
        failure = asking.refused(photo)
    assert failure.retry_after_s == 300
    assert asking.waits == []


def test_a_server_error_to_the_last(photo: Pixels) -> None:
    with RemoveBgServer([Answer(status=500, body=b"<html>oops</html>")]).running() as server:
        failure = Asking(server.endpoint, attempt_count=2).refused(photo)
    assert failure.metadata == {"status": "500"}
    assert len(server.forms) == 2


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        (lambda png: Answer(body=png, cut_to=len(png) // 2), "broke off in the middle"),
        (lambda png: Answer(body=png[: len(png) // 2]), "not a complete picture"),
        (lambda _: Answer(body=b"this is no picture"), "not a complete picture"),
        (lambda _: Answer(headers={"Content-Type": "text/html"}, body=b"<html>hello</html>"), "not a complete"),
        (lambda _: Answer(body=b""), "not a complete picture"),
        (lambda _: Answer(body=bytes(33 * 2**20)), "more than"),
        (lambda _: Answer(body=bomb()), "not a complete picture"),
    ],
    ids=["truncated", "half a picture", "no picture", "HTML", "nothing", "too much", "bomb"],
)
def test_answers_that_are_no_picture(photo: Pixels, broken: Callable[[bytes], Answer], text: str) -> None:
    with RemoveBgServer([broken(cut_out(encoded(photo[..., :3], "JPEG")))]).running() as server:
        failure = Asking(server.endpoint).refused(photo)
    assert reason_name(failure.reason) == "REMOVE_BG_FAILED"
    assert text in failure.message
    # It may have been charged already.
    assert len(server.forms) == 1


def test_a_slow_answer(photo: Pixels) -> None:
    never = threading.Event()
    with RemoveBgServer([Answer(wait=never)]).running() as server:
        failure = Asking(server.endpoint, read_timeout_s=0.2).refused(photo)
        never.set()
    assert "did not answer within 0.2 s" in failure.message
    assert len(server.forms) == 1


def test_nobody_listens(photo: Pixels) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        asking = Asking(f"http://127.0.0.1:{unused.getsockname()[1]}")
        failure = asking.refused(photo)
    assert "could not be reached" in failure.message
    assert asking.waits == [0.5, 1.0]


def test_unknown_credits_do_not_spoil_the_picture(photo: Pixels) -> None:
    with RemoveBgServer(credits_left=None).running() as server:
        asking = Asking(server.endpoint)
        asking(photo)
    assert asking.usage == Usage(credits_charged=1, credits_left=None)


def test_no_key_is_logged(photo: Pixels, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with RemoveBgServer([error(500, f"{KEY} failed"), None], credits_left=None).running() as server:
        asking = Asking(server.endpoint)
        asking(photo)
    assert "attempt 2 follows" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in repr(asking.settings) + repr(Options(api_key=KEY))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"endpoint": "ftp://example.org"}, "endpoint"),
        ({"endpoint": "https://example.org/?a=b"}, "endpoint"),
        ({"api_key": "not a key"}, "api_key"),
        ({"read_timeout_s": 0}, "read_timeout_s"),
        ({"attempt_count": 0}, "attempt_count"),
    ],
)
def test_settings_out_of_range(values: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        RemoveBgSettings(**values)
    assert "not a key" not in str(caught.value)
