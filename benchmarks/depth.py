"""How deep counts must be to be learnt from: training slides of real tissue are thinned, held-out ones are not.

``python benchmarks/depth.py mob`` or ``her2st``. A row is a share of the training counts: median counts of a spot,
median noise ceiling of the 50 most variable genes (``metrics.noise_ceiling``), and the mean Pearson r of these genes
on the held-out slide by ridge regression, also as a share of what all counts give. ``bleep`` as a second argument adds
the default of ``tl.fit``, which takes minutes a row.
"""

import sys

import numpy as np
import pandas as pd
import scanpy as sc
from scipy import sparse

import bleep_sc as bs

SHARES = (1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015, 0.007)
PATCH_UM = {"mob": 100, "her2st": 112}


def thinned(adata, share, random):
    """Keep every count with a probability, and the spots that still have ten; normalise and take logarithms."""
    adata = adata.copy()
    counts = sparse.csr_matrix(adata.X)
    counts.data = random.binomial(counts.data.astype(np.int64), share).astype(np.float32)
    counts.eliminate_zeros()
    adata.X = counts
    sc.pp.filter_cells(adata, min_counts=10)
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def main(name, *more):
    """Print the table."""
    methods = ("ridge", *more)
    adata = getattr(bs.datasets, name)()
    sc.pp.filter_cells(adata, min_counts=100)
    bs.pp.extract_patches(adata, size=56, size_um=PATCH_UM[name], pitch_um=200 if name == "her2st" else None)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    del adata.obsm["patches"]
    slides = adata.obs["library_id"].astype(str)
    held_out = slides.unique()[-1]
    train, random = adata[slides != held_out].copy(), np.random.default_rng(0)
    query = thinned(adata[slides == held_out], 1.0, random)
    truth = np.asarray(query.X.todense())
    deep = thinned(train, 1.0, random)
    genes = bs.metrics.highest_genes(deep.X.toarray(), deep.obs["library_id"].to_numpy(), by="variance", n_top=50)
    rows = []
    for share in SHARES:
        ref = thinned(train, share, random)
        names = ref.obs["library_id"].astype(str).to_numpy()
        ceilings = [bs.metrics.noise_ceiling(ref.layers["counts"][names == each])[genes] for each in np.unique(names)]
        row = {"share": share, "counts": np.median(np.asarray(ref.layers["counts"].sum(axis=1))), "spots": ref.n_obs}
        row["ceiling"] = np.nanmedian(np.nanmean(ceilings, axis=0))
        ref.var["highly_variable"] = np.asarray(ref.layers["counts"].sum(axis=0)).ravel() > 0
        bs.tl.fit_ridge(ref, use_rep="X_stain_stats")
        bs.tl.predict(query, ref=ref, key="ridge")
        if "bleep" in methods:
            bs.tl.fit(ref, use_rep="X_stain_stats", show_progress_bar=False)
            bs.tl.impute(query, ref=ref)
        for method in methods:
            r = bs.metrics.pearson(np.asarray(query.layers[method])[:, genes], truth[:, genes])
            row[method] = np.nan_to_num(r).mean()
        rows.append(row)
        print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False, header=len(rows) == 1), flush=True)
    table = pd.DataFrame(rows)
    for method in methods:
        table[f"{method} of all"] = table[method] / table[method].iloc[0]
    print(f"\n{name}, {held_out} held out\n" + table.round(3).to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
