"""Leave one section out on real tissue: her2st C2 to C5, BLEEP beside ridge regression and the mean.

Nothing of the held-out section takes part in fitting: genes are chosen, penalties and epochs found, and models trained
inside each fold. HEG and HVG are the 50 genes with the highest mean and variance in the truth of the held-out section,
as in the paper, among the genes chosen in the fold.

    python benchmarks/her2st.py [--seeds 2]
"""

import argparse

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from lite0 import load_lite0

import bleep_sc as bs

SECTIONS = ("C2", "C3", "C4", "C5")
ENCODERS = {"X_lite0": "EfficientNet-Lite0", "X_stain_stats": "stain_stats"}
PRESETS = {"BLEEP, paper()": bs.tl.FitConfig.paper()}


def prepare(sections: tuple[str, ...] = SECTIONS, encoders: dict[str, str] = ENCODERS) -> AnnData:
    """Load sections, log-normalise them, and compute the features of 224 px around every spot."""
    adata = bs.datasets.her2st(sections)
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=224)
    for key in encoders:
        encoder = load_lite0() if key == "X_lite0" else key.removeprefix("X_")
        bs.pp.image_features(adata, encoder, key_added=key, show_progress_bar=False)
    del adata.obsm["patches"]
    return adata


def split(adata: AnnData, held_out: str) -> tuple[AnnData, AnnData, list[str]]:
    """Return reference, query, and the genes chosen on the reference."""
    is_query = adata.obs["library_id"] == held_out
    ref, query = adata[~is_query].copy(), adata[is_query].copy()
    bs.pp.select_genes(ref, batch_key="library_id")
    return ref, query, ref.var_names[ref.var["highly_variable"]].tolist()


def scores(query: AnnData, layer: str) -> pd.Series:
    """Return the mean correlation of every gene set."""
    bs.tl.score(query, layer)
    table = query.uns[f"{layer}_score"]
    return table[table["library"] == "mean"].set_index("gene_set")["pearson"]


def bleep(
    ref: AnnData, query: AnnData, genes: list[str], use_rep: str, config: bs.tl.FitConfig, seed: int
) -> pd.Series:
    """Train, impute and score BLEEP."""
    bs.tl.fit(ref, use_rep=use_rep, config=config, random_state=seed, show_progress_bar=False)
    bs.tl.impute(query, ref=ref, genes=genes)
    return scores(query, "bleep")


def ridge(ref: AnnData, query: AnnData, use_rep: str) -> pd.Series:
    """Train, predict and score ridge regression on the same features."""
    bs.tl.fit_ridge(ref, use_rep=use_rep)
    bs.tl.predict(query, ref=ref, key="ridge")
    return scores(query, "ridge")


def run(adata: AnnData, seeds: int) -> pd.DataFrame:
    """Return a row for every features, method, section and seed."""
    rows = []
    for held_out in SECTIONS:
        ref, query, genes = split(adata, held_out)
        for use_rep, encoder in ENCODERS.items():
            rows.append({"features": encoder, "method": "ridge", "section": held_out, **ridge(ref, query, use_rep)})
            for name, config in PRESETS.items():
                for seed in range(seeds):
                    result = bleep(ref, query, genes, use_rep, config, seed)
                    rows.append({"features": encoder, "method": name, "section": held_out, "seed": seed, **result})
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table: mean over sections and seeds, and HEG of every section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2, help="seeds of BLEEP (default 2)")
    rows = run(prepare(), parser.parse_args().seeds)
    by = ["features", "method"]
    table = rows.groupby(by, sort=False)[["all", "HEG", "HVG"]].mean()
    for metric in ("HEG", "HVG"):
        sections = rows.pivot_table(index=by, columns="section", values=metric, sort=False)
        table = table.join(sections.add_prefix(f"{metric} "))
    seeds = rows.groupby([*by, "seed"], sort=False)["HEG"].mean().groupby(by, sort=False).agg(np.ptp)
    print(table.join(seeds.rename("HEG range over seeds")).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
