"""Background removal by the web service remove.bg: https://www.remove.bg/api.

Where it is, and how long it may take, are the operator's settings. Only what was surely not charged is tried again:
answers that say "later" (429, 5xx) and connections that were never made. Keys appear in no log and no error.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from io import BytesIO

import cv2
import numpy as np
import requests
from numpy.typing import NDArray
from PIL import Image

from painterly.errors import ServiceError
from painterly.limits import MAX_ENCODED_IMAGE_BYTES
from painterly.v1 import error_reason_pb2 as reasons
from painterly.v1 import image_pb2
from painterly_images import decode
from painterly_preprocess.imaging.errors import MaskEmpty
from painterly_preprocess.imaging.matting import Alpha, over_white, own_alpha, require_foreground
from painterly_preprocess.remove_bg_answers import number, retry_after_s, told, was_never_connected
from painterly_preprocess.settings import API_KEY, RemoveBgSettings

logger = logging.getLogger(__name__)

FIELD = "background_removal.remove_bg"
_SENT_QUALITY = 95
_CHUNK_BYTES = 4096
_ACCOUNT_TIMEOUT_S = 5.0


class Size(str, Enum):
    """The resolution of the answer, which decides the price."""

    AUTO = "auto"
    PREVIEW = "preview"
    FULL = "full"


class Kind(str, Enum):
    """What the foreground is."""

    AUTO = "auto"
    PERSON = "person"
    PRODUCT = "product"
    CAR = "car"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a caller may choose. ``api_key`` None is the operator's."""

    api_key: str | None = field(default=None, repr=False)
    size: Size = Size.AUTO
    kind: Kind = Kind.AUTO


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Credits that the call was charged, and those left in the account; None where the service did not say."""

    credits_charged: float | None
    credits_left: float | None


class RemoveBgMatting:
    """One call's matting; ``usage`` is known once the matte is.

    Raises ServiceError: REMOVE_BG_KEY_MISSING, REMOVE_BG_KEY_REFUSED (401, 403), REMOVE_BG_CREDITS_EXHAUSTED (402),
    REMOVE_BG_RATE_LIMITED (429), REMOVE_BG_FAILED (all else); MaskEmpty when it finds no foreground.
    """

    def __init__(
        self,
        account: RemoveBgSettings,
        options: Options,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._account = account
        self._options = options
        self._sleep = sleep
        self._clock = clock
        self._key = _usable_key(account, options)
        self.usage = Usage(credits_charged=None, credits_left=None)

    def estimate_alpha(self, photo: NDArray[np.uint8]) -> Alpha:
        """Alpha float32 H×W; of an answer smaller than the photo, enlarged."""
        height, width = photo.shape[:2]
        deadline = self._clock() + self._account.total_timeout_s
        with requests.Session() as session:
            # Neither proxies nor credentials of the machine's user belong to a service.
            session.trust_env = False
            body, headers = self._ask(session, _jpeg(over_white(photo)), deadline)
            answer = self._decoded(body)
            self.usage = Usage(
                credits_charged=number(headers.get("X-Credits-Charged")), credits_left=self._credits_left(session)
            )
        alpha = answer[..., 3].astype(np.float32) / np.float32(255)
        if abs(alpha.shape[1] / alpha.shape[0] / (width / height) - 1) > 0.05:
            raise self._failed(f"answered with a picture of other proportions ({alpha.shape[1]}x{alpha.shape[0]})")
        if alpha.shape != (height, width):
            alpha = np.asarray(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
        return require_foreground(alpha * own_alpha(photo))

    def _ask(self, session: requests.Session, jpeg: bytes, deadline: float) -> tuple[bytes, Mapping[str, str]]:
        wait_s = self._account.backoff_s
        for attempt in range(1, self._account.attempt_count + 1):
            is_last = attempt == self._account.attempt_count
            try:
                status, headers, body = self._post(session, jpeg, deadline)
            except requests.exceptions.ConnectTimeout as error:
                failure = self._failed(f"could not be reached within {self._account.connect_timeout_s:g} s")
                cause: Exception | None = error
            except requests.exceptions.ReadTimeout as error:
                raise self._failed(f"did not answer within {self._account.read_timeout_s:g} s") from error
            except requests.exceptions.ChunkedEncodingError as error:
                raise self._failed("broke off in the middle of its answer") from error
            except requests.exceptions.ConnectionError as error:
                if not was_never_connected(error):
                    raise self._failed("broke off the connection") from error
                failure, cause = self._failed("could not be reached"), error
            except requests.exceptions.RequestException as error:
                raise self._failed(f"could not be asked ({type(error).__name__})") from error
            else:
                if status == 200:
                    return body, headers
                failure, cause = self._refusal(status, headers, body), None
                if status != 429 and status < 500:
                    raise failure
                wait_s = retry_after_s(headers) or wait_s
            if is_last or self._clock() + wait_s >= deadline:
                raise failure from cause
            logger.info("remove.bg: %s; attempt %d follows in %.1f s", failure.message, attempt + 1, wait_s)
            self._sleep(wait_s)
            wait_s = min(2 * wait_s, 60.0)
        raise AssertionError("the last attempt returns or raises")

    def _post(self, session: requests.Session, jpeg: bytes, deadline: float) -> tuple[int, Mapping[str, str], bytes]:
        with session.post(
            f"{self._account.endpoint.rstrip('/')}/removebg",
            headers={"X-Api-Key": self._key, "Accept": "image/png, application/json"},
            data={"size": self._options.size.value, "type": self._options.kind.value, "format": "png"},
            files={"image_file": ("photo.jpg", jpeg, "image/jpeg")},
            timeout=self._timeouts(deadline),
            # A redirection would carry the key to another host.
            allow_redirects=False,
            stream=True,
        ) as response:
            return response.status_code, response.headers, self._read(response, deadline)

    def _timeouts(self, deadline: float) -> tuple[float, float]:
        left = max(deadline - self._clock(), 0.1)
        return min(self._account.connect_timeout_s, left), min(self._account.read_timeout_s, left)

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK_BYTES):
            body += chunk
            if len(body) > MAX_ENCODED_IMAGE_BYTES:
                raise self._failed(f"answered with more than {MAX_ENCODED_IMAGE_BYTES} bytes")
            if self._clock() > deadline:
                raise self._failed(f"took longer than {self._account.total_timeout_s:g} s")
        return bytes(body)

    def _decoded(self, body: bytes) -> NDArray[np.uint8]:
        try:
            return decode(image_pb2.Image(data=body), "answer", "RGBA")
        except ServiceError as error:
            raise self._failed("answered with what is not a complete picture") from error

    def _refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> ServiceError:
        code, text = told(body)
        text = text.replace(self._key, "***")
        if status == 400 and code == "unknown_foreground":
            raise MaskEmpty("photo", f"shows no foreground that remove.bg could find ({text}); choose another method")
        if status == 402:
            return ServiceError(
                reasons.ERROR_REASON_REMOVE_BG_CREDITS_EXHAUSTED,
                f"the remove.bg account has too few credits ({text}); buy some, ask for the size PREVIEW, or choose "
                "another method",
            )
        if status in (401, 403):
            return ServiceError(
                reasons.ERROR_REASON_REMOVE_BG_KEY_REFUSED,
                f"remove.bg refused the key ({text}); check {self._key_source()}, or choose another method",
                field=f"{FIELD}.api_key",
            )
        if status == 429:
            return ServiceError(
                reasons.ERROR_REASON_REMOVE_BG_RATE_LIMITED,
                f"remove.bg is asked too often ({text}); try again later, or choose another method",
                retry_after_s=retry_after_s(headers) or self._account.backoff_s,
            )
        return self._failed(f"answered with status {status} ({text})", status)

    def _failed(self, what: str, status: int = 0) -> ServiceError:
        return ServiceError(
            reasons.ERROR_REASON_REMOVE_BG_FAILED,
            f"remove.bg {what}; try again, or choose another method",
            metadata={"status": str(status)},
        )

    def _key_source(self) -> str:
        return f"{FIELD}.api_key" if self._options.api_key else "the key in the server's environment"

    def _credits_left(self, session: requests.Session) -> float | None:
        """The account's balance; None when it cannot be had, for the picture is there already."""
        try:
            response = session.get(
                f"{self._account.endpoint.rstrip('/')}/account",
                headers={"X-Api-Key": self._key, "Accept": "application/json"},
                timeout=min(self._account.connect_timeout_s, _ACCOUNT_TIMEOUT_S),
                allow_redirects=False,
            )
            return number(response.json()["data"]["attributes"]["credits"]["total"])
        except (requests.exceptions.RequestException, ValueError, LookupError, TypeError) as error:
            logger.info("remove.bg: the credits left are unknown (%s)", type(error).__name__)
            return None


def _usable_key(account: RemoveBgSettings, options: Options) -> str:
    if options.api_key is not None and not API_KEY.fullmatch(options.api_key):
        raise ServiceError(
            reasons.ERROR_REASON_FIELD_OUT_OF_RANGE,
            f"{FIELD}.api_key must be 1 to 256 visible ASCII characters",
            field=f"{FIELD}.api_key",
            metadata={"value": "hidden"},
        )
    key = options.api_key or account.api_key
    if key is None:
        raise ServiceError(
            reasons.ERROR_REASON_REMOVE_BG_KEY_MISSING,
            f"remove.bg needs a key: send {FIELD}.api_key, start the server with PAINTERLY_REMOVE_BG_API_KEY, or "
            "choose another method",
        )
    return key


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", quality=_SENT_QUALITY, subsampling=0)
    return buffer.getvalue()
