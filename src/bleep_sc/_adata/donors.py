"""Whose tissue a spot is of: one answer, whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata.checks import require_obs
from bleep_sc._adata.told import of_models, told
from bleep_sc._output.messages import listed, logger

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from numpy.typing import NDArray

USUAL = ("patient", "donor", "animal", "donor_id", "patient_id", "individual", "subject")
"""Columns of ``obs`` that are taken to name donors, the first first, in any case."""


def donor_column(adata: AnnData, donor_key: str | None = None, *of_model: str | None) -> str | None:
    """Return the column of ``obs`` that names the donors, or None where nothing says whose the spots are.

    It is ``donor_key`` where that is given. Else it is the first that is there of: what a model was fitted with
    (``of_model``), what models and predictions in ``uns`` say, and the usual names. A column that lacks the donor of a
    spot is refused where it was given, and else passed over.
    """
    if donor_key is not None:
        missing = _missing(require_obs(adata, donor_key, "Pass donor_key=, the column that names the donors."))
        if missing:
            raise ValueError(f"obs[{donor_key!r}] (donor_key=) is missing for {missing} spots; name their donor.")
        return donor_key
    noted = [*of_model, *told(of_models(adata), "donor_key")]
    usual = [name for each in USUAL for name in sorted(map(str, adata.obs.columns)) if name.lower() == each]
    there = (name for name in [*noted, *usual] if name in adata.obs and not _missing(adata.obs[name]))
    found = next(there, None)
    if found is not None:
        logger.info("Donors are those of obs[%r].", found)
    return found


def donors(adata: AnnData, column: str | None) -> NDArray[np.str_] | None:
    """Return the donor of every spot, (n_obs,), as :func:`donor_column` found them; None where that is not known."""
    return None if column is None else np.asarray(adata.obs[column], dtype=object).astype(str)


def donors_of_slides(adata: AnnData, slides: NDArray[np.str_], column: str | None) -> dict[str, str] | None:
    """Return the donor of every slide by its name, or refuse a slide of two donors.

    ``slides`` are those of the spots, (n_obs,); ``column`` is what :func:`donor_column` returns.
    """
    of_spots = donors(adata, column)
    if of_spots is None:
        return None
    found = {str(slide): np.unique(of_spots[slides == slide]).tolist() for slide in np.unique(slides)}
    for slide, names in found.items():
        if len(names) > 1:
            raise ValueError(
                f"Slide {slide!r} is of {len(names)} donors: obs[{column!r}] has {listed(names)}. Name the parts as "
                "slides of their own (library_key=), or pass donor_key=, a column that names one donor a slide."
            )
    return {slide: names[0] for slide, names in found.items()}


def _missing(column: pd.Series) -> int:
    """Return how many spots lack the name of a donor; blank ones have none."""
    return int((column.isna() | (column.astype(str).str.strip() == "")).sum())
