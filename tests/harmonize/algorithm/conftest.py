"""Feature networks for the algorithm's tests: a toy one always, the real one where its weights are stored."""

from __future__ import annotations

import pytest
import torch

from painterly.weights import WeightsError, WeightStore
from painterly_harmonize.algorithm.params import NetworkName
from painterly_harmonize.algorithm.vgg import FeatureNetwork, load_network
from tests.harmonize.algorithm.toy import toy_network


@pytest.fixture(scope="session")
def vgg16() -> FeatureNetwork:
    """The real network in float32; the test is skipped where its weights are not stored."""
    try:
        path = WeightStore().path("vgg16")
    except WeightsError as error:
        pytest.skip(f"no VGG-16 weights: {error}")
    return load_network(NetworkName.VGG16, path, torch.device("cpu"))


@pytest.fixture(scope="session")
def toy64() -> FeatureNetwork:
    """The toy network in float64."""
    return toy_network(torch.float64)


@pytest.fixture(params=[pytest.param("toy64"), pytest.param("vgg16", marks=pytest.mark.weights)])
def network(request: pytest.FixtureRequest) -> FeatureNetwork:
    """Each network in turn."""
    found: FeatureNetwork = request.getfixturevalue(request.param)
    return found
