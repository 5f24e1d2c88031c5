"""Sections of original Spatial Transcriptomics as AnnData in the field's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc.datasets._fetch import as_sections

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bleep_sc.datasets._fetch import Source

SPOT_DIAMETER_UM = 100.0


def read_section(counts: Path, spots: Path, image: Path, section: str, *, pitch_um: float, source: str) -> ad.AnnData:
    """Read a section: counts (spots ``XxY`` × genes), selection (``x``, ``y``, ``pixel_x``, ``pixel_y``) and image.

    ``pitch_um`` is the length of one array step. Spots with counts that are selected are kept, and among these the ones
    with any count.
    """
    table = pd.read_csv(counts, sep="\t", index_col=0, dtype={0: str}, engine="c")
    selection = pd.read_csv(spots, sep="\t").query("selected == 1")
    selection.index = pd.Index([f"{x}x{y}" for x, y in zip(selection["x"], selection["y"], strict=True)])
    kept = table.index[table.index.isin(selection.index) & (table.to_numpy().sum(axis=1) > 0)]
    selection = selection.loc[kept]
    adata = ad.AnnData(
        sparse.csr_matrix(table.loc[kept].to_numpy(dtype=np.float32)),
        obs=pd.DataFrame(
            {
                keys.LIBRARY: pd.Categorical([section] * len(kept)),
                keys.IN_TISSUE: 1,
                keys.ARRAY_ROW: selection["y"].to_numpy(),
                keys.ARRAY_COL: selection["x"].to_numpy(),
            },
            index=[f"{section}_{spot}" for spot in kept],
        ),
        var=pd.DataFrame(index=table.columns.astype(str)),
    )
    adata.var_names_make_unique()
    adata.obsm[keys.SPATIAL] = selection[["pixel_x", "pixel_y"]].to_numpy(dtype=np.float64)
    about = {"technology": "Spatial Transcriptomics", "source": source}
    adata.uns[keys.SPATIAL] = {section: library(image, adata, pitch_um, SPOT_DIAMETER_UM, about)}
    return adata


def library(
    image: Path, adata: ad.AnnData, pitch_um: float, diameter_um: float, about: dict[str, str]
) -> dict[str, dict[str, Any]]:
    """Return what ``uns["spatial"]`` holds of a section: a small image, scale factors and where they are from."""
    mpp, _ = slides.microns_per_pixel(
        adata.obs[keys.ARRAY_COL], adata.obs[keys.ARRAY_ROW], adata.obsm[keys.SPATIAL], pitch_um=pitch_um
    )
    with slides.open_slide(image) as slide:
        preview = slide.thumbnail()
        scale = preview.shape[1] / slide.width
    return {
        "images": {"hires": preview},
        "scalefactors": {
            "tissue_hires_scalef": scale,
            "spot_diameter_fullres": diameter_um / mpp,
            "microns_per_pixel": mpp,
        },
        "metadata": {"source_image_path": str(image.resolve()), **about},
    }


def read_sections(source: Source, sections: str | Sequence[str], *, pitch_um: float, citation: str) -> ad.AnnData:
    """Read sections of a data set, wherever their files are."""
    parts = []
    for section in as_sections(sections):
        counts, spots, image = source.find(section)
        parts.append(read_section(counts, spots, image, section, pitch_um=pitch_um, source=citation))
    return join_sections(parts)


def join_sections(sections: list[ad.AnnData]) -> ad.AnnData:
    """Stack sections; a gene that one of them lacks was not seen there, and is zero."""
    if len(sections) == 1:
        return sections[0]
    joined = ad.concat(sections, join="outer", fill_value=0, uns_merge="unique", merge="first")
    joined.X = sparse.csr_matrix(joined.X, dtype=np.float32)
    joined.obs[keys.LIBRARY] = joined.obs[keys.LIBRARY].astype("category")
    return joined
