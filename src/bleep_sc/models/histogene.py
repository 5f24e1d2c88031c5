"""HisToGene: a vision transformer that reads all spots of a section at once.

Pang et al., bioRxiv 2021.11.28.470212 (2021).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention over the spots of a section; heads share the width of a token, or have their own."""

    def __init__(self, n_dims: int, n_heads: int, dropout: float, *, head_dims: int | None = None) -> None:
        super().__init__()
        self.n_heads = n_heads
        n_mixed = n_dims if head_dims is None else n_heads * head_dims
        self.queries_keys_values = nn.Linear(n_dims, 3 * n_mixed, bias=False)
        self.out = nn.Linear(n_mixed, n_dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix tokens (B, N, n_dims)."""
        joint = self.queries_keys_values(tokens).unflatten(-1, (3, self.n_heads, -1))  # (B, N, 3, heads, head_dims)
        queries, keys, values = joint.permute(2, 0, 3, 1, 4)  # (B, heads, N, head_dims) each
        mixed = nn.functional.scaled_dot_product_attention(queries, keys, values)  # (B, heads, N, head_dims)
        return self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))  # (B, N, n_dims)


class Layer(nn.Module):
    """A transformer layer with the norms in front: attention, then a perceptron, ``widening`` times a token wide."""

    def __init__(
        self, n_dims: int, n_heads: int, dropout: float, *, head_dims: int | None = None, widening: int = 2
    ) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(n_dims)
        self.attention = Attention(n_dims, n_heads, dropout, head_dims=head_dims)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(n_dims),
            nn.Linear(n_dims, widening * n_dims),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(widening * n_dims, n_dims),
            nn.Dropout(dropout),
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (B, N, n_dims)."""
        tokens = tokens + self.attention(self.attention_norm(tokens))
        return tokens + self.perceptron(tokens)


class HisToGene(nn.Module):
    """Predict the expression of all spots of a section from their patches and their positions on the array.

    A section is a sequence and a spot a token: its flattened patch in one linear layer, plus a learned vector of its
    row and one of its column.

    Parameters
    ----------
    patch_size
        Side of the patches, px.
    n_genes
        Number of genes.
    n_positions
        Rows, and columns, that the array may have.
    n_dims
        Width of a token.
    n_layers
        Transformer layers.
    n_heads
        Attention heads, each ``n_dims / n_heads`` wide.
    dropout
        Dropout of the tokens and inside the layers.
    scale_pixels
        Bring pixels to values from -2 to 2. The published code takes the raw values from 0 to 255.

    Examples
    --------
    >>> model = bs.models.HisToGene(patch_size=8, n_genes=40, n_dims=32, n_layers=1, n_heads=4)
    >>> patches, places = torch.zeros(1, 5, 8, 8, 3), torch.zeros(1, 5, 2, dtype=torch.long)
    >>> tuple(model(patches, places).shape)
    (1, 5, 40)
    """

    def __init__(
        self,
        patch_size: int,
        n_genes: int,
        *,
        n_positions: int = 64,
        n_dims: int = 1024,
        n_layers: int = 8,
        n_heads: int = 16,
        dropout: float = 0.1,
        scale_pixels: bool = False,
    ) -> None:
        super().__init__()
        self.scale_pixels = scale_pixels
        self.patch_embedding = nn.Linear(3 * patch_size**2, n_dims)
        self.row_embedding = nn.Embedding(n_positions, n_dims)
        self.column_embedding = nn.Embedding(n_positions, n_dims)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(Layer(n_dims, n_heads, dropout) for _ in range(n_layers)))
        self.norm = nn.LayerNorm(n_dims)
        self.head = nn.Linear(n_dims, n_genes)

    def forward(self, patches: Tensor, positions: Tensor) -> Tensor:
        """Predict expression (B, N, n_genes) of the N spots of a section.

        ``patches`` are (B, N, S, S, 3), values from 0 to 255; ``positions`` (B, N, 2), row and column on the array.
        """
        pixels = patches.flatten(2).float()  # (B, N, 3 S S)
        pixels = (pixels / 255 - 0.5) / 0.25 if self.scale_pixels else pixels
        row, column = positions.unbind(dim=-1)  # (B, N) each
        positional = self.row_embedding(row) + self.column_embedding(column)  # (B, N, n_dims)
        tokens = self.dropout(self.patch_embedding(pixels) + positional)  # (B, N, n_dims)
        return self.head(self.norm(self.layers(tokens)))


def nearest_spots(positions: NDArray[np.int64], center: int, n_spots: int) -> NDArray[np.intp]:
    """Return the ``n_spots`` spots of a section nearest to one of them on the array, itself first."""
    distance = ((positions - positions[center]) ** 2).sum(axis=1)  # (N,), squared
    distance[center] = -1
    return np.lexsort((positions[:, 1], positions[:, 0], distance))[:n_spots]


def windows(positions: NDArray[np.int64], max_spots: int | None) -> Iterator[NDArray[np.intp]]:
    """Cover a section with windows of ``max_spots`` neighbouring spots; they overlap, and are one where all fit in.

    Which windows they are depends on where the spots are, and not on their order.
    """
    if max_spots is None or len(positions) <= max_spots:
        yield np.arange(len(positions))
        return
    waiting = np.ones(len(positions), dtype=bool)
    for spot in np.lexsort((positions[:, 1], positions[:, 0])):
        if waiting[spot]:
            window = nearest_spots(positions, spot, max_spots)
            waiting[window] = False
            yield window


@torch.inference_mode()
def predict(
    model: nn.Module,
    patches: NDArray[np.uint8],
    *,
    positions: NDArray[np.int64],
    sections: NDArray[np.str_],
    centers: NDArray[np.float64] | None = None,
    config: Mapping[str, Any],
    device: torch.device | str = "cpu",
) -> NDArray[np.float32]:
    """Predict expression (n, n_genes) from patches (n, S, S, 3), section by section, by HisToGene or Hist2ST.

    ``positions`` are row and column on the array, (n, 2), ``sections`` the section of every spot, (n,), and ``centers``
    where spots are, (n, 2), for a model that asks which are neighbours. Sections of more than ``config["max_spots"]``
    spots are read in windows of so many neighbours; a spot in several gets the mean.
    """
    model = model.eval().to(device)
    arrays: list[NDArray[Any]] = [patches, positions, *([] if centers is None else [centers.astype(np.float32)])]
    total = np.zeros((len(patches), model.get_parameter("head.bias").numel()), dtype=np.float32)
    times = np.zeros((len(patches), 1), dtype=np.float32)
    for section in np.unique(sections):
        rows = np.flatnonzero(sections == section)
        for window in windows(positions[rows], config["max_spots"]):
            spots = rows[window]
            tensors = (torch.from_numpy(array[spots])[None].to(device) for array in arrays)
            total[spots] += model(*tensors)[0].cpu().numpy()
            times[spots] += 1
    return total / times
