"""Spots that have one near twin in another group: arrays in, numbers of twins out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc._arrays.blocks import dense

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MAX_SPOTS = 100
"""Spots of every slide of which a twin is looked for."""
N_GENES, MIN_GENES, N_FEATURES = 500, 20, 64
ALONE = {True: 0.02, False: 0.35}
"""How much nearer a twin is than the next spot: of features, which are copied as they are, and of counts."""


def near_twins(
    values: NDArray[Any], slides: NDArray[np.str_], groups: NDArray[np.str_], *, relative: bool, random_state: int = 0
) -> dict[str, tuple[int, int]]:
    """Return for every slide how many spots have a twin in another group, and of how many that were looked at."""
    if not len(values):
        return {}
    values = _standardised(values, slides, relative=relative)
    if values.shape[1] < 3:  # in one or two dimensions some spot is always near
        return {}
    random, result = np.random.default_rng(random_state), {}
    for slide in np.unique(slides):
        rows = np.flatnonzero(slides == slide)
        rows = np.sort(random.permutation(rows)[:MAX_SPOTS])
        others = np.flatnonzero(groups != groups[rows[0]])
        if len(others) > 1:
            nearest = np.partition(_distances(values[rows], values[others]), 1, axis=1)[:, :2]
            result[str(slide)] = int((nearest[:, 0] < ALONE[relative] * nearest[:, 1]).sum()), len(rows)
    return result


def profiles(counts: Any) -> Floats:
    """Return spots by the counts of their most variable genes; none where there are few genes."""
    counts = sparse.csr_matrix(counts, dtype=np.float64)
    if counts.shape[1] < MIN_GENES:
        return np.empty((counts.shape[0], 0))
    mean = np.asarray(counts.mean(axis=0)).ravel()
    variance = np.asarray(counts.multiply(counts).mean(axis=0)).ravel() - mean**2
    return np.asarray(dense(counts[:, np.argsort(-variance, kind="stable")[:N_GENES]]))


def colours(patches: NDArray[Any]) -> Floats:
    """Return means and covariances of the colours of patches, which are the same however a patch is turned."""
    moments = np.empty((len(patches), 9))
    upper = np.triu_indices(3)
    for row, patch in enumerate(patches):
        pixels = np.asarray(patch)[..., :3].reshape(-1, 3).astype(np.float32)
        mean = pixels.mean(axis=0)
        moments[row] = np.r_[mean, (pixels.T @ pixels / len(pixels) - np.outer(mean, mean))[upper]]
    return moments


def _standardised(values: NDArray[Any], slides: NDArray[np.str_], *, relative: bool) -> Floats:
    values = np.nan_to_num(np.asarray(values, dtype=np.float64).reshape(len(values), -1))
    if not relative:  # what was added to all counts, or to all of a gene, is taken off; lengths take off a factor
        for slide in np.unique(slides):
            values[slides == slide] -= values[slides == slide].mean(axis=0)
    spread = values.std(axis=0)
    varies = np.flatnonzero(spread > 1e-4 * spread.max(initial=0.0))
    if relative:
        varies = varies[:: max(1, len(varies) // N_FEATURES)]
    values = (values[:, varies] - values[:, varies].mean(axis=0)) / spread[varies]
    if relative:
        return values
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1.0)


def _distances(a: Floats, b: Floats) -> Floats:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0.0))
