"""One answer from several imputations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Pooled:
    """Estimates that were pooled over imputations; arrays of the shape of one imputation's."""

    estimate: NDArray[np.float64]
    variance: NDArray[np.float64]
    """Total variance: within the imputations, and between them."""
    df: NDArray[np.float64]
    """Degrees of freedom of Student's distribution."""
    pvalue: NDArray[np.float64]
    """Two-sided, of an estimate of zero; 1 for an estimate of zero, and without a degree of freedom."""


def rubin(estimates: ArrayLike, variances: ArrayLike, *, df: ArrayLike | None = None) -> Pooled:
    r"""Pool estimates over imputations by Rubin's rules.

    With :math:`m` estimates :math:`Q_k` and their variances :math:`U_k`, the pooled estimate is :math:`\bar Q`, and its
    variance :math:`T = \bar U + (1 + 1/m) B`, where :math:`B` is the variance of the :math:`Q_k` (Rubin, *Multiple
    Imputation for Nonresponse in Surveys*, 1987). With :math:`\lambda = (1 + 1/m) B / T`, the degrees of freedom are

    .. math:: \Big(\frac{1}{\nu_m} + \frac{1}{\nu_o}\Big)^{-1}, \quad \nu_m = \frac{m - 1}{\lambda^2}, \quad
        \nu_o = \frac{\nu + 1}{\nu + 3} \, \nu \, (1 - \lambda),

    where :math:`\nu` are those of the complete data (Barnard & Rubin, Biometrika 86:948, 1999). Where all imputations
    agree, estimate and variance are those of one, with :math:`\nu_o` degrees of freedom, a little fewer than
    :math:`\nu`: 4.67 instead of 6. Where they differ and have no variance of their own nothing was observed: with
    finite :math:`\nu` no degree of freedom is left, and p is 1.

    Parameters
    ----------
    estimates
        (m, ...), at least two.
    variances
        Squared standard error of every estimate, of the same shape.
    df
        Degrees of freedom that a test on complete data has, such as the number of samples less two; a number, or an
        array of the shape of one imputation's estimates. None is infinitely many, which few samples never have.

    Returns
    -------
    ``estimate``, ``variance``, ``df`` and ``pvalue``.

    Raises
    ------
    ValueError
        With fewer than two imputations, other shapes, negative variances, or ``df`` that are not positive.

    Examples
    --------
    >>> pooled = bs.metrics.rubin([1.0, 2.0, 3.0], [0.5, 0.5, 0.5], df=10)
    >>> float(pooled.estimate), round(float(pooled.variance), 3), round(float(pooled.df), 2)
    (2.0, 1.833, 1.43)
    """
    from scipy.stats import t

    estimates, variances = np.asarray(estimates, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if estimates.shape != variances.shape or estimates.ndim == 0 or len(estimates) < 2:
        raise ValueError(
            f"estimates of shape {estimates.shape} and variances of shape {variances.shape}: both must be (m, ...), "
            "with m of two or more imputations."
        )
    complete = np.inf if df is None else np.asarray(df, dtype=np.float64)
    if (variances < 0).any() or not np.all(complete > 0):
        raise ValueError("variances= must not be negative, and df= must be positive.")
    m = len(estimates)
    estimate, between = estimates.mean(axis=0), (1 + 1 / m) * estimates.var(axis=0, ddof=1)
    variance = variances.mean(axis=0) + between
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(variance == 0, 0.0, between / variance)  # lambda
        finite = complete * (1 - share) * (complete + 1) / (complete + 3)
        observed = np.where(np.isinf(complete), np.inf, finite)
        freedom = 1 / (share**2 / (m - 1) + np.where(observed == 0, np.inf, 1 / observed))
        statistic = np.where(estimate == 0, 0.0, np.abs(estimate) / np.sqrt(variance))
        pvalue = 2 * t.sf(statistic, freedom)
    return Pooled(estimate, variance, freedom, np.where(freedom == 0, 1.0, pvalue))
