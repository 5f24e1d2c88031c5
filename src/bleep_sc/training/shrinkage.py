"""How far what was retrieved moves towards the regression: what spots that were held out teach of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHRINKAGE_VARIANCE = 0.05
"""How far genes differ in how much they move towards the regression."""
UNKNOWN = 0.5
"""How much they move where nothing says how much."""


def shrinkage_of(
    truth: NDArray[np.float32],
    retrieved: NDArray[np.float32],
    regressed: NDArray[np.float32],
    slides: NDArray[np.str_],
    units: NDArray[np.str_],
) -> tuple[float, NDArray[np.float32], NDArray[np.float32]]:
    r"""Return how far predictions should move towards the regression: over all genes, gene by gene, and spot by spot.

    It is the least-squares slope of what retrieval misses on what the regression would change, within slides, between
    0 and 1; that of a gene is shrunk towards that of all genes. That of a spot, (n, n_genes), is learnt on the other
    units: what is learnt on a unit makes its own errors look smaller than those to come. Parts of one slide are not
    asked: genes that moved as far as these suggest were predicted no better on another.
    """
    if of_parts(slides, units):
        unknown = np.full_like(truth, UNKNOWN)
        return UNKNOWN, unknown[0], unknown
    change = _within_slides(regressed - retrieved, slides)
    missed = _within_slides(truth - retrieved, slides)
    names, unit, counts = np.unique(units, return_inverse=True, return_counts=True)
    squares, products, left = (
        np.stack([each[unit == i].sum(axis=0, dtype=np.float64) for i in range(len(names))])
        for each in (np.square(change), change * missed, np.square(missed))
    )  # (n_units, n_genes)
    total = [each.sum(axis=0) for each in (squares, products, left)]
    typical, shrunk = _slopes(total[0], total[1], total[2], len(unit))
    elsewhere = [
        _slopes(total[0] - squares[i], total[1] - products[i], total[2] - left[i], len(unit) - int(counts[i]))[1]
        for i in range(len(names))
    ]
    return typical, shrunk, np.stack(elsewhere)[unit]


def _slopes(
    squares: NDArray[np.float64], products: NDArray[np.float64], left: NDArray[np.float64], n: int
) -> tuple[float, NDArray[np.float32]]:
    """Return the slope over all genes, and those of genes shrunk towards it, from sums over n spots, (n_genes,)."""
    known = squares > 1e-12
    size = np.where(known, squares, 1.0)
    slope, variance = products / size, left / max(n, 1) / size
    weight = np.where(known, 1 / (variance + SHRINKAGE_VARIANCE), 0.0)
    typical = float(np.clip((weight * slope).sum() / weight.sum(), 0, 1)) if known.any() else UNKNOWN
    shrunk = np.where(known, (SHRINKAGE_VARIANCE * slope + variance * typical) * weight, typical)
    return typical, np.clip(shrunk, 0, 1).astype(np.float32)


def _within_slides(values: NDArray[np.float32], slides: NDArray[np.str_]) -> NDArray[np.float32]:
    result = values.copy()
    for name in np.unique(slides):
        result[slides == name] -= values[slides == name].mean(axis=0)
    return result


def of_parts(slides: NDArray[np.str_], units: NDArray[np.str_]) -> bool:
    """Tell whether what was held out are parts of one slide."""
    return len(np.unique(slides)) == 1 < len(np.unique(units))
