"""The joint embedding of all spots, batch by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from bleep_sc.models.encode import patches_at_once
from bleep_sc.models.map_batches import map_batches

if TYPE_CHECKING:
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
