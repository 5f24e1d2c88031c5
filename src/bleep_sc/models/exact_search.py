"""Finding the nearest reference spots by comparing every query with every key."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from bleep_sc._arrays.blocks import in_memory, row_blocks, slices, some_rows
from bleep_sc.models.best_keys import GROUP, best_keys
from bleep_sc.models.on_device import fits, free_bytes, transfer

if TYPE_CHECKING:
    from numpy.typing import NDArray


Metric = Literal["cosine", "euclidean"]

CHUNK = 8192
"""Keys that are compared at once on the CPU, with an eighth as many queries."""
CHUNK_ON_GPU, ROOM_ON_GPU = 65536, 2**31
"""Keys that are compared at once on a GPU, with as many queries as fit into a quarter of what is free there, and into
so many bytes."""
NOT_FINITE = "The embeddings hold NaN or infinite values, which are similar to nothing."
OVERFLOW = "The embeddings are so large that their distances overflow."


@dataclass(frozen=True)
class Neighbors:
    """The most similar keys of every query, best first."""

    similarity: Tensor
    """(n_query, n_neighbors)."""
    index: Tensor
    """Of the keys, (n_query, n_neighbors)."""
    recall: float | None = None
    """Share of the exact neighbours among those that an approximate search found; None for an exact search."""


@torch.no_grad()
def exact(query: NDArray[np.float32] | Tensor, keys: Any, n_neighbors: int, metric: Metric) -> Neighbors:
    """Compare every query with every key; of keys that are alike, those of the lower index are nearer.

    Keys pass by once, in blocks, and the best are kept of every query: memory is bounded by ``CHUNK``. A GPU is waited
    for once, when all keys have passed by.
    """
    given = query = as_tensor(query)
    n_queries, device = len(query), query.device
    are_finite = [_looked_at(query)]
    query = _whole_rows(normalize(query) if metric == "cosine" else query)
    n_rows, chunk = _at_once(n_queries, keys.shape[0], n_neighbors, device)
    room = query.new_empty(n_rows * chunk)  # new memory for every product would take longer than it
    best = best_keys(n_queries, n_neighbors, device)
    center = None
    for rows, block in row_blocks(keys):
        for start in range(0, len(block), chunk):
            part = transfer(as_tensor(block[start : start + chunk]), device)
            are_finite.append(_looked_at(part))
            if metric == "cosine":
                part = normalize(part)
            else:
                if center is None:  # far from the origin products cancel
                    center = part[:1].clone()
                    query = query - center
                part = part - center
            n_keys, part = len(part), _whole_rows(part)
            for some in slices(len(query), n_rows):
                similarity = room[: len(query[some]) * len(part)].view(-1, len(part))
                torch.mm(query[some], part.T, out=similarity)
                if metric == "euclidean":
                    similarity -= part.square().sum(dim=1) / 2
                similarity[:, n_keys:] = -torch.inf
                best.keep(some, similarity, rows.start + start)
    similarity, index = best.sorted()
    if not torch.stack([similarity.isfinite().all(), *are_finite]).all():
        for each in chain([given], (block for _, block in row_blocks(keys))):
            finite(as_tensor(each))
        raise ValueError(OVERFLOW)
    if metric == "euclidean":
        similarity = (similarity - query[:n_queries].square().sum(dim=1, keepdim=True) / 2).clamp(max=0)
    return Neighbors(similarity, index)


def _at_once(n_queries: int, n_keys: int, n_neighbors: int, device: torch.device) -> tuple[int, int]:
    """Return how many queries are compared at once with how many keys: whole groups of both."""
    chunk = _whole_groups(min(CHUNK_ON_GPU if device.type == "cuda" else CHUNK, n_keys))
    n_rows = chunk // 8
    if device.type == "cuda":
        looked_at = min(chunk, GROUP * n_neighbors) + n_neighbors
        of_a_query = 4 * chunk + 16 * chunk // GROUP + 40 * looked_at  # products, maxima, and copies of what is kept
        n_rows = min(free_bytes(device) // 4, ROOM_ON_GPU) // of_a_query
    return _whole_groups(max(1, min(n_rows, n_queries))), chunk


def _whole_groups(n: int) -> int:
    return -(-n // GROUP) * GROUP


def _whole_rows(values: Tensor) -> Tensor:
    """Return rows (n, n_dims) with zeros below, so that there are whole groups of them.

    Products of fewer rows are added up in another order, so that a spot alone would not be what it is in company.
    """
    return pad(values, (0, 0, 0, _whole_groups(len(values)) - len(values)))


def finite(embedding: Tensor) -> Tensor:
    """Return embeddings, or refuse NaN and infinite values, and those whose length overflows."""
    if not _have_lengths(embedding):
        raise ValueError(OVERFLOW if embedding.isfinite().all() else NOT_FINITE)
    return embedding


def _looked_at(embedding: Tensor) -> Tensor:
    """Tell whether embeddings are finite; on the CPU others are refused at once, and a GPU is not waited for."""
    if embedding.device.type == "cuda":
        return _have_lengths(embedding)
    finite(embedding)
    return torch.tensor(True)


def _have_lengths(embedding: Tensor) -> Tensor:
    return torch.linalg.vector_norm(embedding, dim=1).isfinite().all()


def on_device(values: NDArray[np.float32], device: torch.device) -> NDArray[np.float32] | Tensor:
    """Return queries where they are compared: on a device, but in memory for the CPU, and for MPS."""
    return values if device.type in ("cpu", "mps") else as_tensor(values).to(device)


def kept_on_device(values: Any, device: torch.device) -> Any:
    """Return keys on a GPU, where they are small beside what is free there; else as they are, to pass by in blocks."""
    is_small = in_memory(values) and fits(4 * values.shape[0] * values.shape[1], device)
    return as_tensor(values).to(device) if is_small else values


def rows_of(values: Any, rows: NDArray[np.intp]) -> Any:
    """Return rows, in ascending order, of embeddings; those on a device stay there, those on disk are read later."""
    if isinstance(values, Tensor):
        return values[torch.from_numpy(rows).to(values.device)]
    return some_rows(values, rows)


def as_tensor(values: Any) -> Tensor:
    """Return an array as a float32 tensor; what PyTorch refuses, or would warn of, is copied."""
    if isinstance(values, np.ndarray):
        is_taken = values.flags.writeable and values.dtype.isnative and min(values.strides, default=0) >= 0
        values = values if is_taken else values.astype(np.float32, order="C")
    return torch.as_tensor(values, dtype=torch.float32)
