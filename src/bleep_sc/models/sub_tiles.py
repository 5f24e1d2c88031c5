"""A patch, its parts and what surrounds it: the features of DeepSpot (Nonchev et al., 2025), by a frozen encoder."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from bleep_sc._arrays.around import around_on_slides
from bleep_sc.models.encoders import Encoder

BLOCKS = 3
"""Blocks of features of a patch alone: its own, and mean and standard deviation over its parts."""


class SubTiled(nn.Module):
    """Features of a patch and of its parts (B, 3d): its own, and the mean and standard deviation over ``n`` × ``n``.

    Every part passes through the encoder as a patch does. What is left over where the side is no multiple of ``n`` is
    the rim. The order of the parts does not count.
    """

    def __init__(self, encoder: Encoder, n: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.input_size = encoder.input_size
        self.n: int = n

    def forward(self, images: Tensor) -> Tensor:
        """Describe images (B, 3, S, S)."""
        whole = self.encoder(images)  # (B, d)
        parts = self.encoder(sub_tiles(images, self.n)).unflatten(0, (-1, self.n**2)).float()  # (B, n * n, d)
        return torch.cat([whole.float(), parts.mean(dim=1), parts.std(dim=1, correction=0)], dim=1)


def sub_tiles(images: Tensor, n: int) -> Tensor:
    """Cut images (B, 3, S, S) into n × n parts, (B * n * n, 3, S // n, S // n), those of an image together."""
    side = images.shape[-1] // n
    first = (images.shape[-1] - n * side) // 2
    middle = images[..., first : first + n * side, first : first + n * side]
    rows = middle.unflatten(-1, (n, side)).unflatten(-3, (n, side))  # (B, 3, n, side, n, side)
    return rows.permute(0, 2, 4, 1, 3, 5).flatten(0, 2).contiguous()


def with_neighbors(
    features: NDArray[np.float32], slides: NDArray[np.str_], centers_um: NDArray[np.float64], radius_um: float
) -> NDArray[np.float32]:
    """Append what the patches around every spot show, on the mean: (n, 3d) to (n, 4d).

    ``slides`` (n,) and ``centers_um`` (n, 2) say where the spots are.
    """
    whole = features[:, : features.shape[1] // BLOCKS]
    return np.concatenate([features, around_on_slides(whole, slides, centers_um, radius_um)], axis=1)
