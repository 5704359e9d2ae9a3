"""What is known of a painting, kept for the next object that goes into it. Source: section 7, shortcut 7."""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import Tensor

from painterly_harmonize.algorithm.vgg import FeatureNetwork

DEFAULT_LIMIT_BYTES = 1 << 30


class StyleCache:
    """Features of paintings by network, size and content: the least recently used go when there are too many.

    Features are kept on the device that computed them, within ``limit_bytes``, and on a GPU those that go from there
    are kept in the host's memory, within as much again. Used from one thread at a time.
    """

    def __init__(self, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._on_device: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()
        self._on_host: OrderedDict[tuple[str, ...], Tensor] = OrderedDict()
        self.hit_count = 0
        self.miss_count = 0

    @property
    def byte_count(self) -> int:
        """Bytes of all features that are kept."""
        return sum(each.nbytes for each in itertools.chain(self._on_device.values(), self._on_host.values()))

    def clear(self) -> None:
        """Forget everything."""
        self._on_device.clear()
        self._on_host.clear()

    def features(self, network: FeatureNetwork, pixels: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """As ``network.features(pixels, taps)``; each tap that is not known counts as a miss. Not to be written to."""
        identity = _identity(network, pixels)
        keys = {tap: (*identity, tap) for tap in taps}
        found = {tap: known for tap, key in keys.items() if (known := self._take(key, network.device)) is not None}
        missing = [tap for tap in keys if tap not in found]
        self.hit_count += len(found)
        self.miss_count += len(missing)
        if missing:
            found.update(network.features(pixels, missing))
        for tap, key in keys.items():
            self._keep(key, found[tap])
        return {tap: found[tap] for tap in keys}

    def _take(self, key: tuple[str, ...], device: torch.device) -> Tensor | None:
        if key in self._on_device:
            return self._on_device[key]
        if key in self._on_host:
            return self._on_host.pop(key).to(device)
        return None

    def _keep(self, key: tuple[str, ...], features: Tensor) -> None:
        self._on_device[key] = features
        self._on_device.move_to_end(key)
        for old_key, old in _excess(self._on_device, self._limit_bytes):
            if old.device.type != "cpu":
                self._on_host[old_key] = old.cpu()
        for _ in _excess(self._on_host, self._limit_bytes):
            pass


def _excess(kept: OrderedDict[tuple[str, ...], Tensor], limit: int) -> list[tuple[tuple[str, ...], Tensor]]:
    """Take out the oldest until the rest fits."""
    out, total = [], sum(each.nbytes for each in kept.values())
    while total > limit:
        key, features = kept.popitem(last=False)
        total -= features.nbytes
        out.append((key, features))
    return out


def _identity(network: FeatureNetwork, pixels: Tensor) -> tuple[str, ...]:
    content = hashlib.sha256(pixels.contiguous().cpu().numpy().tobytes()).hexdigest()
    return network.name, str(network.dtype), str(tuple(pixels.shape)), content
