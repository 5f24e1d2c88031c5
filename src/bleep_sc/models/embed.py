"""The joint embedding of all spots, batch by batch."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bleep_sc.models.encode import patches_at_once
from bleep_sc.models.map_batches import map_batches
from bleep_sc.models.on_device import half_precision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from bleep_sc._arrays.sparse_rows import SparseRows
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

    ``slides`` is the slide of every spot, (n,), by which some views take features. An encoder of patches computes with
    16 bits on a GPU, as it was trained there; the cosine with the embedding by 32 bits is above .999.
    """
    how: dict[str, Any] = {"device": device, "num_workers": num_workers}
    if images.ndim == 4:
        with half_precision(torch.device(device)):
            return map_batches(
                model.embed_images, images, batch_size=patches_at_once(images.shape[1], torch.device(device)), **how
            )
    if not model.depends_on_slide:
        return map_batches(model.embed_images, images, batch_size=FEATURES, **how)
    features, width = np.asarray(images), model.n_dims
    result = np.empty((len(features), model.n_models, width), dtype=np.float32)
    for seen_as in dict.fromkeys(model.seen_as):
        heads = [head for head, each in enumerate(model.seen_as) if each == seen_as]
        prepared = model.prepared(features, slides, seen_as)
        embedded = map_batches(partial(model.embed_images, heads=heads), prepared, batch_size=FEATURES, **how)
        result[:, heads] = embedded.reshape(len(features), len(heads), width)
    return result.reshape(len(features), -1)


@torch.inference_mode()
def embed_expression(
    model: BLEEP, expression: NDArray[np.float32] | SparseRows, *, device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """Embed expression (n, genes) as (n, n_dims)."""
    return map_batches(model.embed_expression, expression, batch_size=PROFILES, device=device)


@torch.inference_mode()
def embed_some(
    model: BLEEP, features: NDArray[np.float32], slides: NDArray[np.str_], rows: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Embed some of the features (n, d), seen on all of their slide, as (n_rows, n_dims)."""
    device = next(model.parameters()).device
    if not model.depends_on_slide:
        return embed_images(model, features[rows], slides[rows], device=device)
    return embed_images(model, features, slides, device=device)[rows]


def largest_values(heads: Iterable[Any]) -> NDArray[np.float32]:
    """Return how far from zero an embedding by these heads can be, (n_dims,): each ends in a norm."""
    norms = [head.norm for head in heads]
    largest = [norm.weight.detach().abs() * len(norm.weight) ** 0.5 + norm.bias.detach().abs() for norm in norms]
    bounds: NDArray[np.float32] = torch.cat(largest).cpu().numpy()
    return bounds
