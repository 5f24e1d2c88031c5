"""Whose tissue a spot is: one answer, whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc._adata.checks import require_obs
from bleep_sc._output.messages import listed, logger

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

COLUMNS = ("patient", "donor", "animal", "donor_id", "patient_id", "individual", "subject")
"""Columns of obs that name the donor, where no other is given."""


def donors(adata: AnnData, slides: NDArray[np.str_], donor_key: str | None = None) -> NDArray[np.str_] | None:
    """Return the donor of every spot, (n_obs,), or None where nothing says; a slide of two donors is refused."""
    if donor_key is None:
        present = [name for name in COLUMNS if name in adata.obs and adata.obs[name].notna().all()]
        if not present:
            return None
        donor_key = present[0]
        logger.info("Donors are those of obs[%r].", donor_key)
    column = require_obs(adata, donor_key, "Pass donor_key=, the column that names whose tissue a spot is.")
    if column.isna().any():
        raise ValueError(f"obs[{donor_key!r}] is missing for {int(column.isna().sum())} spots.")
    names = column.astype(str).to_numpy(dtype=str)
    homes = pd.crosstab(slides, names)
    torn = homes.index[(homes > 0).sum(axis=1) > 1].tolist()
    if torn:
        raise ValueError(f"Slide {listed(torn)} has spots of several donors of obs[{donor_key!r}].")
    return names
