"""What every method learns from, images and expression side by side, and what it leaves behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bleep_sc._arrays.unread import subset
from bleep_sc.models.map_batches import channels_first

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc._arrays.sparse_rows import SparseRows
    from bleep_sc._arrays.unread import Unread


@dataclass(frozen=True)
class Pairs:
    """Spots whose image and expression are both known.

    ``images`` are features (n, d) float32, or patches (n, S, S, 3) uint8, which need not be in memory;
    ``expression`` is (n, genes) float32, or what becomes that when it is read.
    """

    images: NDArray[np.float32] | NDArray[np.uint8] | Unread
    expression: NDArray[np.float32] | SparseRows

    def __getitem__(self, rows: NDArray[np.bool_ | np.intp]) -> Pairs:
        return Pairs(subset(self.images, rows), subset(self.expression, rows))

    def __len__(self) -> int:
        return len(self.expression)

    @property
    def are_patches(self) -> bool:
        """Whether the images are patches, which an encoder turns into features."""
        return self.images.ndim == 4

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (B, d) or images (B, 3, S, S), and expression (B, genes), of some spots."""
        index = rows.numpy()
        return channels_first(self.images[index]), torch.from_numpy(self.expression[index])


@dataclass(frozen=True)
class Learnt:
    """What training a method of :data:`bleep_sc.models.methods.METHODS` leaves behind."""

    module: nn.Module
    """In evaluation mode."""
    architecture: dict[str, Any]
    """Plain arguments from which ``Method.network`` builds the module, but for the encoder."""
    history: dict[str, Any] = field(default_factory=dict)
    """Such as ``loss``, the mean of every epoch."""
    params: dict[str, Any] = field(default_factory=dict)
    """What training chose, plain."""
