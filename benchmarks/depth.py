"""What a slide of few counts does to a reference: toy tissue and her2st, one slide thinned to a tenth and a hundredth.

One slide of the reference is thinned before normalising. It takes part in the fit, or is embedded by a model of the
others, or is left out. Features are stain statistics. Genes are chosen, and the 50 with the highest variance found, on
the slides that are not thinned; bias is the mean of prediction less measurement over these 50.

    python benchmarks/depth.py [--epochs 200] [--tissue toy,her2st] [--read-all]
"""

import argparse
import json
import warnings

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData

import bleep_sc as bs
from bleep_sc._adata import depth

DEPTHS = (1, 0.1, 0.01)
REP = "X_stain_stats"
TISSUE = {"toy": ("slice1", "slice2", "slice3", "slice4"), "her2st": ("C2", "C3", "C4", "C5")}
"""The second slide is thinned, and the last one predicted."""


def load(tissue: str) -> AnnData:
    """Return counts with the features of 224 px (toy: 112 µm) around every spot."""
    if tissue == "toy":
        adata = bs.datasets.toy(n_slices=4)
        bs.pp.extract_patches(adata, size=24, size_um=112)
    else:
        adata = bs.datasets.her2st(TISSUE[tissue])
        sc.pp.filter_cells(adata, min_counts=100)
        bs.pp.extract_patches(adata, size=224)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    del adata.obsm["patches"]
    return adata


def at_depth(adata: AnnData, slide: str, share: float) -> AnnData:
    """Thin the counts of a slide, drop spots that are left without any, and normalise all."""
    adata, is_slide = adata.copy(), (adata.obs["library_id"] == slide).to_numpy()
    if share < 1:
        counts = adata.X.astype(np.int64)
        thinned = np.repeat(is_slide, np.diff(counts.indptr))
        counts.data[thinned] = np.random.default_rng(0).binomial(counts.data[thinned], share)
        counts.eliminate_zeros()
        adata.X = counts.astype(np.float32)
    sc.pp.filter_cells(adata, min_counts=1)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def row(query: AnnData, refs: AnnData | list[AnnData], slide: str, hvg: np.ndarray) -> dict[str, float]:
    """Impute a slide; return what the thinned one has of the weights, and how good the prediction is."""
    bs.tl.impute(query, refs)
    truth, predicted = query.X.toarray()[:, hvg], query.layers["bleep"][:, hvg]
    return {
        "share of weights": json.loads(query.uns["bleep_imputed"]["shares"]).get(slide, 0.0),
        "bias": float((predicted - truth).mean()),
        "r, retrieved": float(np.nan_to_num(bs.metrics.pearson(query.layers["bleep_retrieved"][:, hvg], truth)).mean()),
        "r": float(np.nan_to_num(bs.metrics.pearson(predicted, truth)).mean()),
    }


def rows(tissue: str, epochs: int) -> list[dict[str, object]]:
    """Return a row for every depth and way of using the thinned slide."""
    whole, slides = load(tissue), TISSUE[tissue]
    config, result = bs.tl.FitConfig(max_epochs=epochs, cross_fit=False), []
    for share in DEPTHS:
        adata = at_depth(whole, slides[1], share)
        on = [adata[adata.obs["library_id"] == name].copy() for name in slides]
        others = adata[adata.obs["library_id"].isin([slides[0], slides[2]])].copy()
        bs.pp.select_genes(others, batch_key="library_id")
        genes = others.var["highly_variable"].to_numpy()
        shown = np.asarray(adata[:, genes].X.sum(axis=1)).ravel() > 0
        adata, on = adata[shown].copy(), [part[np.asarray(part[:, genes].X.sum(axis=1)).ravel() > 0] for part in on]
        others, thinned, query = (part[:, genes].copy() for part in (others, on[1], on[3]))
        names = others.obs["library_id"].astype(str).to_numpy()
        hvg = bs.metrics.highest_genes(others.X.toarray(), names, by="variance")
        both = adata[adata.obs["library_id"] != slides[3], genes].copy()
        for ref in (both, others):
            bs.tl.fit(ref, use_rep=REP, config=config, show_progress_bar=False)
        bs.tl.embed(thinned, others, expression=True)
        uses = {"fitted with the others": both, "embedded": [others, thinned], "left out": others}
        for name, refs in uses.items():
            result.append({"tissue": tissue, "depth": share, "slide": name, **row(query, refs, slides[1], hvg)})
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--tissue", default=",".join(TISSUE))
    parser.add_argument("--read-all", action="store_true", help="read off shallow slides as off any other")
    arguments = parser.parse_args()
    if arguments.read_all:
        depth.SHALLOW = 0.0
    warnings.filterwarnings("ignore", message=".*far fewer genes are detected")
    table = pd.DataFrame([each for tissue in arguments.tissue.split(",") for each in rows(tissue, arguments.epochs)])
    print(table.to_string(index=False, float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
