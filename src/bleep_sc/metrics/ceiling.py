"""How well a perfect prediction could correlate with counts that are as noisy as they are."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bleep_sc._arrays.blocks import slices
from bleep_sc.metrics.correlation import pearson

GENES_AT_ONCE = 4096
N_SPLITS = 10


def reliability(
    counts: sparse.spmatrix | sparse.sparray | NDArray[np.number],
    *,
    target_sum: float = 1e4,
    random_state: int = 0,
) -> NDArray[np.float64]:
    r"""Correlation that a second measurement of the same spots would have with the first, from counting noise alone.

    Counts are split in halves by binomial thinning, each half is normalised to ``target_sum`` and log1p, the halves are
    correlated over spots, and the correlation :math:`r` of the half is brought to full depth by Spearman and Brown's
    :math:`2 r / (1 + r)`. Mean over ten splits. Noise of capture, sectioning and registration is not in it.

    Halves of few counts are no smaller copies of the whole, since the logarithm bends: below some 5000 counts a spot
    the result is too high (``benchmarks/noise_ceiling.py`` measures by how much).

    Parameters
    ----------
    counts
        Raw counts of one slide, (n_spots, n_genes).
    target_sum
        Of the normalisation.
    random_state
        Of the splits.

    Returns
    -------
    (n_genes,), between 0 and 1; 0 where the halves do not agree, NaN for a gene without counts.

    Examples
    --------
    A gene that differs between spots is measured again alike, one that does not is noise:

    >>> random = np.random.default_rng(0)
    >>> level = np.where(np.arange(200) < 100, 5.0, 50.0)
    >>> counts = np.column_stack([random.poisson(level), random.poisson(20.0, 200), random.poisson(5000.0, 200)])
    >>> (bs.metrics.reliability(counts)[:2] > 0.5).tolist()
    [True, False]
    """
    counts = sparse.csr_matrix(counts)
    whole = counts.data.astype(np.int64)
    if np.any(whole != counts.data) or np.any(whole < 0):
        raise ValueError("counts= must be raw counts: whole numbers, none negative.")
    random = np.random.default_rng(random_state)
    total = np.zeros(counts.shape[1])
    for _ in range(N_SPLITS):
        half = random.binomial(whole, 0.5)
        first = _log_normalised(counts, half, target_sum)
        second = _log_normalised(counts, whole - half, target_sum)
        total += np.concatenate(
            [
                np.nan_to_num(pearson(first[:, genes].toarray(), second[:, genes].toarray()))
                for genes in slices(counts.shape[1], GENES_AT_ONCE)
            ]
        )
    r = np.maximum(total / N_SPLITS, 0.0)
    seen = np.asarray(counts.sum(axis=0)).ravel() > 0
    return np.where(seen, 2 * r / (1 + r), np.nan)


def noise_ceiling(
    counts: sparse.spmatrix | sparse.sparray | NDArray[np.number],
    *,
    target_sum: float = 1e4,
    random_state: int = 0,
) -> NDArray[np.float64]:
    """Highest correlation with the measured expression that a prediction without any noise could reach.

    The square root of :func:`reliability`, whose arguments it takes.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson([[5.0, 900.0], [50.0, 900.0]] * 50)
    >>> ceiling = bs.metrics.noise_ceiling(counts)
    >>> bool(ceiling[0] > 0.9)
    True
    """
    return np.sqrt(reliability(counts, target_sum=target_sum, random_state=random_state))


def _log_normalised(counts: sparse.csr_matrix, data: NDArray[np.int64], target_sum: float) -> sparse.csc_matrix:
    half = sparse.csr_matrix((data.astype(np.float64), counts.indices, counts.indptr), shape=counts.shape)
    depth = np.asarray(half.sum(axis=1)).ravel()
    scale = np.divide(target_sum, depth, out=np.zeros_like(depth), where=depth > 0)
    return sparse.csc_matrix(sparse.diags(scale) @ half).log1p()
