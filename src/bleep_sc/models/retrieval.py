"""Query-reference imputation: find the nearest reference spots, average their expression."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn.functional import embedding_bag

from bleep_sc._arrays.blocks import dense, in_memory, row_blocks, slices, squares
from bleep_sc.models.exact_search import Metric, as_tensor
from bleep_sc.models.on_device import CPU, fetched, fits, one_behind
from bleep_sc.models.products import dense_tensor
from bleep_sc.models.search import Index, search
from bleep_sc.models.weighted_sums import weighted_sums

Means = Callable[[Tensor, Tensor], Callable[[], Tensor]]
TABLE_BYTES, GENES = 2**28, 1024
"""Expression of a reference that is averaged at once, and genes of one that is larger."""
SPARSE = 0.1
"""Share of values other than zero below which sparse rows are summed faster than dense ones."""
COMPARED = 8192
"""Pairs of a query and a key that was found for it that are compared at once."""
RESULT_BYTES = 2**29
"""Means that are held while expression that is not in memory passes by."""


def nearest(
    query: NDArray[np.float32] | Tensor,
    keys: Any,
    *,
    n_neighbors: int = 50,
    metric: Metric = "cosine",
    index: Index = "exact",
) -> tuple[Tensor, Tensor]:
    """Find the most similar keys of every query.

    Parameters
    ----------
    query, keys
        Embeddings, (n_query, d) and (n_keys, d). Keys need not be in memory: a memory map, a zarr array or an HDF5
        dataset passes by in blocks.
    n_neighbors
        How many keys to return for a query.
    metric
        ``"cosine"``: the similarity is the cosine. ``"euclidean"``: minus half the squared distance.
    index
        ``"exact"`` compares every query with every key, some at a time. ``"faiss"`` holds all keys in
        an index of FAISS. From 100,000 keys on this is an inverted file, whose search is approximate: as many of its
        lists are searched as find 95 % of the exact neighbours of 256 queries, and the share is logged.

    Returns
    -------
    Similarities and indices of the keys, (n_query, n_neighbors) each, best first. Of keys that are alike those of the
    lower index come first, whichever other queries there are (with FAISS: up to 16 that are alike).

    Raises
    ------
    ImportError
        When ``index="faiss"`` and FAISS is not installed.
    ValueError
        When ``n_neighbors`` exceeds the keys, or embeddings are not finite.

    Examples
    --------
    >>> keys = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], dtype=np.float32)
    >>> similarity, index = bs.models.retrieval.nearest(keys[:1], keys, n_neighbors=2)
    >>> index.tolist()
    [[0, 2]]
    """
    found = search(query, keys, n_neighbors=n_neighbors, metric=metric, index=index)
    return found.similarity, found.index


def neighbor_weights(similarity: Tensor) -> Tensor:
    """Weigh the neighbours of every query alike, as the paper does; (n_query, n_neighbors), rows sum to one."""
    return torch.full_like(similarity, 1 / similarity.shape[1])


def distance_weights(query: NDArray[np.float32] | Tensor, keys: Any, index: Tensor) -> Tensor:
    r"""Weigh the neighbours of every query by how near they are, as the public code of BLEEP can.

    The weights are :math:`\exp(-(d^2 - d_0^2 + 1))` of the distances :math:`d` of embeddings as they are, with
    :math:`d_0` that of the first neighbour, over their sum: :math:`d_0` and 1 cancel. With the lengths that embeddings
    have, differences of :math:`d^2` are large, and the nearest one or two have nearly all the weight.

    Parameters
    ----------
    query, keys
        Embeddings, (n_query, d) and (n_keys, d); keys need not be in memory.
    index
        Neighbours of every query, (n_query, n_neighbors).

    Returns
    -------
    (n_query, n_neighbors), rows sum to one.
    """
    return torch.softmax(-compared(query, keys, index, lambda a, b: (a - b).square().sum(dim=1)), dim=1)


def compared(
    query: NDArray[np.float32] | Tensor, keys: Any, index: Tensor, compare: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Compare queries, (n_query, d), with the keys that were found for them, which pass by once.

    ``compare`` takes pairs, (p, d) and (p, d), and returns (p,). Returns (n_query, k), as ``index``, and where that is.
    """
    result = torch.empty(index.shape, dtype=torch.float32, device=index.device)
    query, flat = as_tensor(query).to(index.device), index.flatten().long()
    if isinstance(
        keys, Tensor
    ):  # there already: which are in a block is not asked, for which a GPU would be waited for
        for pairs in torch.arange(len(flat), device=index.device).split(COMPARED):
            result.view(-1)[pairs] = compare(query[pairs // index.shape[1]], keys[flat[pairs]])
        return result
    for rows, block in row_blocks(keys):
        here = as_tensor(block).to(index.device)
        for pairs in ((flat >= rows.start) & (flat < rows.stop)).nonzero().squeeze(1).split(COMPARED):
            owner = pairs // index.shape[1]
            result.view(-1)[pairs] = compare(query[owner], here[flat[pairs] - rows.start])
    return result


def reweighted(weights: Tensor, index: Tensor, of_keys: NDArray[np.float32]) -> Tensor:
    """Multiply the weights of the neighbours by what every key counts, (n_keys,); rows sum to one again."""
    product = weights * torch.as_tensor(of_keys).to(weights)[index.long()]
    return product / product.sum(dim=1, keepdim=True)


def mean_similarity(similarity: Tensor, weights: Tensor) -> NDArray[np.float32]:
    """Return how similar the neighbours of every query are, by their weights, (n_query,)."""
    return (similarity * weights).sum(dim=1).cpu().float().numpy()


def average(index: Tensor, weights: Tensor, values: Any) -> NDArray[np.float32]:
    """Average the values of the neighbours.

    Parameters
    ----------
    index, weights
        Neighbours of every query and their weights, (n_query, n_neighbors).
    values
        Expression of the reference, (n_keys, n_genes), dense or sparse, in memory or not.

    Returns
    -------
    Weighted means, (n_query, n_genes).
    """
    n_keys, n_genes = values.shape
    block = max(n_genes, 1) if 4 * n_keys * n_genes <= TABLE_BYTES else GENES
    result = np.empty((len(index), n_genes), dtype=np.float32)
    for rows, columns, mean in averages(index, weights, values, range(0, n_genes + block, block)):
        result[rows, columns] = mean
    return result


def variance(index: Tensor, weights: Tensor, values: Any, mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weighted variance among the neighbours of every query, (n_query, n_genes), given their mean."""
    return np.maximum(average(index, weights, squares(values)) - np.square(mean), 0)


def averages(
    index: Tensor, weights: Tensor, values: Any, edges: Sequence[int], *, n_rows: int = 4096
) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """Average the values of the neighbours block by block, for results that do not fit into memory.

    ``edges`` are where blocks of genes begin and end; a block of genes is complete before the next one begins. Gives
    rows, columns and their means. What fits in there is averaged where the neighbours lie, and what is sparse is made
    dense on a GPU. Values that are not in memory pass by once for as many blocks as fit into 512 MB.
    """
    edges, weights = sorted({min(edge, values.shape[1]) for edge in edges}), weights.float()
    if not in_memory(values):
        yield from _averages_in_passes(index.cpu(), weights.cpu(), values, edges, n_rows)
        return
    for start, end in pairwise(edges):
        means = _means_of(values[:, start:end], index.device)
        queued = ((rows, means(index[rows], weights[rows])) for rows in slices(len(index), n_rows))
        for rows, wait in one_behind(queued) if index.is_cuda else queued:
            yield rows, slice(start, end), wait().numpy()


def _means_of(block: Any, device: torch.device) -> Means:
    """Return what averages rows of a block (n_keys, n_genes): where neighbours were found, if it is dense there.

    What that returns waits for the means, (n_rows, n_genes).
    """
    size = block.shape[0] * block.shape[1]
    is_there = fits(4 * size, device)
    if sparse.issparse(block) and not is_there and (block.nnz < SPARSE * size or 4 * size > TABLE_BYTES):
        rows_of = block.tocsr()

        def sums(index: Tensor, weights: Tensor) -> Callable[[], Tensor]:
            matrix = weight_matrix(index, weights, block.shape[0])
            return lambda: torch.from_numpy(weighted_sums(matrix, rows_of))

        return sums
    at = device if is_there else CPU
    table = dense_tensor(block, at) if is_there else as_tensor(np.ascontiguousarray(dense(block)))

    def means(index: Tensor, weights: Tensor) -> Callable[[], Tensor]:
        return fetched(embedding_bag(index.to(at), table, per_sample_weights=weights.to(at), mode="sum"))

    return means


def _averages_in_passes(
    index: Tensor, weights: Tensor, values: Any, edges: list[int], n_rows: int
) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
    """Average values that are not in memory: read rows in order, and add them to the means that they are part of."""
    matrix = weight_matrix(index, weights, values.shape[0]).tocsc()
    needed = np.diff(matrix.indptr) > 0
    widest = RESULT_BYTES // (4 * max(1, len(index)))
    while len(edges) > 1:
        n_blocks = max(1, sum(edge - edges[0] <= widest for edge in edges[1:]))
        start, end = edges[0], edges[n_blocks]
        means = np.zeros((len(index), end - start), dtype=np.float32)
        for keys, block in row_blocks(values, needed=needed):
            part = matrix[:, keys].tocsr()
            borrowers = np.flatnonzero(np.diff(part.indptr))
            for rows in slices(len(borrowers), n_rows):
                means[borrowers[rows]] += weighted_sums(part[borrowers[rows]], block[:, start:end])
        for first, last in pairwise(edges[: n_blocks + 1]):
            for rows in slices(len(index), n_rows):
                yield rows, slice(first, last), means[rows, first - start : last - start]
        edges = edges[n_blocks:]


def weight_matrix(index: Tensor, weights: Tensor, n_keys: int) -> sparse.csr_matrix:
    """Neighbours and weights as one sparse matrix, (n_query, n_keys), rows sum to one.

    A neighbour that is named twice has both weights; one without weight is none.
    """
    n_query, n_neighbors = index.shape
    matrix = sparse.csr_matrix(
        (
            weights.cpu().float().numpy().flatten(),  # copies, since the matrix sorts what it is given
            index.cpu().numpy().flatten(),
            np.arange(0, n_query * n_neighbors + 1, n_neighbors),
        ),
        shape=(n_query, n_keys),
    )
    matrix.sum_duplicates()  # which sorts, too
    matrix.eliminate_zeros()
    return matrix


def impute(
    query: NDArray[np.float32] | Tensor,
    keys: NDArray[np.float32] | Tensor,
    values: Any,
    *,
    n_neighbors: int = 50,
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

    Returns
    -------
    The predicted expression, (n_query, n_genes), and the weights behind it, (n_query, n_keys).

    Examples
    --------
    >>> keys = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], dtype=np.float32)
    >>> expression = np.array([[1.0], [3.0], [9.0]], dtype=np.float32)
    >>> predicted, weights = bs.models.retrieval.impute(keys[:1], keys, expression, n_neighbors=2)
    >>> predicted.tolist(), weights.toarray().tolist()
    ([[2.0]], [[0.5, 0.5, 0.0]])
    """
    similarity, index = nearest(query, keys, n_neighbors=n_neighbors, metric=metric)
    weight = neighbor_weights(similarity)
    return average(index, weight, values), weight_matrix(index, weight, len(keys))
