"""How deep the slides of a reference were sequenced, as their normalised expression still shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from bleep_sc._adata.expression import LARGEST_LOG
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import listed, warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

SHALLOW = 0.2
"""Share of the depth of the others below which a slide is shallow."""
DEEPER = 0.4
"""Share of all spots on slides of at least that depth: the median nearly, as of two slides alike the deeper counts."""
N_LOOKED_AT = 128
"""Spots of a slide that are looked at."""
SMALL, OFF, WHOLE = 50, 0.05, 0.8
"""Of numbers so small, this share must be whole up to so much, or they are no counts."""


@dataclass(frozen=True)
class Depth:
    """What a spot of a slide shows, in the median."""

    counts: float
    """NaN where expression is no logarithm of counts that were scaled, spot by spot."""
    genes: float
    """That are found at all."""
    n_spots: int
    """Of the slide."""


def slide_depth(expression: Any, n_spots: int) -> Depth:
    """Return the depth of a slide of ``n_spots``, from logarithms of some of its spots, dense or sparse.

    The least value above zero is that of a single count in nearly every spot, so that the total over it is the number
    of counts, whatever total the spots were brought to.
    """
    # SciPy has no sparse float16.
    matrix = sparse.csr_matrix(expression if sparse.issparse(expression) else dense(expression))
    matrix.eliminate_zeros()
    genes = np.diff(matrix.indptr)
    matrix, found = matrix[genes > 0], genes[genes > 0]
    if not len(found) or matrix.data.min() < 0 or matrix.data.max() > LARGEST_LOG:
        return Depth(np.nan, float(np.median(genes)) if len(genes) else 0.0, n_spots)
    linear = np.expm1(matrix.data.astype(np.float64))
    counts = linear / np.repeat(np.minimum.reduceat(linear, matrix.indptr[:-1]), found)
    small = counts[counts < SMALL]
    is_whole = np.mean(np.abs(small - np.rint(small)) < OFF) >= WHOLE
    totals = np.add.reduceat(counts, matrix.indptr[:-1])
    return Depth(float(np.median(totals)) if is_whole else np.nan, float(np.median(genes)), n_spots)


def depths_of(slides: NDArray[np.str_], read: Callable[[NDArray[np.intp]], Any]) -> dict[str, Depth]:
    """Return the depth of every slide; ``read`` is given the rows of one, and gives the expression of some of them."""
    rows = {str(name): np.flatnonzero(slides == name) for name in np.unique(slides)}
    return {name: slide_depth(read(of_slide), len(of_slide)) for name, of_slide in rows.items()}


def evenly(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return a few of many rows."""
    return rows[np.linspace(0, len(rows) - 1, min(N_LOOKED_AT, len(rows))).astype(np.intp)]


def shallow_slides(depths: Mapping[str, Depth]) -> list[str]:
    """Return the slides of a reference that are so shallow that they would spoil what is read off the others.

    Spots that lack most of what is expressed are alike in that, and near to every query: they would be neighbours of
    everything, and bring its level down to theirs.
    """
    known = sorted((each for each in depths.values() if np.isfinite(each.counts)), key=lambda each: -each.counts)
    reached = np.cumsum([each.n_spots for each in known])
    if not len(reached):
        return []
    typical = known[int(np.argmax(reached >= DEEPER * reached[-1]))]
    return [name for name, each in depths.items() if each.counts < SHALLOW * typical.counts]


def warn_of_shallow_slides(depths: Mapping[str, Depth], shallow: list[str], consequence: str) -> None:
    """Warn of slides of a reference that show far fewer genes than the others, and say what becomes of them."""
    if not shallow:
        return
    others = [each for name, each in depths.items() if name not in shallow and np.isfinite(each.counts)]
    genes, counts = (np.median([getattr(each, what) for each in others]) for what in ("genes", "counts"))
    said = [_range(depths[name].genes for name in shallow), _range(depths[name].counts for name in shallow)]
    warn(
        f"{listed(shallow)} of the reference: far fewer genes are detected in a spot, {said[0]} ({said[1]} counts), "
        f"than on the other slides, {genes:,.0f} ({counts:,.0f} counts). {consequence}"
    )


def _range(numbers: Iterable[float]) -> str:
    ends = [f"{end(each):,.0f}" for each in [list(numbers)] for end in (min, max)]
    return " to ".join(dict.fromkeys(ends))
