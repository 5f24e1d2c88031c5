"""Squares of bins, and how large they must be for their counts to carry signal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIZES_UM = (8.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0)
"""Sides that are tried, where bins fit into them."""
N_LOOKED_AT, N_GENES, N_COMMON = 3000, 50, 2000
"""Squares by which a size is judged; the most variable genes that judge it, and the most counted ones they are of."""
FEWEST = 200
"""Squares of a slide below which a size is not looked at: there is too little to judge it by, or to learn from."""
LEAST_CEILING = 0.5
"""Noise ceiling of these genes from which counts are enough."""


@dataclass(frozen=True)
class Blocks:
    """Squares of ``side`` × ``side`` bins; those with a bin, by row and then by column."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    of_bin: NDArray[np.intp]
    """Square of every bin, (n_bins,)."""

    @property
    def n_bins(self) -> NDArray[np.int64]:
        """Bins in every square."""
        return np.bincount(self.of_bin, minlength=len(self.row))

    def sum(self, counts: sparse.csr_matrix) -> sparse.csr_matrix:
        """Sum the counts of bins (n_bins, n_genes) to those of squares, sparse throughout."""
        n = len(self.of_bin)
        member = sparse.csr_matrix((np.ones(n, dtype=counts.dtype), (self.of_bin, np.arange(n))), (len(self.row), n))
        return member @ counts


def blocks_of(row: NDArray[np.int64], column: NDArray[np.int64], side: int) -> Blocks:
    """Return the squares that bins at ``row`` and ``column`` of their array are in."""
    y, x = row // side, column // side
    width = int(x.max()) + 1
    places, of_bin = np.unique(y * width + x, return_inverse=True)
    return Blocks(places // width, places % width, of_bin)


def sides_to_try(bin_um: float) -> list[int]:
    """Return sides of squares in bins: of the usual sizes those that bins fit into; else whole multiples."""
    fitting = [round(size / bin_um) for size in SIZES_UM if size >= bin_um and abs(size / bin_um % 1) < 1e-6]
    return fitting or [k for k in (1, 2, 3, 4, 6, 8, 12) if k == 1 or k * bin_um <= SIZES_UM[-1]]


def signal_of_sizes(
    counts: sparse.csr_matrix,
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    sides: Sequence[int],
    bin_um: float,
    least_share: float,
    random_state: int,
) -> pd.DataFrame:
    """Return of every side its squares, their median counts, and the noise ceiling of the most variable genes.

    The genes are those that vary most in the largest squares, where their counts are least noisy, and the same for all.
    """
    random, rows = np.random.default_rng(random_state), []
    blocks_by_side = {side: blocks_of(row, column, side) for side in sides}
    whole = {side: np.flatnonzero(each.n_bins >= least_share * side**2) for side, each in blocks_by_side.items()}
    sides = [side for side in sides if len(whole[side]) >= FEWEST] or sides[:1]
    few = _few_genes(counts, blocks_by_side[sides[-1]], random)
    for side in sides:
        blocks, kept = blocks_by_side[side], whole[side]
        summed = blocks.sum(few)
        total = np.asarray(summed.sum(axis=1)).ravel()
        some = random.permutation(kept)[:N_LOOKED_AT]
        ceiling = metrics.noise_ceiling(summed[some], random_state=random_state)[:-1]  # the last is all other genes
        known = ceiling[np.isfinite(ceiling)]
        rows.append(
            {
                "bin_um": side * bin_um,
                "n_bins": len(kept),
                "median_counts": float(np.median(total[kept])) if len(kept) else 0.0,
                "noise_ceiling": float(np.median(known)) if len(known) else 0.0,
            }
        )
    return pd.DataFrame(rows)


def smallest_with_signal(table: pd.DataFrame) -> int:
    """Return the row of the smallest size whose noise ceiling is enough, or of the largest size."""
    enough = np.flatnonzero(table["noise_ceiling"] >= LEAST_CEILING)
    return int(enough[0]) if len(enough) else len(table) - 1


def _few_genes(counts: sparse.csr_matrix, largest: Blocks, random: np.random.Generator) -> sparse.csr_matrix:
    """Return the counts of the most variable genes, and in a last column those of all others, so that totals stay."""
    summed = largest.sum(counts)
    some = summed[np.sort(random.permutation(summed.shape[0])[:N_LOOKED_AT])]
    total = np.asarray(some.sum(axis=1)).ravel()
    common = np.argsort(-np.asarray(some.sum(axis=0)).ravel(), kind="stable")[:N_COMMON]
    scale = np.divide(1e4, total, out=np.zeros(len(total)), where=total > 0)
    logs = np.log1p(some[:, common].toarray() * scale[:, None])
    genes = common[metrics.highest_genes(logs, np.full(len(logs), "bins"), by="variance", n_top=N_GENES)]
    rest = np.asarray(counts.sum(axis=1)).ravel() - np.asarray(counts[:, genes].sum(axis=1)).ravel()
    return sparse.csr_matrix(sparse.hstack([counts[:, genes], sparse.csr_matrix(rest[:, None])]))
