"""ST-Net: expression of a spot from its patch by a network of which every layer is trained.

He et al., Nature Biomedical Engineering 4:827 (2020).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bleep_sc._arrays.unread import Unread
from bleep_sc.models import symmetries
from bleep_sc.models.map_batches import map_batches
from bleep_sc.models.slide_scale import ROUNDING

BATCH = 64
"""Images that are predicted at once."""


class Standardize(nn.Module):
    """Subtract the mean of the training features and divide by their standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features))
        self.register_buffer("std", torch.ones(n_features))

    def learn(self, features: Tensor) -> None:
        """Take the statistics of features (n, n_features); one that does not vary is only centred."""
        std = features.std(dim=0, correction=0)
        self.mean.copy_(features.mean(dim=0))
        self.std.copy_(torch.where(std > ROUNDING * features.abs().amax(dim=0), std, 1.0))

    def set_to(self, mean: Tensor, std: Tensor) -> None:
        """Take statistics that are known, (n_features,) each."""
        self.mean.copy_(mean)
        self.std.copy_(std)

    def forward(self, features: Tensor) -> Tensor:
        """Standardise features (B, n_features)."""
        return (features - self.mean) / self.std


class StNet(nn.Module):
    """Predict expression by a linear layer on image features.

    Parameters
    ----------
    n_features
        Width of the image features.
    n_genes
        Number of genes.
    encoder
        Turns patches (B, 3, H, W) into features (B, n_features), and is trained. Without one the model takes features
        that a frozen encoder computed, and standardises them: it is a linear probe then, and not the published method.

    Examples
    --------
    >>> model = bs.models.StNet(n_features=36, n_genes=40)
    >>> tuple(model(torch.zeros(8, 36)).shape)
    (8, 40)
    """

    def __init__(self, n_features: int, n_genes: int, *, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = Standardize(n_features) if encoder is None else encoder
        self.head = nn.Linear(n_features, n_genes)

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Make the mean expression of the training spots, (n_genes,), the prediction that training starts from."""
        self.head.weight.zero_()
        self.head.bias.copy_(mean)

    def forward(self, images: Tensor) -> Tensor:
        """Predict expression (B, n_genes) from patches (B, 3, H, W), or from features (B, n_features)."""
        return self.head(self.encoder(images))


def stnet_loss(prediction: Tensor, truth: Tensor) -> Tensor:
    """Sum the squared errors of a batch (B, n_genes) over its spots and take their mean over genes.

    The sum is what the learning rate of the paper, 1e-6, is meant for.

    Examples
    --------
    >>> bs.models.stnet_loss(torch.zeros(3, 2), torch.ones(3, 2)).item()
    3.0
    """
    return (prediction - truth).square().sum() / truth.shape[1]


@torch.inference_mode()
def predict(
    model: StNet,
    images: NDArray[np.float32] | NDArray[np.uint8] | Unread,
    *,
    config: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Predict expression (n, n_genes) from features (n, d), or from patches (n, S, S, 3).

    The prediction from a patch is the mean of those from its eight symmetries.
    """
    model = model.eval().to(device)

    def mean_of_symmetries(patches: Tensor) -> Tensor:
        views = [model(symmetries.transform(patches, k)) for k in range(symmetries.N_SYMMETRIES)]
        return torch.stack(views).mean(dim=0)

    network = model if images.ndim == 2 else mean_of_symmetries
    return map_batches(network, images, batch_size=BATCH, device=device)
