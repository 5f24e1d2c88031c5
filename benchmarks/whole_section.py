"""A whole real section as if it had no expression: the map, beside imputing the measured spots themselves.

A section of her2st is tiled every 100 and every 50 µm and imputed from the three others; at the measured spots the map
is read off the nearest tile, or off the three nearest, weighed by how near they are. The tiles next to the spots are
also imputed without the others: some views of features depend on their slide, and tiles cover more of it than spots.
Pearson r with the truth of the section.

    python benchmarks/whole_section.py [--section C4] [--figure FILE]
"""

import argparse

import numpy as np
import pandas as pd
import scanpy as sc
from scipy.spatial import cKDTree

import bleep_sc as bs

USE_REP = "X_stain_stats"
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
    parser.add_argument("--section", default="C4")
    parser.add_argument("--figure", default=None)
    arguments = parser.parse_args()
    held_out = arguments.section
    adata = bs.datasets.her2st()
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata)
    bs.pp.image_features(adata, USE_REP.removeprefix("X_"), show_progress_bar=False)
    is_query = adata.obs["library_id"] == held_out
    ref, query = adata[~is_query].copy(), adata[is_query].copy()
    bs.pp.select_genes(ref, batch_key="library_id")
    genes = ref.var_names[ref.var["highly_variable"]].tolist()
    bs.tl.fit(ref, use_rep=USE_REP, show_progress_bar=False)
    bs.tl.impute(query, ref=ref, genes=genes)
    truth = query[:, genes].X.toarray()
    best = bs.metrics.highest_genes(truth, np.zeros(len(truth), dtype=str), by="variance")
    library = adata.uns["spatial"][held_out]
    path, mpp = library["metadata"]["source_image_path"], library["scalefactors"]["microns_per_pixel"]
    measured = {"measured spots themselves": query[:, genes].layers["bleep"]}
    for spacing in SPACINGS_UM:
        tiles = bs.pp.tile_slide(path, ref=ref, mpp=mpp, spacing_um=spacing, library_id="map", show_progress_bar=False)
        bs.tl.impute(tiles, ref=ref, genes=genes)
        values = tiles[:, genes].layers["bleep"]
        for n in (1, 3):
            name = f"{tiles.n_obs} tiles every {spacing} µm, {n} nearest"
            measured[name] = read_off(tiles.obsm["spatial"], values, query.obsm["spatial"], n)
    nearest = tiles[cKDTree(tiles.obsm["spatial"]).query(query.obsm["spatial"])[1]].copy()
    nearest.obs_names_make_unique()
    bs.tl.impute(nearest, ref=ref, genes=genes)
    measured[f"the nearest of {tiles.n_obs} tiles, without the others"] = nearest[:, genes].layers["bleep"]
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
