"""Finding the nearest reference spots with FAISS (Douze et al., 2024)."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import normalize

from bleep_sc._arrays.blocks import row_blocks, slices
from bleep_sc._output.messages import logger
from bleep_sc.models.exact_search import Neighbors, as_tensor, exact, finite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from bleep_sc.models.exact_search import Metric

FLAT = 100_000
"""References with fewer spots are searched exhaustively: there is little to gain."""
PER_LIST = 64
"""Keys from which the centre of every list is learnt."""
RECALL, SAMPLE = 0.95, 256
"""Share of the exact neighbours of so many queries that an inverted file is made to find."""
QUERIES = 16384
SPARE = 16
"""Keys that are asked for beyond the neighbours: of those that are alike, FAISS returns any."""


def faiss_search(query: NDArray[np.float32] | Tensor, keys: Any, n_neighbors: int, metric: Metric) -> Neighbors:
    r"""Find the most similar keys of every query; keys are read in blocks, and held in memory by the index.

    Below 100,000 keys the index is flat, and the search exact. Beyond it is an inverted file of :math:`\sqrt{n}` lists,
    of which as many are searched as find 95 % of the exact neighbours of 256 queries. For cosines, embeddings are
    scaled to length one, where the nearest by distance are the most similar.
    """
    faiss = faiss_library()
    n_keys, n_dims = keys.shape
    query = as_tensor(query).cpu()
    n_lists = 1 if n_keys < FLAT else math.isqrt(n_keys)
    index = faiss.index_factory(n_dims, "Flat" if n_lists == 1 else f"IVF{n_lists},Flat")
    if n_lists > 1:
        index.train(_sample(keys, n_lists * PER_LIST, metric))
    for block in _blocks(keys, metric):
        index.add(block)
    recall = None if n_lists == 1 else _widen(index, query, keys, n_neighbors, metric)
    similarity, found = _searched(index, query, n_neighbors, metric)
    short = (found < 0).any(dim=1)  # queries in whose lists there are too few keys
    if short.any():
        missing = exact(query[short], keys, n_neighbors, metric)
        similarity[short], found[short] = missing.similarity, missing.index
    return Neighbors(similarity, found, recall)


def faiss_library() -> Any:
    """Import FAISS, or say how it is installed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # SWIG's, about its own types
            import faiss
    except ImportError as error:
        raise ImportError(
            "index='faiss' needs FAISS. Install it with pip install 'bleep-sc[faiss]', or use index='exact'."
        ) from error
    return faiss


def _prepared(values: Any, metric: Metric) -> NDArray[np.float32]:
    tensor = finite(as_tensor(values).cpu())
    return np.ascontiguousarray((normalize(tensor) if metric == "cosine" else tensor).numpy())


def _blocks(keys: Any, metric: Metric) -> Iterator[NDArray[np.float32]]:
    for _, block in row_blocks(keys):
        yield _prepared(block, metric)


def _sample(keys: Any, n: int, metric: Metric) -> NDArray[np.float32]:
    """Return every so many-th key, about ``n`` in all."""
    step = max(1, keys.shape[0] // n)
    return np.concatenate([_prepared(block[-rows.start % step :: step], metric) for rows, block in row_blocks(keys)])


def _searched(index: Any, query: Tensor, n_neighbors: int, metric: Metric) -> tuple[Tensor, Tensor]:
    similarity = torch.empty(len(query), n_neighbors)
    found = torch.empty(len(query), n_neighbors, dtype=torch.int32)
    for rows in slices(len(query), QUERIES):
        squared, columns = index.search(_prepared(query[rows], metric), min(n_neighbors + SPARE, index.ntotal))
        nearest = np.lexsort((columns, squared))[:, :n_neighbors]  # what was not found is infinitely far away
        squared, columns = (np.take_along_axis(each, nearest, axis=1) for each in (squared, columns))
        similarity[rows] = (1.0 if metric == "cosine" else 0.0) - torch.from_numpy(squared) / 2
        found[rows] = torch.from_numpy(columns)
    return similarity, found


def _widen(index: Any, query: Tensor, keys: Any, n_neighbors: int, metric: Metric) -> float:
    """Search more lists until enough of the exact neighbours are found; return their share."""
    some = torch.randperm(len(query), generator=torch.Generator().manual_seed(0))[:SAMPLE]
    truth = exact(query[some], keys, n_neighbors, metric).index.numpy()
    index.nprobe = 1
    while True:
        found = _searched(index, query[some], n_neighbors, metric)[1].numpy()
        recall = float(np.mean([np.isin(*pair).mean() for pair in zip(truth, found, strict=True)]))
        if recall >= RECALL or index.nprobe == index.nlist:
            break
        index.nprobe = min(2 * index.nprobe, index.nlist)
    logger.info(
        "FAISS searches %d of %d lists, and finds %.1f %% of the exact neighbours of %d spots.",
        index.nprobe,
        index.nlist,
        100 * recall,
        len(some),
    )
    return recall
