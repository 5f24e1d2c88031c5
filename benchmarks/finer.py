"""Finer than spots: what is held out is resolution, and not tissue.

Spots are summed two by two into coarse ones, as they stand on their lattice; a reference learns on the coarse spots of
all sections, that of the query included, and predicts at the places of the fine ones, from patches of the same size.
Printed is how well these agree with the fine spots as measured, beside what is had without an image: the coarse value
copied, and interpolated between coarse spots. ``r`` is over the spots of a section, and ``within`` over how they
deviate from the mean of their coarse spot: what is new beyond the coarse value. Genes are the 50 that vary most among
coarse spots; means over these and over sections. ``interpolated`` is a Gaussian of half a coarse pitch, and
``conserved`` what bleep_sc.tl.conserve makes of a prediction. ``abroad`` leaves the section of the query out of the
reference, which then only conserves its coarse values.

    python benchmarks/finer.py mob [--sections MOB1 MOB3] [--encoder lite0] [--size-um 200] [--abroad]
"""

import argparse
import warnings
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse

import bleep_sc as bs
from bleep_sc.models.conserve import conserve, weights_around

N_GENES, N_SPOTS = 50, 3
CONFIG = {"max_epochs": 20, "n_neighbors": 15}


def blocks(adata: ad.AnnData, *, staggered: bool) -> np.ndarray:
    """Return which coarse spot every spot is in, as text; two by two on the axes of the lattice."""
    column, row = adata.obs["array_col"].to_numpy(float), adata.obs["array_row"].to_numpy(float)
    if staggered:
        column, row = (column + row) / 2, (column - row) / 2
    names = zip(adata.obs["library_id"].astype(str), np.floor(column / 2), np.floor(row / 2), strict=True)
    return np.array([f"{library}_{int(x)}_{int(y)}" for library, x, y in names])


def coarse_spots(fine: ad.AnnData, block: np.ndarray) -> ad.AnnData:
    """Sum fine spots; places are their means."""
    names, which = np.unique(block, return_inverse=True)
    sums = sparse.csr_matrix((np.ones(len(which)), (which, np.arange(len(which)))))
    coarse = ad.AnnData(sums @ fine.layers["counts"], var=fine.var[[]].copy(), uns={"spatial": fine.uns["spatial"]})
    coarse.obs_names = names
    coarse.obs["library_id"] = pd.Categorical([name.split("_")[0] for name in names])
    coarse.obsm["spatial"] = (sums @ fine.obsm["spatial"]) / np.asarray(sums.sum(axis=1))
    coarse.layers["counts"] = coarse.X.copy()
    return coarse


def logarithms(adata: ad.AnnData) -> None:
    """Log-normalise counts."""
    adata.X = sparse.csr_matrix(adata.layers["counts"], dtype=np.float32)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)


def features(adata: ad.AnnData, encoder: str, size_um: float) -> str:
    """Compute features of patches of so many µm, and return their key."""
    bs.pp.extract_patches(adata, size=64 if encoder == "stain_stats" else 128, size_um=size_um)
    if encoder == "stain_stats":
        bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
        return "X_stain_stats"
    from lite0 import load_lite0

    bs.pp.image_features(adata, load_lite0(), key_added="X_lite0", show_progress_bar=False)
    return "X_lite0"


def within(values: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Return deviations from the mean of the block."""
    means = np.stack([np.bincount(which, column) for column in values.T], axis=1) / np.bincount(which)[:, None]
    return values - means[which]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tissue", choices=["mob", "her2st"])
    parser.add_argument("--encoder", default="stain_stats", choices=["stain_stats", "lite0"])
    parser.add_argument("--sections", nargs="+", default=None)
    parser.add_argument("--size-um", type=float, default=200.0)
    parser.add_argument("--abroad", action="store_true", help="also references without the section: a fit for each")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    tissue = bs.datasets.mob if options.tissue == "mob" else bs.datasets.her2st
    fine = tissue() if options.sections is None else tissue(options.sections)
    fine.layers["counts"] = fine.X.copy()
    fine = fine[np.asarray(fine.X.sum(axis=1)).ravel() >= 100].copy()
    block = blocks(fine, staggered=options.tissue == "mob")
    _, which, counts = np.unique(block, return_inverse=True, return_counts=True)
    fine, block = fine[counts[which] >= N_SPOTS].copy(), block[counts[which] >= N_SPOTS]
    coarse = coarse_spots(fine, block)
    for each in (fine, coarse):
        logarithms(each)
    bs.pp.select_genes(coarse, batch_key="library_id", n_top_genes=500)
    for each in (fine, coarse):
        use_rep = features(each, options.encoder, options.size_um)
    print(f"{fine.n_obs} fine spots, {coarse.n_obs} coarse ones")
    fit(coarse, use_rep)
    rows = []
    for library in fine.obs["library_id"].cat.categories:
        query = fine[fine.obs["library_id"] == library].copy()
        refs = {"": coarse}
        if options.abroad:
            refs[" abroad"] = coarse[coarse.obs["library_id"] != library].copy()
            fit(refs[" abroad"], use_rep)
        rows += scores(query, coarse, library, block[(fine.obs["library_id"] == library).to_numpy()], refs)
    table = pd.DataFrame(rows).groupby("method", sort=False)[["r", "within"]].mean()
    print(table.to_string(float_format="{:.3f}".format))


def fit(ref: ad.AnnData, use_rep: str) -> None:
    """Fit BLEEP and a ridge regression."""
    bs.tl.fit(ref, use_rep=use_rep, config=bs.tl.FitConfig(**CONFIG), show_progress_bar=False)
    bs.tl.fit_ridge(ref, use_rep=use_rep)


def scores(query: ad.AnnData, coarse: ad.AnnData, library: str, block: np.ndarray, refs: dict) -> list[dict]:
    """Return the scores of every method on one section."""
    own = coarse[coarse.obs["library_id"] == library].copy()
    genes = bs.metrics.highest_genes(own.X.toarray(), np.full(own.n_obs, "x"), by="variance", n_top=N_GENES)
    which = pd.Index(own.obs_names).get_indexer(block)
    truth, known = query.X.toarray()[:, genes], own.X.toarray()[:, genes]
    around = weights_around(query.obsm["spatial"], own.obsm["spatial"])
    weights = around.multiply(1 / around.sum(axis=1)).tocsr()
    results = {"copied": known[which], "interpolated": weights @ known}
    results["interpolated, conserved"] = conserved(weights @ known, which, known)
    blank = query.copy()
    blank.X = sparse.csr_matrix(blank.shape, dtype=np.float32)
    for name, ref in refs.items():
        bs.tl.impute(blank, ref=ref)
        bs.tl.predict(blank, ref=ref, key="ridge")
        for layer in ("bleep", "ridge"):
            plain = blank.layers[layer][:, genes]
            results[f"{layer}{name}"] = plain
            results[f"{layer}{name}, conserved, interpolate=False"] = conserved(plain, which, known)
            results[f"{layer}{name}, conserved"] = conserved(plain, which, known, around)
    deviation = within(truth, which)
    return [
        {
            "method": name,
            "r": np.nan_to_num(bs.metrics.pearson(values, truth)).mean(),
            "within": np.nan_to_num(bs.metrics.pearson(within(values, which), deviation)).mean(),
        }
        for name, values in results.items()
    ]


def conserved(values: np.ndarray, which: np.ndarray, known: np.ndarray, around: Any = None) -> np.ndarray:
    """Scale predicted logarithms of fine spots to those of their coarse spot."""
    rates = conserve(np.expm1(values), which, which, np.expm1(known), summed=False, around=around)
    return np.log1p(rates)


if __name__ == "__main__":
    main()
