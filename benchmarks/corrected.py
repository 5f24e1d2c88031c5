"""What a model from elsewhere adds to a reference: one of another patient, on a breast tumour (her2st).

"Elsewhere" is a ridge regression on B4 of patient B, which predicts C2 to C5 of patient C from their images alone. Each
of these is held out from the other three, imputed from them, and corrected by `bs.tl.correct_prediction`, or the
prediction is one more set of features (`bs.pp.prediction_features`). Mean Pearson r over the 50 most variable genes of
the reference and over all of its panel; `stain_stats`.

    python benchmarks/corrected.py [--out FILE]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData

import bleep_sc as bs
from bleep_sc._output.text import markdown_table

TUMOUR, OTHER = ("C2", "C3", "C4", "C5"), "B4"
REP, THEIRS = "X_stain_stats", "elsewhere"
OUT = Path(__file__).parent / "results" / "corrected.md"
QUIET = {"show_progress_bar": False}
NAMES = {
    THEIRS: "the model from elsewhere alone",
    "ridge": "ridge regression on the reference",
    "ridge_corrected": "the same, corrected by it",
    "bleep": "BLEEP",
    "bleep_corrected": "the same, corrected by it",
    "with_features": "BLEEP with it among the features",
}


def prepared() -> AnnData:
    """Return the tumour, with features, and what the model from elsewhere predicts of it."""
    adata = bs.datasets.her2st((*TUMOUR, OTHER))
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata)
    bs.pp.image_features(adata, REP.removeprefix("X_"), **QUIET)
    is_other = adata.obs["library_id"] == OTHER
    other, tumour = adata[is_other].copy(), adata[~is_other].copy()
    bs.pp.select_genes(other)
    bs.tl.fit_ridge(other, use_rep=REP)
    bs.tl.predict(tumour, ref=other, key="ridge", key_added=THEIRS)
    known = tumour.var[f"{THEIRS}_predicted"].to_numpy()
    values = np.full(tumour.shape, np.nan, dtype=np.float32)
    values[:, known] = np.asarray(tumour[:, known].layers[THEIRS])
    plain = AnnData(tumour.X, obs=tumour.obs, var=tumour.var[["gene_ids"] if "gene_ids" in tumour.var else []])
    plain.obsm, plain.uns = tumour.obsm, {key: tumour.uns[key] for key in tumour.uns if not key.startswith(THEIRS)}
    plain.layers[THEIRS] = values  # as a stranger's: without the record of bleep_sc
    return plain


def scores(adata: AnnData, held_out: str) -> list[dict[str, object]]:
    """Return the correlations of every row on one section."""
    is_query = adata.obs["library_id"] == held_out
    ref, query = adata[~is_query].copy(), adata[is_query].copy()
    bs.pp.select_genes(ref, batch_key="library_id")
    panel = ref.var_names[ref.var["highly_variable"]].tolist()
    for each in (ref, query):
        bs.pp.prediction_features(each, THEIRS, THEIRS)
    bs.tl.fit_ridge(ref, use_rep=REP)
    bs.tl.predict(query, ref=ref, key="ridge")
    bs.tl.fit(ref, use_rep=REP, **QUIET)
    bs.tl.impute(query, ref=ref, genes=panel)
    bs.tl.fit(ref, use_rep=[REP, f"X_{THEIRS}"], key_added="with_features", **QUIET)
    bs.tl.impute(query, ref=ref, key="with_features", genes=panel)
    for by in ("ridge", "bleep"):
        bs.tl.correct_prediction(query, ref, THEIRS, by=by, key_added=f"{by}_corrected")
    known = bs.metrics.highest_genes(ref[:, panel].X.toarray(), ref.obs["library_id"].to_numpy(str), by="variance")
    truth = query[:, panel].X.toarray()
    rows = []
    for name in NAMES:
        r = np.nan_to_num(bs.metrics.pearson(np.asarray(query[:, panel].layers[name]), truth))
        rows.append({"section": held_out, "row": name, "HVG": r[known].mean(), "all genes": r.mean()})
    return rows


def main() -> None:
    """Print and write the means over sections, and how far a correction is ahead of what it corrects."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    adata = prepared()
    table = pd.DataFrame([row for held_out in TUMOUR for row in scores(adata, held_out)])
    means = table.groupby("row", sort=False)[["HVG", "all genes"]].mean()
    by_section = table.pivot(index="section", columns="row", values="HVG")
    base = {"ridge_corrected": "ridge", "bleep_corrected": "bleep", "with_features": "bleep"}
    means["sections ahead"] = [
        f"{int((by_section[name] > by_section[base[name]]).sum())} of {len(TUMOUR)}" if name in base else ""
        for name in means.index
    ]
    shown = means.rename(index=NAMES).rename_axis("").reset_index().round(3)
    text = f"{__doc__.split('    python')[0].strip()}\n\n{markdown_table(shown)}\n"
    arguments.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
