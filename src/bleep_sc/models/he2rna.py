"""HE2RNA: a score of every tile, and of a slide the mean of its highest: learnt from the expression of slides alone.

Schmauch et al., Nature Communications 11:3877 (2020).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bleep_sc.models.map_batches import map_batches
from bleep_sc.models.stnet import Standardize

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

BATCH = 1024
"""Tiles that are predicted at once."""


class HE2RNA(nn.Module):
    """Score tiles by a perceptron that all of them share, which the authors write as convolutions of width one.

    A slide is predicted to be the mean of its highest scores, gene by gene (:meth:`of_slides`); read out tile by tile
    are the scores themselves (:meth:`forward`).

    Parameters
    ----------
    n_features
        Width of the features of a tile.
    n_genes
        Number of genes.
    n_hidden
        Width of the hidden layers.
    n_layers
        Number of hidden layers.
    dropout
        Dropout after every hidden layer.

    Examples
    --------
    >>> model = bs.models.HE2RNA(n_features=36, n_genes=40).eval()
    >>> tiles = torch.randn(30, 36)  # 10 of one slide, 20 of another
    >>> model(tiles).shape
    torch.Size([30, 40])
    >>> model.of_slides(tiles, [10, 20], shares=(0.1, 1.0)).shape
    torch.Size([2, 40])
    """

    def __init__(
        self, n_features: int, n_genes: int, n_hidden: int = 1024, n_layers: int = 2, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.scale = Standardize(n_features)
        widths = [n_features, *[n_hidden] * n_layers]
        self.hidden = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(width, wider), nn.ReLU(), nn.Dropout(dropout))
                for width, wider in pairwise(widths)
            )
        )
        self.head = nn.Linear(n_hidden, n_genes)

    @torch.no_grad()
    def start_at(self, mean: Tensor) -> None:
        """Make the mean expression of the training slides, (n_genes,), the biases that training starts from."""
        self.head.bias.copy_(mean)

    def forward(self, features: Tensor) -> Tensor:
        """Score tiles (n, n_features) for every gene, (n, n_genes)."""
        return self.head(self.hidden(self.scale(features)))

    def of_slides(self, features: Tensor, sizes: Sequence[int], shares: Sequence[float]) -> Tensor:
        """Predict slides (B, n_genes): the mean over ``shares`` of the mean of so large a share of their scores.

        ``features`` are the tiles of one slide after another, (sum of sizes, n_features).
        """
        scores = self(features).split(list(sizes))  # B of (n_tiles, n_genes)
        slides = [torch.stack([top_mean(each, share) for share in shares]).mean(dim=0) for each in scores]
        return torch.stack(slides)  # (B, n_genes)


def top_mean(scores: Tensor, share: float) -> Tensor:
    """Return the mean of the highest scores of every gene, (n_genes,), of ``scores`` (n_tiles, n_genes).

    Their number is the ``share`` of the tiles, rounded, and at least one.
    """
    k = max(1, round(share * len(scores)))
    if k >= len(scores):
        return scores.mean(dim=0)
    return scores.topk(k, dim=0, sorted=False).values.mean(dim=0)


@torch.inference_mode()
def predict(
    model: nn.Module,
    features: NDArray[np.float32],
    *,
    config: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Read out every tile by itself, (n, n_genes), from features (n, n_features)."""
    return map_batches(model.eval().to(device), features, batch_size=BATCH, device=device)
