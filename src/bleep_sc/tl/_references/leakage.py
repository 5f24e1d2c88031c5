"""A warning where a query is predicted from itself, or from its own slide."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._output.messages import listed
from bleep_sc.tl._references.same_slide import named_slides, same_spots

if TYPE_CHECKING:
    from anndata import AnnData


def warn_of_shared_slides(adata: AnnData, refs: list[AnnData], library_key: str) -> None:
    """Warn where spots of the query, or others of their slide, are in a reference."""
    in_refs = np.zeros(adata.n_obs, dtype=bool)
    for each in refs:
        rows = same_spots(adata, each, library_key)
        in_refs[rows[rows >= 0]] = True
    n_spots, slides = int(in_refs.sum()), named_slides(adata, library_key)
    is_shared = np.isin(slides, np.concatenate([named_slides(each, library_key) for each in refs]))
    if not is_shared.any() and not n_spots:
        return
    what = f"{n_spots} spots of the query are in the reference, with the same names and coordinates"
    parts = []
    if is_shared.any():
        what = (
            f"Slide {listed(np.unique(slides[is_shared]))} is in the query and in the reference (obs[{library_key!r}])"
        )
    if n_spots:
        who = "they" if not is_shared.any() else f"{n_spots} of its {int(is_shared.sum())} spots"
        parts.append(f"{who} find themselves, and scores of this prediction would be meaningless there")
    if n_spots < is_shared.sum():
        parts.append(
            f"{int(is_shared.sum()) - n_spots} are not in the reference, but neighbours on the same slide are, so that "
            "scores there do not compare with those of held-out slides"
        )
    warnings.warn(f"{what}: {'; '.join(parts)}.", UserWarning, stacklevel=3)
