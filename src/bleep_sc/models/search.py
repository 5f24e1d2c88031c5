"""Finding the nearest reference spots: exactly, or with FAISS."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from bleep_sc.models.exact_search import Metric, Neighbors, exact, rows_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

Index = Literal["exact", "faiss"]


def search(
    query: NDArray[np.float32] | Tensor,
    keys: Any,
    *,
    n_neighbors: int,
    metric: Metric,
    index: Index,
    among: NDArray[np.bool_] | None = None,
) -> Neighbors:
    """Find the most similar keys of every query, as :func:`bleep_sc.models.retrieval.nearest` does.

    ``among`` says which keys are looked at, (n_keys,); None: all.
    """
    if among is not None and not among.all():
        rows = np.flatnonzero(among)
        found = search(query, rows_of(keys, rows), n_neighbors=n_neighbors, metric=metric, index=index)
        places = torch.from_numpy(rows.astype(np.int32)).to(found.index.device)
        return replace(found, index=places[found.index.long()])
    n_keys = keys.shape[0]
    if not 1 <= n_neighbors <= n_keys:
        raise ValueError(f"n_neighbors={n_neighbors} must lie between 1 and the size of the reference, {n_keys}.")
    if n_keys > np.iinfo(np.int32).max:
        raise ValueError(f"A reference of {n_keys:,} spots is too large: neighbours are numbered in 32 bits.")
    if metric not in ("cosine", "euclidean"):
        raise ValueError(f"metric={metric!r} is not known; use 'cosine' or 'euclidean'.")
    check_index(index)
    if index == "exact":
        return exact(query, keys, n_neighbors, metric)
    from bleep_sc.models.faiss_search import faiss_search

    return faiss_search(query, keys, n_neighbors, metric)


def check_index(index: str) -> None:
    """Refuse an index that is not known, or whose library is not installed."""
    if index not in ("exact", "faiss"):
        raise ValueError(f"index={index!r} is not known; use 'exact' or 'faiss'.")
    if index == "faiss":
        from bleep_sc.models.faiss_search import faiss_library

        faiss_library()
