"""Reference spots for every query spot, and what each of them counts: alike, by distance, or as anchors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bleep_sc.models import retrieval
from bleep_sc.models.anchors import anchor_weights
from bleep_sc.models.search import Index, search

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from bleep_sc.models.exact_search import Metric, Neighbors

UNIFORM, DISTANCE, ANCHORS = "uniform", "distance", "anchors"


def check_weights(weights: str) -> None:
    """Refuse ``neighbor_weights`` that are not known."""
    if weights not in (UNIFORM, DISTANCE, ANCHORS):
        raise ValueError(f"neighbor_weights={weights!r} is not known; use 'uniform', 'distance' or 'anchors'.")


def found_and_weighed(
    query: NDArray[np.float32] | Tensor,
    keys: Any,
    *,
    weights: str,
    embedding: NDArray[np.float32] | Tensor,
    images: Any,
    slides: NDArray[np.str_],
    n_neighbors: int,
    metric: Metric,
    index: Index = "exact",
    among: NDArray[np.bool_] | None = None,
) -> tuple[Neighbors, Tensor]:
    """Find the reference spots behind every query spot, and their weights, (n_query, n_neighbors); rows sum to one.

    ``query`` is where spots are looked for, and ``embedding`` their image embeddings as they are, (n_query, d) each;
    ``keys`` and ``images`` are expression and image embeddings of the reference, (n_keys, d); ``slides`` the slide of
    every query spot. The others are those of :func:`bleep_sc.models.search.search`.
    """
    how: dict[str, Any] = {"n_neighbors": n_neighbors, "metric": metric, "index": index, "among": among}
    if weights == ANCHORS:
        return anchor_weights(query, keys, images=images, slides=slides, **how)
    found = search(query, keys, **how)
    if weights == DISTANCE:
        return found, retrieval.distance_weights(embedding, keys, found.index)
    return found, retrieval.neighbor_weights(found.similarity)
