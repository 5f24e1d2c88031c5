"""How well a perfect prediction could correlate with counts that are as noisy as they are."""

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bleep_sc._arrays.blocks import slices
from bleep_sc.metrics.correlation import pearson

GENES_AT_ONCE = 4096
N_SPLITS = 10
FEWEST = 3
"""Spots below which there is no correlation to speak of."""
N_DEPTHS, FEW = 32, 12
"""Depths at which logarithms are expected, and counts up to which their chances are summed."""


def reliability(
    counts: sparse.spmatrix | sparse.sparray | NDArray[np.number],
    *,
    target_sum: float = 1e4,
    random_state: int = 0,
) -> NDArray[np.float64]:
    r"""Correlation that a second measurement of the same spots would have with the first, from counting noise alone.

    Counts are split in halves by binomial thinning, each half is normalised to ``target_sum`` and log1p, the halves are
    correlated over spots, and the correlation :math:`r` of the half is brought to full depth by Spearman and Brown's
    :math:`2 r / (1 + r)`. Mean over ten splits. Noise of capture, sectioning and registration is not in it. The second
    measurement is as deep as the first in every spot, which is part of what they share: the logarithm of few counts is
    smaller on average.

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
    (n_genes,), between 0 and 1; 0 where the halves do not agree, NaN for a gene without counts, and for fewer than
    three spots with counts: two correlate perfectly whatever they are.

    Raises
    ------
    ValueError
        When ``counts`` are no whole numbers, or negative.

    Examples
    --------
    A gene that differs between spots is measured again alike, one that does not is noise:

    >>> random = np.random.default_rng(0)
    >>> level = np.where(np.arange(200) < 100, 5.0, 50.0)
    >>> counts = np.column_stack([random.poisson(level), random.poisson(20.0, 200), random.poisson(5000.0, 200)])
    >>> (bs.metrics.reliability(counts)[:2] > 0.5).tolist()
    [True, False]
    """
    return _reliability(counts, target_sum, random_state, knows_depth=True)


def noise_ceiling(
    counts: sparse.spmatrix | sparse.sparray | NDArray[np.number],
    *,
    target_sum: float = 1e4,
    random_state: int = 0,
) -> NDArray[np.float64]:
    r"""Highest correlation with the measured expression that a prediction without any noise could reach.

    The square root of :func:`reliability`, whose arguments it takes, but for what halves share that do not differ in
    anything but the depth of their spots: a prediction of expression does not know how deep a spot was sequenced. With
    the mean share :math:`p_g` of a gene and Poisson counts, that is the variance over spots of
    :math:`\mathrm{E} \log(1 + s \, k / n)`, where :math:`k` has the mean :math:`n p_g` in a half of :math:`n` counts
    and :math:`s` is ``target_sum``; it is taken off the covariance of the halves. Where nothing but the tissue decides
    on the depth, and few counts are found, the result is too low instead: .41 for .46 at 300 counts a spot.

    Examples
    --------
    >>> counts = np.random.default_rng(0).poisson([[5.0, 900.0], [50.0, 900.0]] * 50)
    >>> ceiling = bs.metrics.noise_ceiling(counts)
    >>> bool(ceiling[0] > 0.9)
    True
    """
    return np.sqrt(_reliability(counts, target_sum, random_state, knows_depth=False))


def _reliability(
    counts: sparse.spmatrix | sparse.sparray | NDArray[np.number],
    target_sum: float,
    random_state: int,
    *,
    knows_depth: bool,
) -> NDArray[np.float64]:
    native = counts.dtype.newbyteorder("=")  # scipy has no other
    counts = sparse.csr_matrix(counts if counts.dtype.isnative else counts.astype(native))
    with np.errstate(invalid="ignore"):
        whole = counts.data.astype(np.int64)
    if np.any(whole != counts.data) or np.any(whole < 0):
        raise ValueError("counts= must be raw counts: whole numbers, none negative.")
    counts = counts[np.asarray(counts.sum(axis=1)).ravel() > 0]  # an empty spot was not measured
    whole = counts.data.astype(np.int64)
    seen = np.asarray(counts.sum(axis=0)).ravel()
    if counts.shape[0] < FEWEST:
        return np.full(counts.shape[1], np.nan)
    shared = np.zeros(counts.shape[1]) if knows_depth else _depth_variance(counts, target_sum)
    random = np.random.default_rng(random_state)
    total = np.zeros(counts.shape[1])
    for _ in range(N_SPLITS):
        half = random.binomial(whole, 0.5)
        first = _log_normalised(counts, half, target_sum)
        second = _log_normalised(counts, whole - half, target_sum)
        for genes in slices(counts.shape[1], GENES_AT_ONCE):
            sides = first[:, genes].toarray(), second[:, genes].toarray()
            spread = sides[0].std(axis=0) * sides[1].std(axis=0)
            lost = np.divide(shared[genes], spread, out=np.zeros_like(spread), where=spread > 0)
            total[genes] += np.nan_to_num(pearson(*sides)) - lost
    r = np.maximum(total / N_SPLITS, 0.0)
    return np.where(seen > 0, 2 * r / (1 + r), np.nan)


def _depth_variance(counts: sparse.csr_matrix, target_sum: float) -> NDArray[np.float64]:
    """Return how much the expected logarithm of every gene varies over spots for their depth alone, (n_genes,).

    Expected at 32 quantiles of the depth of halves: exactly where few counts are expected, else to second order.
    """
    depth = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    share = np.asarray(counts.sum(axis=0), dtype=np.float64).ravel() / depth.sum()
    n = np.quantile(depth / 2, (np.arange(N_DEPTHS) + 0.5) / N_DEPTHS)[:, None]
    result = np.empty(len(share))
    for genes in slices(len(share), GENES_AT_ONCE):
        expected, linear = n * share[genes], 1 + target_sum * share[genes]  # (32, n_genes), (n_genes,)
        smooth = np.log(linear) - (target_sum / n / linear) ** 2 * expected / 2
        chance, exact = np.exp(-expected), np.zeros_like(expected)
        for k in range(1, 4 * FEW):
            chance = chance * expected / k
            exact += chance * np.log1p(target_sum * k / n)
        logs = np.where(expected < FEW, exact, smooth)
        result[genes] = logs.var(axis=0)
    return result


def _log_normalised(counts: sparse.csr_matrix, data: NDArray[np.int64], target_sum: float) -> sparse.csc_matrix:
    half = sparse.csr_matrix((data.astype(np.float64), counts.indices, counts.indptr), shape=counts.shape)
    depth = np.asarray(half.sum(axis=1)).ravel()
    scale = np.divide(target_sum, depth, out=np.zeros_like(depth), where=depth > 0)
    return sparse.csc_matrix(sparse.diags(scale) @ half).log1p()
