"""Whether intervals, confidence and predictability keep their word on sections that were held out.

her2st C2 to C5, one section left out after another, imputed by the default from features of EfficientNet-Lite0 at three
fields of view; everything is calibrated on the three others. The intervals stand beside the 5 % to 95 % quantiles of
the training spots, which look at no image. The features are kept in a folder.

    python benchmarks/uncertainty.py [--cache FOLDER] [--sections C4,C5]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from fields_of_view import load
from her2st import SECTIONS, split

import bleep_sc as bs

REPS = ["X_0", "X_1", "X_2"]
SHARE = 0.9
N_FIFTHS = 5


def log_normalised(adata: AnnData) -> AnnData:
    """Return the counts as logarithms of counts per ten thousand."""
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


def measures(lower: np.ndarray, upper: np.ndarray, truth: np.ndarray, hvg: np.ndarray) -> dict[str, float]:
    """Return the interval score and the coverage: of all genes, of some, of entries above zero, and by terciles."""
    score = bs.metrics.interval_score(lower, upper, truth, share=SHARE)
    covered = (truth >= lower) & (truth <= upper)
    terciles = np.array_split(np.argsort(truth.mean(axis=0)), 3)
    return {
        "interval score, all": score.mean(),
        "interval score, HVG": score[hvg].mean(),
        "covered": covered.mean(),
        "covered, above zero": covered[truth > 0].mean(),
        **{f"covered, tercile {i + 1}": covered[:, genes].mean() for i, genes in enumerate(terciles)},
    }


def section_rows(adata: AnnData, section: str) -> list[dict[str, object]]:
    """Leave one section out; return a row for the intervals and one for the quantiles."""
    ref, query, genes = split(adata, section)
    values, truth = (each[:, genes].X.toarray() for each in (ref, query))
    hvg = bs.metrics.highest_genes(values, ref.obs["library_id"].astype(str).to_numpy(), by="variance")
    bs.tl.fit(ref, use_rep=REPS, show_progress_bar=False)
    bs.tl.impute(query, ref=ref, genes=genes, interval=SHARE)
    predicted = query[:, genes]
    rows = [
        {
            "section": section,
            "intervals": "default",
            **measures(predicted.layers["bleep_lower"], predicted.layers["bleep_upper"], truth, hvg),
        }
    ]
    ends = np.quantile(values, [(1 - SHARE) / 2, (1 + SHARE) / 2], axis=0)
    lower, upper = (np.broadcast_to(end, truth.shape) for end in ends)
    rows.append({"section": section, "intervals": "training quantiles", **measures(lower, upper, truth, hvg)})
    error = np.square(truth - predicted.layers["bleep"])[:, hvg] / np.maximum(truth.var(axis=0), 1e-12)[hvg]
    fifths = np.array_split(np.argsort(query.obs["bleep_confidence"].to_numpy(), kind="stable"), N_FIFTHS)
    rows[0] |= {f"error, fifth {i + 1}": error[spots].mean() for i, spots in enumerate(fifths)}
    reached = bs.metrics.pearson(predicted.layers["bleep"], truth)
    promised = predicted.var["bleep_predictability"].to_numpy(dtype=float)
    known = np.isfinite(reached) & np.isfinite(promised)
    rows[0]["r of predictability and reached"] = np.corrcoef(reached[known], promised[known])[0, 1]
    for threshold in (0.2, 0.4):
        believed = known & (promised >= threshold)
        rows[0][f"genes with predictability ≥ {threshold}"] = believed.sum()
        rows[0][f"their r, reached (≥ {threshold})"] = reached[believed].mean()
    return rows


def main() -> None:
    """Print a column for every section and the mean."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("bleep_sc_features"))
    parser.add_argument("--sections", default=",".join(SECTIONS))
    arguments = parser.parse_args()
    adata, rows = log_normalised(load("her2st", arguments.cache)), []
    for section in arguments.sections.split(","):
        rows += section_rows(adata, section)
    table = pd.DataFrame(rows).set_index(["intervals", "section"]).T
    for name in ("default", "training quantiles"):
        part = table[name].dropna()
        part.insert(len(part.columns), "mean", part.mean(axis=1))
        print(f"\n{name}\n{part.to_string(float_format='{:.3f}'.format)}")


if __name__ == "__main__":
    main()
