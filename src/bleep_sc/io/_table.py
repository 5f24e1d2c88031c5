"""What prepare says of every slide, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc.slides._slide import IN_MEMORY

if TYPE_CHECKING:
    from anndata import AnnData


def row_of(adata: AnnData, name: str, n_read: int, n_genes: int) -> dict[str, Any]:
    """Return the row of a slide, of which ``n_read`` spots and ``n_genes`` genes were read."""
    record = adata.uns[keys.PATCHES][name]
    image = record["image"]
    return {
        "slide": name,
        "technology": adata.uns[keys.SPATIAL][name]["metadata"]["technology"],
        "spots": f"{adata.n_obs:,} of {n_read:,}",
        "µm per px": f"{record['mpp']:.4g}",
        "from": record["mpp_source"],
        "genes": f"{n_genes:,}",
        "median counts": f"{np.median(adata.obs[keys.TOTAL_COUNTS]):,.0f}",
        "image": "in the file" if image == IN_MEMORY else Path(image).name,
    }


def as_text(rows: list[dict[str, Any]]) -> str:
    """Return the table, aligned for a terminal."""
    return str(pd.DataFrame(rows).to_string(index=False, justify="left"))
