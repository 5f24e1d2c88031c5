"""How good intervals are: narrow, and around the truth."""

import numpy as np
from numpy.typing import NDArray

from bleep_sc.metrics._alike import alike, mean_over_spots


def interval_score(
    lower: NDArray[np.floating], upper: NDArray[np.floating], truth: NDArray[np.floating], *, share: float
) -> NDArray[np.float64]:
    r"""Interval score of every gene, mean over spots; smaller is better.

    The width of an interval, and what it misses the truth :math:`y` by, times :math:`2 / \alpha`,

    .. math:: (u - l) + \frac{2}{\alpha} (l - y)_+ + \frac{2}{\alpha} (y - u)_+, \qquad \alpha = 1 - \mathrm{share},

    is least in expectation for the true quantiles (Gneiting and Raftery, JASA 2007, eq. 43), so that wide intervals
    that hold everything do not win.

    Parameters
    ----------
    lower, upper
        Ends of the intervals, (n_spots, n_genes).
    truth
        Measured values, (n_spots, n_genes).
    share
        Share of values that the intervals are to hold, between 0 and 1.

    Returns
    -------
    (n_genes,), in the units of the expression; NaN where a gene has no interval.

    Raises
    ------
    ValueError
        When ``share`` is not between 0 and 1, or a lower end is above its upper end.

    Examples
    --------
    The truth is 1 above an interval of width 2 that was to hold 90 %:

    >>> bs.metrics.interval_score(np.array([[0.0]]), np.array([[2.0]]), np.array([[3.0]]), share=0.9).round(3).tolist()
    [22.0]
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share} must lie between 0 and 1, such as 0.9.")
    low, high, measured = alike(lower=lower, upper=upper, truth=truth)
    if (low > high).any():
        raise ValueError(f"lower= is above upper= in {int((low > high).sum())} entries; swap them.")
    with np.errstate(invalid="ignore"):
        missed = np.maximum(low - measured, 0) + np.maximum(measured - high, 0)
        return mean_over_spots(high - low + 2 / (1 - share) * missed)
