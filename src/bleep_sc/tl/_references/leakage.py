"""A warning where a query is predicted from itself, or from its own slide."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bleep_sc._adata.spots import Spots


def warn_of_shared_slides(query: Spots, refs: list[Spots], twins: list[NDArray[np.intp]]) -> None:
    """Warn where spots of the query, or others of their slide, are in a reference.

    ``twins`` are which spot of the query every spot of every reference is, as ``same_spots`` finds them.
    """
    in_refs = np.zeros(query.adata.n_obs, dtype=bool)
    for rows in twins:
        in_refs[rows[rows >= 0]] = True
    n_spots = int(in_refs.sum())
    is_shared = query.is_named & np.isin(query.slides, np.concatenate([each.slides for each in refs]))
    if not is_shared.any() and not n_spots:
        return
    what = f"{n_spots} spots of the query are in the reference, with the same names and coordinates"
    parts = []
    if is_shared.any():
        shared = listed(np.unique(query.slides[is_shared]))
        what = f"Slide {shared} is in the query and in the reference (obs[{query.library_key!r}])"
    if n_spots:
        who = "they" if not is_shared.any() else f"{n_spots} of its {int(is_shared.sum())} spots"
        parts.append(f"{who} find themselves, and scores of this prediction would be meaningless there")
    if n_spots < is_shared.sum():
        parts.append(
            f"{int(is_shared.sum()) - n_spots} are not in the reference, but neighbours on the same slide are, so that "
            "scores there do not compare with those of held-out slides"
        )
    warnings.warn(f"{what}: {'; '.join(parts)}.", UserWarning, stacklevel=3)
