"""Real tissue with features of EfficientNet-Lite0 at three fields of view, computed once and kept in a folder."""

from collections.abc import Sequence
from pathlib import Path

import scanpy as sc
from anndata import AnnData, read_h5ad
from lite0 import load_lite0

import bleep_sc as bs

FIELDS_UM = {"her2st": (154.0, 308.0, 616.0), "mob": (280.32, 140.16, 560.64)}
"""The first is that of the published recipe (224 px of her2st, 64 px of mob's small images)."""
SECTIONS = {"her2st": ("C2", "C3", "C4", "C5"), "mob": ("MOB1", "MOB2", "MOB3")}
"""What can be downloaded; further ones are read from the folder that ``BLEEP_SC_DATA`` names."""
FEATURES = ("X_0", "X_1", "X_2")
"""Of every field of view, averaged over the eight symmetries of a patch."""
ONE_VIEW, STAINS = "X_one", "X_stain_stats"
"""Features of the first field without symmetries, and statistics of its stains."""


def load(data: str, cache: Path, sections: Sequence[str] = ()) -> AnnData:
    """Load raw counts and features of some sections, by default those of ``SECTIONS``; what is not kept is computed."""
    sections = tuple(sections) or SECTIONS[data]
    file = cache / f"{data}.h5ad"
    adata = read_h5ad(file) if file.exists() else None
    if adata is None or not set(sections) <= set(adata.obs["library_id"]):
        adata = bs.datasets.her2st(sections) if data == "her2st" else bs.datasets.mob(sections)
        sc.pp.filter_cells(adata, min_counts=100)
    if not {*FEATURES, ONE_VIEW, STAINS} <= set(adata.obsm):
        compute(adata, data)
        cache.mkdir(parents=True, exist_ok=True)
        adata.write_h5ad(file)
    return adata[adata.obs["library_id"].isin(sections)].copy()


def compute(adata: AnnData, data: str) -> None:
    """Compute the features that are not there."""
    encoder = load_lite0()
    for name, side in zip(FEATURES, FIELDS_UM[data], strict=True):
        lacking = {name, ONE_VIEW, STAINS} if name == FEATURES[0] else {name}
        if lacking <= set(adata.obsm):
            continue
        bs.pp.extract_patches(adata, size=224, size_um=side)
        bs.pp.image_features(adata, encoder, symmetries=True, key_added=name)
        if name == FEATURES[0]:
            bs.pp.image_features(adata, encoder, key_added=ONE_VIEW)
            bs.pp.image_features(adata, "stain_stats", key_added=STAINS)
        del adata.obsm["patches"]


def small_patches(adata: AnnData, data: str) -> None:
    """Cut patches of 112 px of the first field of view, whose colours lay slides on each other."""
    bs.pp.extract_patches(adata, size=112, size_um=FIELDS_UM[data][0])
