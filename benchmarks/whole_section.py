"""A whole real section as if it had no expression: the map, beside imputing the measured spots themselves.

her2st C4 is tiled every 100 and every 50 µm and imputed from C2, C3 and C5; at the measured spots the map is read off
the nearest tile, or off the three nearest, weighed by how near they are. Pearson r with the truth of C4.

    python benchmarks/whole_section.py [--figure FILE]
"""

import argparse

import numpy as np
import pandas as pd
import scanpy as sc
from scipy.spatial import cKDTree

import bleep_sc as bs

HELD_OUT, USE_REP = "C4", "X_stain_stats"
SPACINGS_UM = (100, 50)


def read_off(tiles: np.ndarray, values: np.ndarray, spots: np.ndarray, n: int) -> np.ndarray:
    """Read a map off its n nearest tiles, weighed by the inverse of their distance."""
    distance, index = cKDTree(tiles).query(spots, k=n)
    weights = 1 / np.maximum(distance.reshape(len(spots), n), 1)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.einsum("sn,sng->sg", weights, values[index.reshape(len(spots), n)])


def main() -> None:
    """Print a row for every way of reading."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", default=None)
    arguments = parser.parse_args()
    adata = bs.datasets.her2st()
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata)
    bs.pp.image_features(adata, USE_REP.removeprefix("X_"), show_progress_bar=False)
    is_query = adata.obs["library_id"] == HELD_OUT
    ref, query = adata[~is_query].copy(), adata[is_query].copy()
    bs.pp.select_genes(ref, batch_key="library_id")
    genes = ref.var_names[ref.var["highly_variable"]].tolist()
    bs.tl.fit(ref, use_rep=USE_REP, show_progress_bar=False)
    bs.tl.impute(query, ref=ref, genes=genes)
    truth = query[:, genes].X.toarray()
    best = bs.metrics.highest_genes(truth, np.zeros(len(truth), dtype=str), by="variance")
    library = adata.uns["spatial"][HELD_OUT]
    path, mpp = library["metadata"]["source_image_path"], library["scalefactors"]["microns_per_pixel"]
    measured = {"measured spots themselves": query[:, genes].layers["bleep"]}
    for spacing in SPACINGS_UM:
        tiles = bs.pp.tile_slide(path, ref=ref, mpp=mpp, spacing_um=spacing, library_id="map", show_progress_bar=False)
        bs.tl.impute(tiles, ref=ref, genes=genes)
        values = tiles[:, genes].layers["bleep"]
        for n in (1, 3):
            name = f"{tiles.n_obs} tiles every {spacing} µm, {n} nearest"
            measured[name] = read_off(tiles.obsm["spatial"], values, query.obsm["spatial"], n)
    rows = {}
    for name, values in measured.items():
        pearson = np.nan_to_num(bs.metrics.pearson(values, truth))
        rows[name] = {"HVG": pearson[best].mean(), "all": pearson.mean()}
    print(pd.DataFrame(rows).T.to_string(float_format="{:.4f}".format))
    if arguments.figure:
        ax = bs.pl.spatial(tiles, ["SCGB2A2", "HLA-DRA"], layer="bleep")
        ax.ravel()[0].figure.savefig(arguments.figure, dpi=120)


if __name__ == "__main__":
    main()
