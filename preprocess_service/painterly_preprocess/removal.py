"""Background removal as a whole: which method, with what, and why; then from the matte to the element."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from painterly.weights import WeightsMissing, WeightStore
from painterly.weights.errors import fetch_command
from painterly_preprocess.imaging.chroma_key import ChromaKeyMatting
from painterly_preprocess.imaging.cutout_params import Box, ChromaKey, CutOutParams
from painterly_preprocess.imaging.cutting import CutOut, cut_out
from painterly_preprocess.imaging.grabcut import GrabCutMatting
from painterly_preprocess.imaging.masks import has_transparency
from painterly_preprocess.imaging.matting import AlphaMatting, MaskMatting, Matting
from painterly_preprocess.imaging.params import RemovalMethod
from painterly_preprocess.imaging.u2net import Session, U2NetMatting
from painterly_preprocess.remove_bg import Options, RemoveBgMatting, Usage
from painterly_preprocess.settings import RemoveBgSettings

logger = logging.getLogger(__name__)

U2NET_WEIGHTS = "u2net"

# What a request may bring along, the method that uses it, and what AUTO says when it takes that method for it.
_BROUGHT = (
    ("mask", RemovalMethod.MASK, "The request brings a mask."),
    ("grab_cut", RemovalMethod.GRABCUT, "The request brings hints for GrabCut."),
    ("chroma_key", RemovalMethod.CHROMA_KEY, "The request describes a plain backdrop."),
    ("remove_bg", RemovalMethod.REMOVE_BG, "The request has options for remove.bg."),
)


@dataclass(frozen=True, kw_only=True)
class GrabCutHints:
    """``box`` holds the object; the strokes (bool H×W of the photo's size) lie on what surely is one or the other."""

    box: Box | None = None
    foreground: NDArray[np.bool_] | None = None
    background: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A wish: the method with what belongs to it, and what is done to the matte. ``mask`` is gray uint8 H×W."""

    method: RemovalMethod = RemovalMethod.AUTO
    mask: NDArray[np.uint8] | None = None
    grab_cut: GrabCutHints | None = None
    chroma_key: ChromaKey | None = None
    remove_bg: Options | None = None
    params: CutOutParams = field(default_factory=CutOutParams)


@dataclass(frozen=True, kw_only=True)
class Removed:
    """What came of it: the element, the method that ran, one sentence that says why, and what remove.bg took."""

    cut_out: CutOut
    method: RemovalMethod
    reason: str
    usage: Usage | None = None


class BackgroundRemover:
    """The ways to remove a background on this server. The network's session is made once, when it is first needed."""

    def __init__(self, store: WeightStore, network_thread_count: int, account: RemoveBgSettings) -> None:
        self._store = store
        self._network_thread_count = network_thread_count
        self._account = account
        self._loading = threading.Lock()
        self._session: Session | None = None

    def remove(self, photo: NDArray[np.uint8], wish: Removal) -> Removed:
        """Cut the foreground out of an RGBA photo.

        Raises: ImagingError, WeightsMissing (never for AUTO), WeightsCorrupt, ServiceError (remove.bg).
        """
        method, matting, reason = self._choose(wish, photo)
        logger.info("background removal by %s: %s", method.value, reason)
        made = cut_out(photo, matting.estimate_alpha(photo), method, wish.params)
        usage = matting.usage if isinstance(matting, RemoveBgMatting) else None
        return Removed(cut_out=made, method=method, reason=reason, usage=usage)

    def _choose(self, wish: Removal, photo: NDArray[np.uint8]) -> tuple[RemovalMethod, Matting, str]:
        if wish.method is not RemovalMethod.AUTO:
            return wish.method, self._matting(wish.method, wish), "The request names this method."
        for name, method, reason in _BROUGHT:
            if getattr(wish, name) is not None:
                return method, self._matting(method, wish), reason
        if has_transparency(photo):
            return RemovalMethod.ALPHA, AlphaMatting(), "The photo has transparent pixels of its own."
        try:
            reason = "The photo is opaque and this server has the weights of U²-Net."
            return RemovalMethod.U2NET, self._matting(RemovalMethod.U2NET, wish), reason
        except WeightsMissing as error:
            # The error itself names a file of this server, which is not the caller's business.
            reason = (
                "The photo is opaque and this server lacks the weights of the better method U²-Net; "
                f"run: {fetch_command(U2NET_WEIGHTS)}"
            )
            logger.warning("background removal falls back to GrabCut: %s", error)
            return RemovalMethod.GRABCUT, self._matting(RemovalMethod.GRABCUT, wish), reason

    def _matting(self, method: RemovalMethod, wish: Removal) -> Matting:
        if method is RemovalMethod.MASK:
            assert wish.mask is not None
            return MaskMatting(wish.mask)
        if method is RemovalMethod.U2NET:
            return U2NetMatting(self._network(), wish.params.selection.box)
        if method is RemovalMethod.GRABCUT:
            hints = wish.grab_cut or GrabCutHints()
            return GrabCutMatting(hints.box or wish.params.selection.box, hints.foreground, hints.background)
        if method is RemovalMethod.CHROMA_KEY:
            return ChromaKeyMatting(wish.chroma_key or ChromaKey())
        if method is RemovalMethod.REMOVE_BG:
            return RemoveBgMatting(self._account, wish.remove_bg or Options())
        return AlphaMatting()

    def _network(self) -> Session:
        with self._loading:
            if self._session is None:
                path = self._store.path(U2NET_WEIGHTS)
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = self._network_thread_count
                # Threads that wait for work by spinning take the cores from other calls.
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
                logger.info("loaded %s", path)
            return self._session
