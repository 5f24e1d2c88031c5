"""How genes go together: correlation matrices, their agreement, and modules."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bleep_sc.metrics._alike import mean_over_spots


@dataclass(frozen=True)
class CorrelationAgreement:
    """How alike two correlation matrices are, over the pairs of genes that both have."""

    pearson: float
    rmse: float
    n_pairs: int


@dataclass(frozen=True)
class ModuleAgreement:
    """How alike the modules of two correlation matrices are."""

    ari: float
    """Adjusted Rand index of the modules."""
    contrast: float
    """Mean measured correlation within the predicted modules, less that between them; 0 means they are made up."""


def gene_correlation(
    values: NDArray[np.floating], *, covariate: NDArray[np.floating] | None = None
) -> NDArray[np.float64]:
    """Correlate every gene with every other over spots.

    Parameters
    ----------
    values
        (n_spots, n_genes).
    covariate
        (n_spots,): what it explains linearly is taken out first. The logarithm of the total counts takes out the
        correlation that sequencing depth brings into measured expression.

    Returns
    -------
    (n_genes, n_genes), symmetric; NaN in the rows and columns of genes that do not vary or are not finite.

    Raises
    ------
    ValueError
        When ``covariate`` is not finite, or not one number a spot.

    Examples
    --------
    >>> values = np.array([[0.0, 0.0, 3.0], [1.0, 2.0, 1.0], [2.0, 4.0, 2.0]])
    >>> bs.metrics.gene_correlation(values).round(1).tolist()
    [[1.0, 1.0, -0.5], [1.0, 1.0, -0.5], [-0.5, -0.5, 1.0]]
    """
    values = np.asarray(values, dtype=np.float64)
    known = np.where(np.isfinite(values).all(axis=0), values, 0.0)
    varies = known.max(axis=0, initial=-np.inf) > known.min(axis=0, initial=np.inf)
    centred = np.where(varies, known - mean_over_spots(known), 0.0)
    if covariate is not None:
        depth = np.asarray(covariate, dtype=np.float64)
        if depth.shape != (len(values),) or not np.isfinite(depth).all():
            raise ValueError(
                f"covariate= of shape {depth.shape} must be a finite number for each of {len(values)} spots. Drop "
                "empty spots before taking logarithms."
            )
        depth = depth - depth.mean() if len(depth) else np.zeros(1)
        if np.ptp(depth) > 0:
            before = (centred**2).sum(axis=0)
            centred = centred - np.outer(depth, depth @ centred / (depth @ depth))
            centred[:, (centred**2).sum(axis=0) <= 1e-12 * before] = 0.0
    norms = np.sqrt((centred**2).sum(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = centred / norms
    matrix = np.clip(unit.T @ unit, -1.0, 1.0)
    varies = norms > 0
    matrix[varies, varies] = 1.0
    matrix[~varies], matrix[:, ~varies] = np.nan, np.nan
    return matrix


def correlation_agreement(a: NDArray[np.floating], b: NDArray[np.floating]) -> CorrelationAgreement:
    """Compare two gene-gene correlation matrices (n_genes, n_genes) over the pairs above the diagonal.

    Examples
    --------
    >>> measured = np.array([[1.0, 0.4, 0.0], [0.4, 1.0, 0.2], [0.0, 0.2, 1.0]])
    >>> predicted = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.4], [0.0, 0.4, 1.0]])
    >>> agreement = bs.metrics.correlation_agreement(predicted, measured)
    >>> round(agreement.pearson, 3), round(agreement.rmse, 3), agreement.n_pairs
    (1.0, 0.258, 3)
    """
    if a.shape != b.shape:
        raise ValueError(
            f"The matrices have different shapes, {a.shape} and {b.shape}: they must be of the same genes."
        )
    upper = np.triu_indices(len(a), k=1)
    x, y = a[upper], b[upper]
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return CorrelationAgreement(float("nan"), float("nan"), len(x))
    return CorrelationAgreement(float(np.corrcoef(x, y)[0, 1]), float(np.sqrt(((x - y) ** 2).mean())), len(x))


def gene_modules(correlation: NDArray[np.floating], n_modules: int) -> NDArray[np.intp]:
    """Group genes by average linkage on one minus their correlation; (n_genes,) module of each, from 0.

    Examples
    --------
    >>> correlation = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> bs.metrics.gene_modules(correlation, 2).tolist()
    [0, 0, 1]
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(correlation) == 1:
        return np.zeros(1, dtype=np.intp)
    return fcluster(linkage(_distance(correlation), method="average"), n_modules, criterion="maxclust") - 1


def gene_order(correlation: NDArray[np.floating]) -> NDArray[np.intp]:
    """Order genes so that those that go together stand together: the leaves of the same tree, optimally turned.

    Examples
    --------
    >>> correlation = np.array([[1.0, 0.0, 0.9], [0.0, 1.0, 0.0], [0.9, 0.0, 1.0]])
    >>> order = bs.metrics.gene_order(correlation).tolist()
    >>> abs(order.index(0) - order.index(2))
    1
    """
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering

    if len(correlation) == 1:
        return np.zeros(1, dtype=np.intp)
    distance = _distance(correlation)
    return leaves_list(optimal_leaf_ordering(linkage(distance, method="average"), distance))


def _distance(correlation: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return one minus the correlation, of every pair once, as scipy takes distances."""
    from scipy.spatial.distance import squareform

    if not correlation.size:
        raise ValueError("correlation= holds no gene.")
    if not np.isfinite(correlation).all():
        raise ValueError("correlation= holds NaN: leave out the genes that do not vary.")
    distance = 1.0 - (correlation + correlation.T) / 2
    np.fill_diagonal(distance, 0.0)
    return squareform(np.maximum(distance, 0.0), checks=False)


def module_agreement(
    predicted: NDArray[np.floating], measured: NDArray[np.floating], n_modules: int
) -> ModuleAgreement:
    """Compare the modules of two correlation matrices of the same genes (n_genes, n_genes), without NaN.

    Examples
    --------
    >>> correlation = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 1.0]])
    >>> bs.metrics.module_agreement(correlation, correlation, 2)
    ModuleAgreement(ari=1.0, contrast=0.9)
    """
    from sklearn.metrics import adjusted_rand_score

    ours, theirs = gene_modules(predicted, n_modules), gene_modules(measured, n_modules)
    upper = np.triu_indices(len(ours), k=1)
    together = ours[upper[0]] == ours[upper[1]]
    r = measured[upper]
    contrast = r[together].mean() - r[~together].mean() if together.any() and not together.all() else float("nan")
    return ModuleAgreement(float(adjusted_rand_score(theirs, ours)), float(contrast))
