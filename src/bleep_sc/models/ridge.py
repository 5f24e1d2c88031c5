"""A linear map from image features to expression."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def linear(weight: NDArray[np.floating], bias: NDArray[np.floating]) -> nn.Linear:
    """Return the layer with weights (n_genes, n_features) and biases (n_genes,)."""
    n_genes, n_features = weight.shape
    layer = nn.Linear(n_features, n_genes)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.bias.copy_(torch.from_numpy(bias))
    return layer


@torch.inference_mode()
def apply(layer: nn.Linear, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Predict expression (n, n_genes) from features (n, n_features)."""
    return layer(torch.from_numpy(features)).numpy()
