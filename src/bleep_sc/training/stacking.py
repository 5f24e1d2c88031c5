"""What another model's prediction adds to one's own, learnt on tissue that one's own model had not seen.

Stacking (Wolpert 1992) of two predictions, gene by gene. One is kept as it is; of the other what the first does not say
already is added, as much as helped on units that were held out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def within_slides(values: NDArray[np.floating], slides: NDArray[np.str_]) -> Floats:
    """Return deviations from the mean of every slide; ``values`` are (n, n_genes), ``slides`` (n,)."""
    result = np.array(values, dtype=np.float64)
    for name in np.unique(slides):
        result[slides == name] -= result[slides == name].mean(axis=0)
    return result


def stack(
    truth: NDArray[np.floating],
    own: NDArray[np.floating],
    other: NDArray[np.floating],
    slides: NDArray[np.str_],
    units: NDArray[np.str_],
) -> tuple[Floats, Floats]:
    r"""Return slope and overlap of every gene, (n_genes,) each, to be taken by :func:`stacked`.

    Of deviations within slides, with :math:`y` measured, :math:`o` one's own prediction and :math:`e` the other,

    .. math:: \hat y = o + s \, b \, (e - c \, o)

    :math:`c = \langle e, o \rangle / \langle o, o \rangle` takes off what is said already, and :math:`b \geq 0` is the
    least-squares slope of :math:`y - o` on what is left. Both are learnt on all units but one, and :math:`s`, between 0
    and 1, is how much of the change would have been best on the units left out: nothing, where it did not help there.

    Parameters
    ----------
    truth, own, other
        (n, n_genes), spots that the model of ``own`` had not seen.
    slides, units
        The slide of every spot, and what it is held out with, (n,).
    """
    y, o, e = (within_slides(each, slides) for each in (truth, own, other))
    missed = y - o
    products = {"oo": o * o, "oe": o * e, "ee": e * e, "om": o * missed, "em": e * missed}
    names = np.unique(units)
    sums = {name: np.stack([each[units == unit].sum(axis=0) for unit in names]) for name, each in products.items()}
    total = {name: each.sum(axis=0) for name, each in sums.items()}
    gained, moved = np.zeros(truth.shape[1]), np.zeros(truth.shape[1])
    for i in range(len(names)):
        here = {name: each[i] for name, each in sums.items()}
        slope, overlap = _fit({name: total[name] - here[name] for name in total})
        gained += slope * (here["em"] - overlap * here["om"])
        moved += slope**2 * (here["ee"] - 2 * overlap * here["oe"] + overlap**2 * here["oo"])
    share = np.clip(np.divide(gained, moved, out=np.zeros_like(gained), where=moved > 0), 0, 1)
    slope, overlap = _fit(total)
    return share * slope, overlap


def _fit(sums: dict[str, Floats]) -> tuple[Floats, Floats]:
    """Return slope and overlap from sums over spots, (n_genes,) each; 0 where a prediction does not vary."""
    overlap = np.divide(sums["oe"], sums["oo"], out=np.zeros_like(sums["oe"]), where=sums["oo"] > 0)
    left = sums["ee"] - overlap * sums["oe"]
    known = left > 1e-9 * np.maximum(sums["ee"], np.finfo(np.float64).tiny)
    slope = np.divide(sums["em"] - overlap * sums["om"], left, out=np.zeros_like(left), where=known)
    return np.maximum(slope, 0), overlap


def stacked(
    own: NDArray[np.floating],
    other: NDArray[np.floating],
    slides: NDArray[np.str_],
    slope: Floats,
    overlap: Floats,
) -> Floats:
    """Add to one's own prediction (n, n_genes) what the other says beside it; the mean of a slide stays."""
    return own + slope * (within_slides(other, slides) - overlap * within_slides(own, slides))
