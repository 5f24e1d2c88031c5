"""Draws that each take one reference spot for every predicted one: imputations that differ as measurements would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from bleep_sc._arrays.blocks import slices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

ROWS = 65536
"""Spots that are drawn at once."""


def draw_spots(
    weights: sparse.csr_matrix,
    samples: NDArray[np.intp],
    random: np.random.Generator,
    *,
    donors: NDArray[np.intp] | None = None,
) -> NDArray[np.intp]:
    """Draw one reference spot for every spot, with its weights as probabilities.

    With ``donors`` all spots of a sample prefer the donors of the reference in one random order, and each draws among
    its neighbours from the first donor that has any: what distinguishes a donor as a whole stays in the draw, instead
    of being averaged away over spots.

    Parameters
    ----------
    weights
        (n_spots, n_reference), rows with a positive sum.
    samples
        Sample of every spot, whole numbers from 0, (n_spots,).
    random
        Generator of random numbers.
    donors
        Donor of every reference spot, whole numbers from 0, (n_reference,); None draws every spot by itself.

    Returns
    -------
    Column of the reference spot of every spot, (n_spots,).
    """
    drawn = np.empty(weights.shape[0], dtype=np.intp)
    if donors is not None:
        order = random.random((samples.max() + 1, donors.max() + 1))
    for rows in slices(len(drawn), ROWS):
        block = weights[rows]
        chances = block.data.astype(np.float64)
        if donors is not None:
            n_neighbors = np.diff(block.indptr)
            place = np.where(chances > 0, order[np.repeat(samples[rows], n_neighbors), donors[block.indices]], np.inf)
            first = np.minimum.reduceat(place, block.indptr[:-1])
            chances *= place == np.repeat(first, n_neighbors)
        drawn[rows] = block.indices[_one_of_each_row(chances, block.indptr, random)]
    return drawn


def _one_of_each_row(
    chances: NDArray[np.float64], indptr: NDArray[np.integer], random: np.random.Generator
) -> NDArray[np.intp]:
    """Draw one stored entry of every row; entries without a chance are never drawn."""
    reached = np.concatenate([[0.0], np.cumsum(chances)])
    start, total = reached[indptr[:-1]], np.diff(reached[indptr])
    entry = np.searchsorted(reached, start + random.random(len(total)) * total, side="right") - 1
    possible = np.flatnonzero(chances > 0)  # rounding may reach the end of a row
    last = possible[np.searchsorted(possible, indptr[1:]) - 1]
    return np.minimum(entry, last)


def group_draws(
    weights: sparse.csr_matrix,
    groups: NDArray[np.intp],
    samples: NDArray[np.intp],
    n_draws: int,
    *,
    donors: NDArray[np.intp] | None = None,
    random_state: int = 0,
) -> Iterator[sparse.csr_matrix]:
    """Give for every draw the share of each reference spot in the mean of each group, (n_groups, n_reference).

    ``groups`` are whole numbers from 0, (n_spots,); the others as in :func:`draw_spots`. Their product with the
    expression of the reference is the mean of the drawn spots, and no draw of all spots is ever held.
    """
    random = np.random.default_rng(random_state)
    share = 1 / np.bincount(groups)[groups]
    for _ in range(n_draws):
        drawn = draw_spots(weights, samples, random, donors=donors)
        yield sparse.csr_matrix((share, (groups, drawn)), shape=(groups.max() + 1, weights.shape[1]))


def group_weights(weights: sparse.csr_matrix, groups: NDArray[np.intp]) -> sparse.csr_matrix:
    """Return the mean weights of each group, (n_groups, n_reference): what the draws of every spot by itself expect."""
    share = 1 / np.bincount(groups)[groups]
    return sparse.csr_matrix((share, (groups, np.arange(len(groups))))) @ weights
