"""Structural similarity of two maps of expression on the lattice of the spots."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from bleep_sc.metrics._alike import alike

WINDOW = 7
"""Side of the windows, spots; odd."""
K1, K2 = 0.01, 0.03
MOST_PLACES = 2**24
"""On the lattice of a slide: more are px."""


def ssim(
    prediction: NDArray[np.floating],
    truth: NDArray[np.floating],
    rows: NDArray[np.integer],
    cols: NDArray[np.integer],
) -> NDArray[np.float64]:
    r"""Structural similarity of every gene (Wang et al., IEEE Trans. Image Processing 2004, eq. 13).

    Expression is drawn on the lattice of the spots, one pixel each; the columns of a staggered lattice (Visium), which
    only stand on every second place of a row, are pushed together. Each map is scaled to [0, 1]. Local moments are
    means over windows of seven by seven places, of the spots in them alone; the index is averaged over the spots. With
    every place taken, it is scikit-image's ``structural_similarity`` with sample moments over n, up to how edges are
    treated.

    Parameters
    ----------
    prediction, truth
        (n_spots, n_genes).
    rows, cols
        (n_spots,): place of every spot on the lattice, whole numbers.

    Returns
    -------
    (n_genes,); NaN where the truth does not vary or the prediction is not finite.

    Raises
    ------
    ValueError
        When two spots share a place, the places are no whole numbers, or span so many that they must be px.

    Examples
    --------
    >>> rows, cols = (axis.ravel() for axis in np.mgrid[0:8, 0:8])
    >>> truth = (rows * cols)[:, None].astype(float)
    >>> bs.metrics.ssim(truth, truth, rows, cols).round(3).tolist()
    [1.0]
    """
    prediction, truth = alike(prediction=prediction, truth=truth)
    if not len(truth):
        return np.full(truth.shape[1], np.nan)
    y, x = _places(np.asarray(rows), np.asarray(cols))
    shape = (int(y.max()) + 1, int(x.max()) + 1)
    share = uniform_filter(_drawn(np.ones(len(y)), y, x, shape), WINDOW, mode="constant")

    def local(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return (uniform_filter(_drawn(values, y, x, shape), WINDOW, mode="constant") / share)[y, x]

    result = np.full(truth.shape[1], np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        for gene in np.flatnonzero((np.ptp(truth, axis=0) > 0) & np.isfinite(prediction).all(axis=0)):
            result[gene] = _index(_scaled(prediction[:, gene]), _scaled(truth[:, gene]), local)
    return result


def _index(a: NDArray[np.float64], b: NDArray[np.float64], local) -> float:  # type: ignore[no-untyped-def]
    mean_a, mean_b = local(a), local(b)
    variance_a, variance_b = local(a * a) - mean_a**2, local(b * b) - mean_b**2
    covariance = local(a * b) - mean_a * mean_b
    level = (2 * mean_a * mean_b + K1**2) / (mean_a**2 + mean_b**2 + K1**2)
    pattern = (2 * covariance + K2**2) / (variance_a + variance_b + K2**2)
    return float((level * pattern).mean())


def _scaled(values: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    span = np.ptp(values)
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def _places(rows: NDArray[np.number], cols: NDArray[np.number]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    if np.any(rows != np.round(rows)) or np.any(cols != np.round(cols)):
        raise ValueError("rows= and cols= must be whole numbers: the places of the spots on their lattice.")
    y, x = (np.round(axis - axis.min()).astype(np.intp) for axis in (rows, cols))
    # On a staggered lattice the parity of the column is that of the row, or its opposite.
    if len(np.unique((y + x) % 2)) == 1:
        x = x // 2
    if len(np.unique(np.stack([y, x]), axis=1).T) < len(y):
        raise ValueError("Several spots share a place on the lattice (rows=, cols=). Compute the SSIM slide by slide.")
    places = (int(y.max()) + 1) * (int(x.max()) + 1)
    if places > max(MOST_PLACES, 100 * len(y)):
        raise ValueError(
            f"{len(y)} spots span {places:,} places (rows=, cols=): these must be places on the lattice, such as "
            "obs['array_row'] and obs['array_col'], and no px."
        )
    return y, x


def _drawn(
    values: NDArray[np.float64], y: NDArray[np.intp], x: NDArray[np.intp], shape: tuple[int, int]
) -> NDArray[np.float64]:
    picture = np.zeros(shape)
    picture[y, x] = values
    return picture
