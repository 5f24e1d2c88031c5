"""Principal components of image features, in which the image head is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POWER_ITERATIONS = 4


@dataclass(frozen=True)
class Rotation:
    """The directions in which features vary most: fewer inputs to learn from, and the same function of features."""

    mean: Tensor
    """(n_features,)."""
    components: Tensor
    """(n_features, n_components), orthonormal."""

    @classmethod
    def of(cls, features: NDArray[np.float32], n_components: int | None) -> Rotation | None:
        """Return the principal components of features (n, n_features); None where there are no more than asked for.

        By randomised subspace iteration (Halko et al., SIAM Review 2011), which draws from torch's generator.
        """
        if n_components is None or n_components >= min(features.shape):
            return None
        tensor = torch.from_numpy(features)
        mean = tensor.mean(dim=0)
        _, _, components = torch.pca_lowrank(tensor, q=n_components, center=True, niter=POWER_ITERATIONS)
        return cls(mean, components)

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the components (n, n_components) of features (n, n_features)."""
        rotated: NDArray[np.float32] = ((torch.from_numpy(features) - self.mean) @ self.components).numpy()
        return rotated

    def unrotated(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a layer that was trained on components, as those of one that takes features."""
        weight = weight.cpu() @ self.components.T  # (n_dims, n_features)
        return weight, bias.cpu() - weight @ self.mean
