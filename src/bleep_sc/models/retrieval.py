"""Query-reference imputation: find the nearest reference spots, average their expression."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from bleep_sc._checks import dense

Metric = Literal["cosine", "euclidean"]
Weighting = Literal["uniform", "softmax"]
Means = Callable[[Tensor, Tensor], NDArray[np.float32]]
TABLE_BYTES, GENES = 2**28, 1024
"""Expression of a reference that is averaged at once, and genes of one that is larger."""


def nearest(
    query: NDArray[np.float32] | Tensor,
    keys: NDArray[np.float32] | Tensor,
    *,
    n_neighbors: int = 50,
    metric: Metric = "cosine",
    chunk: int = 8192,
) -> tuple[Tensor, Tensor]:
    """Find the most similar keys of every query, exactly.

    Memory is bounded by ``chunk``: queries and keys pass by in blocks, and the best are kept.

    Parameters
    ----------
    query, keys
        Embeddings, (n_query, d) and (n_keys, d).
    n_neighbors
        How many keys to return for a query.
    metric
        ``"cosine"``: the similarity is the cosine. ``"euclidean"``: minus half the squared distance.
    chunk
        Keys that are compared at once, with a quarter as many queries.

    Returns
    -------
    Similarities and indices of the keys, (n_query, n_neighbors) each, best first.
    """
    query, keys = torch.as_tensor(query, dtype=torch.float32), torch.as_tensor(keys, dtype=torch.float32)
    if not 1 <= n_neighbors <= len(keys):
        raise ValueError(f"n_neighbors={n_neighbors} must lie between 1 and the size of the reference, {len(keys)}.")
    similarity = torch.empty(len(query), n_neighbors)
    index = torch.empty(len(query), n_neighbors, dtype=torch.int32)
    n_rows = max(1, chunk // 4)
    for start in range(0, len(query), n_rows):
        rows = slice(start, start + n_rows)
        similarity[rows], index[rows] = _nearest_block(query[rows], keys, n_neighbors, metric, chunk)
    return similarity, index


def _nearest_block(query: Tensor, keys: Tensor, n_neighbors: int, metric: Metric, chunk: int) -> tuple[Tensor, Tensor]:
    query = normalize(query) if metric == "cosine" else query
    best, index = query.new_empty(len(query), 0), torch.empty(len(query), 0, dtype=torch.long, device=query.device)
    for start in range(0, len(keys), chunk):
        block = keys[start : start + chunk]
        # Keys are normalised block by block, since a copy of a large reference might not fit.
        similarity = query @ normalize(block).T if metric == "cosine" else -torch.cdist(query, block).square() / 2
        found, columns = similarity.topk(min(n_neighbors, len(block)), dim=1)  # (b, k)
        best, index = torch.cat([best, found], dim=1), torch.cat([index, columns + start], dim=1)
        if start:
            best, kept = best.topk(min(n_neighbors, best.shape[1]), dim=1)
            index = index.gather(1, kept)
    return best, index


def neighbor_weights(similarity: Tensor, weights: Weighting = "uniform", temperature: float = 0.1) -> Tensor:
    """Weigh the neighbours of every query; (n_query, n_neighbors), rows sum to one.

    ``"uniform"`` is the plain mean of the paper, ``"softmax"`` the softmax of ``similarity / temperature``.
    """
    if weights == "uniform":
        return torch.full_like(similarity, 1 / similarity.shape[1])
    if weights == "softmax":
        return torch.softmax(similarity / temperature, dim=1)
    raise ValueError(f"weights={weights!r} is not known; use 'uniform' or 'softmax'.")


def reweighted(weights: Tensor, index: Tensor, of_keys: NDArray[np.float32]) -> Tensor:
    """Multiply the weights of the neighbours by what every key counts, (n_keys,); rows sum to one again."""
    product = weights * torch.as_tensor(of_keys)[index.long().cpu()].to(weights)
    return product / product.sum(dim=1, keepdim=True)


def mean_similarity(similarity: Tensor, weights: Tensor) -> NDArray[np.float32]:
    """Return how similar the neighbours of every query are, by their weights, (n_query,)."""
    return (similarity * weights).sum(dim=1).cpu().float().numpy()


def average(index: Tensor, weights: Tensor, values: Any, *, block: int | None = None) -> NDArray[np.float32]:
    """Average the values of the neighbours.

    Parameters
    ----------
    index, weights
        Neighbours of every query and their weights, (n_query, n_neighbors).
    values
        Expression of the reference, (n_keys, n_genes), dense or sparse.
    block
        Genes that are held dense at once; None is all of them up to 256 MB, and 1024 beyond.

    Returns
    -------
    Weighted means, (n_query, n_genes).
    """
    n_keys, n_genes = values.shape
    if block is None:
        block = max(n_genes, 1) if 4 * n_keys * n_genes <= TABLE_BYTES else GENES
    result = np.empty((len(index), n_genes), dtype=np.float32)
    for rows, columns, mean in averages(index, weights, values, range(0, n_genes + block, block)):
        result[rows, columns] = mean
    return result


def variance(index: Tensor, weights: Tensor, values: Any, mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weighted variance among the neighbours of every query, (n_query, n_genes), given their mean."""
    squares = values.multiply(values).tocsr() if sparse.issparse(values) else np.square(values)
    return np.maximum(average(index, weights, squares) - np.square(mean), 0)


def averages(
    index: Tensor, weights: Tensor, values: Any, edges: Sequence[int], *, n_rows: int = 4096
) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """Average the values of the neighbours block by block, for results that do not fit into memory.

    ``edges`` are where blocks of genes begin and end; a block of genes is complete before the next one begins. Gives
    rows, columns and their means.
    """
    columns = values.tocsc() if sparse.issparse(values) and len(edges) > 2 else values
    index, weights = index.cpu(), weights.cpu().float()
    for start, end in pairwise(edges):
        block = columns[:, start:end]
        if not block.shape[1]:
            continue
        average_rows = _of_sparse if sparse.issparse(block) and 4 * np.prod(block.shape) > TABLE_BYTES else _of_table
        means = average_rows(block)
        for first in range(0, len(index), n_rows):
            rows = slice(first, min(first + n_rows, len(index)))
            yield rows, slice(start, start + block.shape[1]), means(index[rows], weights[rows])


def _of_table(block: Any) -> Means:
    """Return what averages rows of a block (n_keys, n_genes), held dense."""
    table = torch.from_numpy(np.ascontiguousarray(dense(block)))

    def means(index: Tensor, weights: Tensor) -> NDArray[np.float32]:
        return embedding_bag(index, table, per_sample_weights=weights, mode="sum").numpy()

    return means


def _of_sparse(block: Any) -> Means:
    """Return what averages rows of a block (n_keys, n_genes) that is too large to be held dense."""
    rows_of = block.tocsr()

    def means(index: Tensor, weights: Tensor) -> NDArray[np.float32]:
        return dense(weight_matrix(index, weights, block.shape[0]) @ rows_of)

    return means


def weight_matrix(index: Tensor, weights: Tensor, n_keys: int) -> sparse.csr_matrix:
    """Neighbours and weights as one sparse matrix, (n_query, n_keys), rows sum to one."""
    n_query, n_neighbors = index.shape
    matrix = sparse.csr_matrix(
        (
            weights.cpu().float().numpy().flatten(),  # copies, since the matrix sorts what it is given
            index.cpu().numpy().flatten(),
            np.arange(0, n_query * n_neighbors + 1, n_neighbors),
        ),
        shape=(n_query, n_keys),
    )
    matrix.sort_indices()
    return matrix


def impute(
    query: NDArray[np.float32] | Tensor,
    keys: NDArray[np.float32] | Tensor,
    values: Any,
    *,
    n_neighbors: int = 50,
    weights: Weighting = "uniform",
    temperature: float = 0.1,
    metric: Metric = "cosine",
) -> tuple[NDArray[np.float32], sparse.csr_matrix]:
    """Read expression off the nearest reference spots (Xie et al., NeurIPS 2023, section 3.3).

    Parameters
    ----------
    query
        Image embeddings of the query spots, (n_query, d).
    keys
        Expression embeddings of the reference spots, (n_keys, d).
    values
        Expression of the reference spots, (n_keys, n_genes), dense or sparse.
    n_neighbors, metric
        See :func:`nearest`.
    weights, temperature
        See :func:`neighbor_weights`.

    Returns
    -------
    The predicted expression, (n_query, n_genes), and the weights behind it, (n_query, n_keys).
    """
    similarity, index = nearest(query, keys, n_neighbors=n_neighbors, metric=metric)
    weight = neighbor_weights(similarity, weights, temperature)
    return average(index, weight, values), weight_matrix(index, weight, len(keys))
