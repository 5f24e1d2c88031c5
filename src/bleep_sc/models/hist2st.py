"""Hist2ST: convolutions inside a patch, a transformer over the section, and a graph of neighbouring spots.

Zeng et al., Briefings in Bioinformatics 23:bbac297 (2022).
"""

import torch
from torch import Tensor, nn

from bleep_sc.models.histogene import Layer

HEAD_DIMS, N_LSTM_LAYERS = 64, 2
"""Width of an attention head, and layers of the LSTM."""
NARROWING = 8
"""Channels of the convolutions for one of a token."""
N_NEIGHBORS, REACH, AS_NEAR = 4, 2, 1.1
"""Neighbours of a spot, at least; how far they may be, in steps; and up to which ratio distances are the same."""


class Mixer(nn.Module):
    """A ConvMixer layer: two convolutions of every channel beside a shortcut, then one across channels."""

    def __init__(self, n_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.within = nn.Sequential(*_within(n_channels, kernel_size), *_within(n_channels, kernel_size))
        self.across = nn.Sequential(nn.Conv2d(n_channels, n_channels, 1), nn.GELU(), nn.BatchNorm2d(n_channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Mix maps (B, n_channels, H, W)."""
        return self.across(self.within(maps) + maps)


def _within(n_channels: int, kernel_size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(n_channels, n_channels, kernel_size, groups=n_channels, padding="same")
    return [convolution, nn.BatchNorm2d(n_channels), nn.GELU()]


class GraphLayer(nn.Module):
    """GraphSAGE: the mean of the neighbours of a spot, without itself, in a linear layer and ReLU, of length one."""

    def __init__(self, n_dims: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_dims, n_dims, bias=False)
        nn.init.xavier_uniform_(self.linear.weight)

    def forward(self, tokens: Tensor, shares: Tensor) -> Tensor:
        """Transform tokens (B, N, n_dims) of spots that take these shares (B, N, N) of each other."""
        return nn.functional.normalize(self.linear(shares @ tokens).relu(), dim=-1)


def shares_of_neighbors(centers: Tensor) -> Tensor:
    """Return the share that every spot has in the mean of the neighbours of another, (B, N, N); rows sum to one.

    ``centers`` are where the spots are, (B, N, 2), in any unit of length. Neighbours are the four nearest, and whoever
    is as near as the last of them, within two steps: four inside a square array, six inside a hexagonal one. A step is
    the median distance to the nearest spot. A spot without neighbours is its own.
    """
    distance = (centers[:, :, None] - centers[:, None]).norm(dim=-1)  # (B, N, N)
    itself = torch.eye(centers.shape[1], dtype=torch.bool, device=centers.device)
    distance = distance.masked_fill(itself, torch.inf)
    step = distance.amin(dim=-1).median(dim=-1).values[:, None, None]  # (B, 1, 1)
    last = distance.topk(min(N_NEIGHBORS, centers.shape[1]), largest=False).values[..., -1:]  # (B, N, 1)
    is_near = (distance <= AS_NEAR * last) & (distance <= AS_NEAR * REACH * step) & ~itself
    is_near |= itself & ~is_near.any(dim=-1, keepdim=True)
    return is_near / is_near.sum(dim=-1, keepdim=True)


class Hist2ST(nn.Module):
    r"""Predict the expression of all spots of a section from their patches, their places and their neighbours.

    Patches are cut into tiles by a convolution, ConvMixer layers mix these, and what they give, flattened, is the
    token of a spot. A learned vector of its row and one of its column are added; transformer layers mix the tokens of
    the section, and GraphSAGE layers those of neighbouring spots. An LSTM reads the token after every one of the
    latter (jumping knowledge); the mean of its outputs, normalised, in a linear layer is the expression.

    A token has :math:`\lfloor S / T \rfloor^2 \cdot C / 8` dimensions, of :math:`C` channels and patches and tiles of
    :math:`S` and :math:`T` px: 1024 as published, with patches of 112 px.

    Parameters
    ----------
    patch_size
        Side of the patches, px.
    n_genes
        Number of genes.
    tile_size
        Side of the squares that a patch is cut into, px; what is left at its right and lower end is not seen.
    n_channels
        Channels of the convolutions, a multiple of 8.
    kernel_size
        Side of the kernels of the ConvMixer layers, in tiles; odd.
    n_mixers, n_layers, n_graph_layers
        ConvMixer, transformer and GraphSAGE layers.
    n_heads
        Attention heads, each 64 wide.
    n_positions
        Rows, and columns, that the array may have.
    dropout
        Dropout of the tiles and inside the transformer.
    scale_pixels
        Bring pixels to values from -2 to 2. The published code takes the raw values from 0 to 255.

    Examples
    --------
    >>> model = bs.models.Hist2ST(patch_size=14, n_genes=40, n_channels=16, n_layers=1, n_heads=2)
    >>> patches, places = torch.zeros(1, 5, 14, 14, 3), torch.zeros(1, 5, 2, dtype=torch.long)
    >>> tuple(model(patches, places, places.float()).shape)
    (1, 5, 40)
    """

    def __init__(
        self,
        patch_size: int,
        n_genes: int,
        *,
        tile_size: int = 7,
        n_channels: int = 32,
        kernel_size: int = 5,
        n_mixers: int = 2,
        n_layers: int = 8,
        n_graph_layers: int = 4,
        n_heads: int = 16,
        n_positions: int = 64,
        dropout: float = 0.2,
        scale_pixels: bool = False,
    ) -> None:
        super().__init__()
        if patch_size < tile_size:
            raise ValueError(
                f"patch_size={patch_size!r} px is less than a tile of tile_size={tile_size!r} px; pass a smaller one."
            )
        self.scale_pixels = scale_pixels
        n_dims = (patch_size // tile_size) ** 2 * (n_channels // NARROWING)
        self.tiles = nn.Conv2d(3, n_channels, tile_size, stride=tile_size)
        self.dropout = nn.Dropout(dropout)
        self.mixers = nn.Sequential(*(Mixer(n_channels, kernel_size) for _ in range(n_mixers)))
        self.narrow = nn.Conv2d(n_channels, n_channels // NARROWING, 1)
        self.row_embedding = nn.Embedding(n_positions, n_dims)
        self.column_embedding = nn.Embedding(n_positions, n_dims)
        self.layers = nn.Sequential(
            *(Layer(n_dims, n_heads, dropout, head_dims=HEAD_DIMS, widening=1) for _ in range(n_layers))
        )
        self.graph_layers = nn.ModuleList(GraphLayer(n_dims) for _ in range(n_graph_layers))
        self.lstm = nn.LSTM(n_dims, n_dims, N_LSTM_LAYERS)
        self.norm = nn.LayerNorm(n_dims)
        self.head = nn.Linear(n_dims, n_genes)

    def forward(self, patches: Tensor, positions: Tensor, centers: Tensor) -> Tensor:
        """Predict expression (B, N, n_genes) of the N spots of a section.

        ``patches`` are (B, N, S, S, 3), values from 0 to 255; ``positions`` (B, N, 2), row and column on the array; and
        ``centers`` (B, N, 2), where spots are, in any unit of length.
        """
        return self.expression(self.embed(patches, positions, centers))

    def embed(self, patches: Tensor, positions: Tensor, centers: Tensor) -> Tensor:
        """Return what expression is read off, (B, N, n_dims)."""
        pixels = patches.flatten(0, 1).movedim(-1, 1).to(self.head.weight.dtype)  # (B N, 3, S, S)
        pixels = (pixels / 255 - 0.5) / 0.25 if self.scale_pixels else pixels
        maps = self.narrow(self.mixers(self.dropout(self.tiles(pixels))))  # (B N, C / 8, S / T, S / T)
        row, column = positions.unbind(dim=-1)  # (B, N) each
        positional = self.row_embedding(row) + self.column_embedding(column)  # (B, N, n_dims)
        tokens = self.layers(maps.flatten(1).unflatten(0, row.shape) + positional)  # (B, N, n_dims)
        shares, hops = shares_of_neighbors(centers).to(tokens.dtype), []
        for layer in self.graph_layers:
            tokens = layer(tokens, shares)
            hops.append(tokens.flatten(0, 1))  # (B N, n_dims)
        read, _ = self.lstm(torch.stack(hops))  # (n_graph_layers, B N, n_dims)
        return read.mean(dim=0).unflatten(0, row.shape)  # (B, N, n_dims)

    def expression(self, embedded: Tensor) -> Tensor:
        """Read expression (B, N, n_genes) off :meth:`embed`."""
        return self.head(self.norm(embedded))
