"""The joint embedding of all spots, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bleep_sc.models.encode import patches_at_once
from bleep_sc.models.map_batches import map_batches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from bleep_sc._arrays.unread import Unread
    from bleep_sc.models.bleep import BLEEP

FEATURES, PROFILES = 256, 4096
"""Features and profiles of expression that are embedded at once."""


@torch.inference_mode()
def embed_images(
    model: BLEEP,
    images: NDArray[np.float32] | NDArray[np.uint8] | Unread,
    slides: NDArray[np.str_],
    *,
    device: torch.device | str = "cpu",
    num_workers: int = 0,
) -> NDArray[np.float32]:
    """Embed features (n, d), or patches (n, S, S, 3), as (n, n_dims).

    Features are taken in units of their slide (``slides``, (n,)) where the model was trained on such.
    """
    scale = model.scale
    batch_size = FEATURES if images.ndim == 2 else patches_at_once(images.shape[1], torch.device(device))
    images = images if scale is None else scale.apply(np.asarray(images), slides)
    return map_batches(model.embed_images, images, batch_size=batch_size, device=device, num_workers=num_workers)


@torch.inference_mode()
def embed_expression(
    model: BLEEP, expression: NDArray[np.float32], *, device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """Embed expression (n, genes) as (n, n_dims)."""
    batches = torch.from_numpy(expression).split(PROFILES)
    return torch.cat([model.embed_expression(batch.to(device)).cpu() for batch in batches]).numpy()


@torch.inference_mode()
def embed_some(
    model: BLEEP, features: NDArray[np.float32], slides: NDArray[np.str_], rows: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Embed some of the features (n, d) in units of all of their slide, as (n_rows, n_dims)."""
    scale = model.scale
    scaled = features if scale is None else scale.apply(features, slides)
    device = next(model.parameters()).device
    return model.embed_images(torch.from_numpy(scaled[rows]).to(device)).cpu().numpy()


def largest_values(heads: Iterable[Any]) -> NDArray[np.float32]:
    """Return how far from zero an embedding by these heads can be, (n_dims,): each ends in a norm."""
    norms = [head.norm for head in heads]
    largest = [norm.weight.detach().abs() * len(norm.weight) ** 0.5 + norm.bias.detach().abs() for norm in norms]
    bounds: NDArray[np.float32] = torch.cat(largest).cpu().numpy()
    return bounds
