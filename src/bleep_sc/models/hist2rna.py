"""hist2RNA: expression of a slide from the mean of the features of its tiles.

Mondol et al., Cancers 15:2569 (2023).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bleep_sc.models.stnet import Standardize


class Hist2RNA(nn.Module):
    """Predict expression by three layers and a linear one.

    The authors write the layers as convolutions over the tiles, of width 5, 1 and 1, and give them the mean of all
    tiles alone: of the first one nothing but its middle ever meets a number, which makes it the linear layer that it is
    here. Given one tile, instead of the mean of a slide, it says what a slide of such tiles would express.

    Parameters
    ----------
    n_features
        Width of the features.
    n_genes
        Number of genes.
    n_hidden
        Width of the first layer; the two others are twice as wide.

    Examples
    --------
    >>> model = bs.models.Hist2RNA(n_features=36, n_genes=40)
    >>> model(torch.randn(8, 36)).shape
    torch.Size([8, 40])
    """

    def __init__(self, n_features: int, n_genes: int, n_hidden: int = 256) -> None:
        super().__init__()
        self.scale = Standardize(n_features)
        self.hidden = nn.Sequential(
            nn.Linear(n_features, n_hidden),
            nn.ReLU(),
            nn.Linear(n_hidden, 2 * n_hidden),
            nn.ReLU(),
            nn.Linear(2 * n_hidden, 2 * n_hidden),
            nn.ReLU(),
        )
        self.head = nn.Linear(2 * n_hidden, n_genes)

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Make the mean expression of the training slides, (n_genes,), the biases that training starts from."""
        self.head.bias.copy_(mean)

    def forward(self, features: Tensor) -> Tensor:
        """Predict expression (B, n_genes) from means over slides, or from tiles, (B, n_features)."""
        return self.head(self.hidden(self.scale(features)))
