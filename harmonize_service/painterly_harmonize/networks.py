"""Networks by name, each on its device with the checksum of its weights."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import torch

from painterly.service_error import ServiceError
from painterly.v1 import error_reason_pb2
from painterly.weights import WeightsCorrupt, WeightsError, WeightsMissing, WeightStore
from painterly_harmonize.algorithm.params import NetworkName
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network
from painterly_harmonize.settings import Settings, layer_dtype

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    """A network on its device and the checksum of its weights, ``sha256:`` and 64 hex digits."""

    network: FeatureNetwork
    checksum: str


class Networks(Protocol):
    """Yields networks by name, on the worker's computing thread and on the one that writes results."""

    def __call__(self, name: NetworkName) -> LoadedNetwork:
        """The network. Raises: ServiceError WEIGHTS_MISSING, WEIGHTS_CORRUPT."""


class StoredNetworks:
    """Networks from the weight store, loaded when first asked for and kept."""

    def __init__(
        self,
        device: torch.device,
        store: WeightStore,
        layer_dtype: torch.dtype = torch.float32,
        *,
        replays: bool = False,
    ) -> None:
        self._device, self._layer_dtype, self._replays = device, layer_dtype, replays
        self._store = store
        self._loaded: dict[NetworkName, LoadedNetwork] = {}

    def __call__(self, name: NetworkName) -> LoadedNetwork:
        """The network. Raises: ServiceError WEIGHTS_MISSING, WEIGHTS_CORRUPT."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: NetworkName) -> LoadedNetwork:
        try:
            path, checksum = self._store.path(name.value), self._store.checksum(name.value)
        except WeightsMissing as error:
            raise _weights_error(error_reason_pb2.ERROR_REASON_WEIGHTS_MISSING, error) from error
        except WeightsCorrupt as error:
            raise _weights_error(error_reason_pb2.ERROR_REASON_WEIGHTS_CORRUPT, error) from error
        network = load_network(name, path, self._device, self._layer_dtype)
        network.replays = self._replays
        return LoadedNetwork(network=network, checksum=checksum)


def stored_networks(settings: Settings, device: torch.device) -> StoredNetworks:
    """The networks of the weight store, as the settings want them."""
    replays = settings.cuda_graphs == "on" and device.type == "cuda"
    return StoredNetworks(device, WeightStore(), layer_dtype(settings.precision), replays=replays)


def _weights_error(reason: error_reason_pb2.ErrorReason.ValueType, error: WeightsError) -> ServiceError:
    logger.warning("%s", error)
    return ServiceError(reason, error.told, metadata={"weights": error.name})
