"""Where a spot is looked for: at its own embedding, or at that of the tissue around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bleep_sc._arrays.around import around_on_slides
from bleep_sc.models.regression import unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPREADS = 3.0
"""Standard deviations of the weights that are averaged over."""


def smoothed(
    embedding: NDArray[np.float32],
    slides: NDArray[np.str_],
    centers_um: NDArray[np.float64] | None,
    smoothing_um: float,
) -> NDArray[np.float32]:
    r"""Average embeddings of norm one over the tissue around every spot.

    Weights are :math:`\exp(-d^2 / 2 \sigma^2)`, up to :math:`3 \sigma`, where they are small: spots of a lattice lie at
    the same distances, and rounding is not to decide which of them count. Expression changes less between places
    than what single patches tell of it.

    Parameters
    ----------
    embedding
        (n, n_dims).
    slides, centers_um
        Slide of every spot, (n,), and where it is there, µm, (n, 2); None where that is not known, and nothing is
        averaged.
    smoothing_um
        :math:`\sigma`; 0 averages nothing.

    Returns
    -------
    Embeddings of norm one, or means of such, (n, n_dims).
    """
    units = unit(embedding)
    if centers_um is None or not smoothing_um:
        return units
    return around_on_slides(units, slides, centers_um, SPREADS * smoothing_um, SPREADS)
