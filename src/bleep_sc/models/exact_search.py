"""Finding the nearest reference spots by comparing every query with every key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, normalize, pad

from bleep_sc._arrays.blocks import row_blocks, slices

if TYPE_CHECKING:
    from numpy.typing import NDArray


Metric = Literal["cosine", "euclidean"]

CHUNK = 8192
"""Keys that are compared at once, with an eighth as many queries."""
GROUP = 16
"""Keys of which the most similar one is found first."""
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

    Keys pass by once, in blocks, and the best are kept of every query: memory is bounded by ``CHUNK``.
    """
    query = finite(as_tensor(query))
    n_queries = len(query)
    query = _whole_rows(normalize(query) if metric == "cosine" else query)
    best = query.new_full((n_queries, n_neighbors), -torch.inf)
    index = torch.zeros(n_queries, n_neighbors, dtype=torch.int32, device=query.device)
    chunk = _whole_groups(min(CHUNK, keys.shape[0]))
    n_rows = _whole_groups(max(1, min(chunk // 8, n_queries)))
    room = query.new_empty(n_rows * chunk)  # new memory for every product would take longer than it
    center = None
    for rows, block in row_blocks(keys):
        for start in range(0, len(block), chunk):
            part = finite(as_tensor(block[start : start + chunk]).to(query.device))
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
                _keep_the_best(best[some], index[some], similarity, rows.start + start)
    if not best.isfinite().all():
        raise ValueError(OVERFLOW)
    best, order = best.sort(dim=1, descending=True, stable=True)
    if metric == "euclidean":
        best = (best - query[:n_queries].square().sum(dim=1, keepdim=True) / 2).clamp(max=0)
    return Neighbors(best, index.gather(1, order))


def _whole_groups(n: int) -> int:
    return -(-n // GROUP) * GROUP


def _whole_rows(values: Tensor) -> Tensor:
    """Return rows (n, n_dims) with zeros below, so that there are whole groups of them.

    Products of fewer rows are added up in another order, so that a spot alone would not be what it is in company.
    """
    return pad(values, (0, 0, 0, _whole_groups(len(values)) - len(values)))


def _keep_the_best(best: Tensor, index: Tensor, similarity: Tensor, offset: int) -> None:
    """Keep what is more similar among some keys, (b, n), instead of the least of the best so far, (b, n_neighbors).

    What is not below that least is found by the maxima of groups of keys: the fewest are looked into. The best are in
    the order of the keys, which tells which of two that are alike comes first.
    """
    n_neighbors, width = best.shape[1], similarity.shape[1] // GROUP
    similarity = similarity[: len(best)]
    groups = None
    if width > n_neighbors:
        largest = max_pool1d(similarity.unsqueeze(1), GROUP).squeeze(1)  # (b, width)
        # So many are at least as similar.
        at_least = best if offset else largest.topk(n_neighbors, dim=1, sorted=False).values
        least = at_least.amin(dim=1)
        groups = (largest >= least[:, None]).flatten().nonzero().squeeze(1)
    if groups is None or len(groups) > 4 * n_neighbors * len(best):  # too few keys, or too many that are alike
        values, columns = _first_best(similarity, min(n_neighbors, similarity.shape[1]))
    else:
        members, row = similarity.view(-1, GROUP).index_select(0, groups), groups // width  # (n_groups, GROUP)
        found = (members >= least[row, None]).flatten().nonzero().squeeze(1)
        group, member = found // GROUP, found % GROUP
        column = groups[group] % width * GROUP + member
        values, columns = _side_by_side(row[group], members.flatten()[found], column, len(best))
    columns = columns.int() + offset
    if offset or values.shape[1] < n_neighbors:
        values, columns = torch.cat([best, values], dim=1), torch.cat([index, columns], dim=1)
    best[:], kept = _first_best(values, n_neighbors)
    index[:] = columns.gather(1, kept)


def _first_best(values: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the n largest of every row, (b, n), and where they are, in the order in which they stand.

    Of equal values the first ones are taken, which ``topk`` does not promise.
    """
    least = values.topk(n, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
    larger, equal = values > least, values == least
    larger |= equal & (equal.cumsum(dim=1) <= n - larger.sum(dim=1, keepdim=True))
    columns = larger.nonzero()[:, 1].view(len(values), n)
    return values.gather(1, columns), columns


def _side_by_side(row: Tensor, values: Tensor, columns: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """Return values and columns, sorted by row, as one row each, (n_rows, n_most), filled up with -inf."""
    count = torch.bincount(row, minlength=n_rows)
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    n_most = int(count.max())
    of_rows, columns_of_rows = values.new_full((n_rows, n_most), -torch.inf), columns.new_zeros(n_rows, n_most)
    of_rows[row, place], columns_of_rows[row, place] = values, columns
    return of_rows, columns_of_rows


def finite(embedding: Tensor) -> Tensor:
    """Return embeddings, or refuse NaN and infinite values, and those whose length overflows."""
    if not torch.linalg.vector_norm(embedding, dim=1).isfinite().all():
        if not embedding.isfinite().all():
            raise ValueError("The embeddings hold NaN or infinite values, which are similar to nothing.")
        raise ValueError(OVERFLOW)
    return embedding


def as_tensor(values: Any) -> Tensor:
    """Return an array as a float32 tensor; what PyTorch refuses, or would warn of, is copied."""
    if isinstance(values, np.ndarray):
        is_taken = values.flags.writeable and values.dtype.isnative and min(values.strides, default=0) >= 0
        values = values if is_taken else values.astype(np.float32, order="C")
    return torch.as_tensor(values, dtype=torch.float32)
