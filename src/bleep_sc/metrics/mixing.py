"""How well batches mix in an embedding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 1e-5
N_STEPS = 60


@dataclass(frozen=True)
class Mixing:
    """How well batches mix."""

    lisi: float
    """Median inverse Simpson index, from 0 (every spot among its own) to 1 (all batches everywhere
    alike, which asks for equally many spots of each)."""
    silhouette: float
    """One minus the absolute silhouette of the batches, mean over spots; from 0 to 1."""


def lisi(embedding: NDArray[np.floating], labels: NDArray[Any], *, perplexity: float = 30) -> NDArray[np.float64]:
    r"""Local inverse Simpson index (Korsunsky et al., Nature Methods 2019): how many labels a neighbourhood holds.

    The ``3 * perplexity - 1`` nearest spots are weighted by :math:`\exp(-\beta d)` of their distances :math:`d`, with
    the :math:`\beta` that gives the wanted perplexity, as in the published code; the index is one over the chance that
    two draws from them have the same label.

    Parameters
    ----------
    embedding
        (n_spots, n_dimensions).
    labels
        (n_spots,).
    perplexity
        Effective number of neighbours; at most a third of the spots.

    Returns
    -------
    (n_spots,), between 1 and the number of labels.

    Raises
    ------
    ValueError
        When ``perplexity`` is more than a third of the spots, or there is no label for every spot.

    Examples
    --------
    >>> embedding = np.random.default_rng(0).normal(size=(200, 2))
    >>> labels = np.arange(200) % 2
    >>> bool(np.median(bs.metrics.lisi(embedding, labels)) > 1.8), bool(
    ...     np.median(bs.metrics.lisi(embedding + 100 * labels[:, None], labels)) < 1.1
    ... )
    (True, True)
    """
    from sklearn.neighbors import NearestNeighbors

    n_spots = len(embedding)
    if not 1 <= perplexity <= n_spots / 3:
        raise ValueError(f"perplexity={perplexity} must lie between 1 and a third of the {n_spots} spots.")
    if len(labels) != n_spots:
        raise ValueError(f"labels= has {len(labels)} entries for {n_spots} spots: one for each is needed.")
    distances, neighbors = NearestNeighbors(n_neighbors=int(3 * perplexity)).fit(embedding).kneighbors(embedding)
    # A spot is no neighbour of its own. Among duplicates it need not be the first that is found, nor be found at all.
    itself = neighbors == np.arange(n_spots)[:, None]
    itself[~itself.any(axis=1), -1] = True
    distances, neighbors = (each[~itself].reshape(n_spots, -1) for each in (distances, neighbors))
    weights = _weights(distances, np.log(perplexity))
    _, codes = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    one_hot = np.eye(codes.max() + 1)[codes[neighbors]]  # (n_spots, n_neighbors, n_labels)
    shares = np.einsum("sn,snl->sl", weights, one_hot)
    return 1.0 / (shares**2).sum(axis=1)


def _weights(distances: NDArray[np.float64], entropy: float) -> NDArray[np.float64]:
    """Return the weights (rows sum to one) whose entropy is the wanted one, by bisection of the precision."""
    low, high = np.zeros(len(distances)), np.full(len(distances), np.inf)
    scale = distances.mean(axis=1)
    precision = 1.0 / np.where(scale > 0, scale, 1.0)
    distances = distances - distances.min(axis=1, keepdims=True)
    for _ in range(N_STEPS):
        weights = np.exp(-distances * precision[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = -np.where(weights > 0, weights * np.log(weights), 0.0).sum(axis=1)
        if np.abs(found - entropy).max() < TOLERANCE:
            break
        wide = found > entropy
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
        precision = np.where(np.isinf(high), precision * 2, (low + np.where(np.isinf(high), 0, high)) / 2)
    return weights


def batch_mixing(embedding: NDArray[np.floating], labels: NDArray[Any], *, perplexity: float = 30) -> Mixing:
    """Score how well batches mix in an embedding (n_spots, n_dimensions), as single-cell benchmarks do.

    Raises
    ------
    ValueError
        With a single batch.

    Examples
    --------
    >>> embedding = np.random.default_rng(0).normal(size=(200, 2))
    >>> bool(bs.metrics.batch_mixing(embedding, np.arange(200) % 2).lisi > 0.8)
    True
    """
    from sklearn.metrics import silhouette_samples

    n_labels = len(np.unique(np.asarray(labels).astype(str)))
    if n_labels < 2:
        raise ValueError("labels= names a single batch: there is nothing to mix.")
    median = float(np.median(lisi(embedding, labels, perplexity=perplexity)))
    silhouette = 1 - np.abs(silhouette_samples(embedding, labels)).mean()
    return Mixing(lisi=(median - 1) / (n_labels - 1), silhouette=float(silhouette))
