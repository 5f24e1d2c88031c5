"""The stains of patches, slide by slide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata.libraries import spots_of
from bleep_sc._arrays.unread import batches_of, subset
from bleep_sc.slides._lazy import RestainedPatches
from bleep_sc.slides._stains import FITS, sample_pixels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bleep_sc._arrays.unread import Unread
    from bleep_sc.slides._stains import Stains


def stains_of(patches: NDArray[np.uint8] | Unread, names: NDArray[np.str_], method: str) -> dict[str, Stains]:
    """Return the stains of every slide, from the tissue on its own patches."""
    result: dict[str, Stains] = {}
    for name, rows in spots_of(names).items():
        try:
            result[name] = FITS[method](sample_pixels(subset(patches, rows)))
        except ValueError as error:
            raise ValueError(
                f"The stains of slide {name!r} cannot be found: {error}. Look at its patches (bleep_sc.pl.patches), "
                "and leave it out, or cut its patches where there is tissue."
            ) from error
    return result


def with_stains(
    patches: NDArray[np.uint8], which: NDArray[np.intp], own: Sequence[Stains], target: Stains
) -> NDArray[np.uint8]:
    """Return patches with the stains of a target."""
    result = np.empty_like(patches)
    for rows, batch in batches_of(patches, 64):
        result[rows] = RestainedPatches(batch, which[rows], tuple(own), target)[:]
    return result
