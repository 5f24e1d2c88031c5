"""A linear map from image features to expression."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def linear(n_features: int, n_genes: int) -> nn.Linear:
    """Return the layer, with random weights."""
    return nn.Linear(n_features, n_genes)


def with_coefficients(weight: NDArray[np.floating], bias: NDArray[np.floating]) -> nn.Linear:
    """Return the layer with weights (n_genes, n_features) and biases (n_genes,)."""
    n_genes, n_features = weight.shape
    layer = linear(n_features, n_genes)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


@torch.inference_mode()
def predict(
    layer: nn.Linear,
    features: NDArray[np.float32],
    *,
    config: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Predict expression (n, n_genes) from features (n, n_features)."""
    return layer.to(device)(torch.from_numpy(features).to(device)).cpu().numpy()
