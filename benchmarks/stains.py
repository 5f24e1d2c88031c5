"""What normalising stains does to the prediction of held-out tissue: her2st C2 to C5, and mob from animal to animal.

Frozen EfficientNet-Lite0 features of 112 px that show 154 µm (mob: 280 µm) around every spot. The target is found on
the training slides, as are genes, penalties and weights; the held-out section is carried to it as it is, and with its
haematoxylin and eosin scaled, a stand-in for another laboratory. Mean Pearson r over the 50 most variable genes of the
training slides, one seed.

    python benchmarks/stains.py [--data her2st,mob] [--out FOLDER]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from anndata import AnnData
from lite0 import load_lite0
from stain_jitter import STAININGS, restain

import bleep_sc as bs

REP = "X_lite0"
NORMALISED = ("none", "reinhard", "macenko")
AS_IT_IS, *SHIFTED = STAININGS


def load(data: str) -> AnnData:
    """Load log-normalised sections with patches."""
    adata = bs.datasets.her2st() if data == "her2st" else bs.datasets.mob()
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=112, size_um=154 if data == "her2st" else 280.32)
    describe(adata, "none")
    return adata


def describe(adata: AnnData, normalised: str, ref: AnnData | None = None) -> None:
    """Compute features of the patches, normalised or as they are."""
    if normalised != "none":
        bs.pp.normalize_stains(adata, ref, method=normalised)
    key = "patches" if normalised == "none" else "patches_normalized"
    bs.pp.image_features(adata, load_lite0(), patches_key=key, key_added=REP, show_progress_bar=False)


def pearson(query: AnnData, layer: str, genes: list[str]) -> float:
    """Return the mean correlation, inside each section; a gene that does not vary counts as zero."""
    of_sections = []
    for section in query.obs["library_id"].unique():
        part = query[query.obs["library_id"] == section, genes]
        of_sections.append(np.nan_to_num(bs.metrics.pearson(part.layers[layer], part.X.toarray())).mean())
    return float(np.mean(of_sections))


def rows_of(data: str, adata: AnnData, group_key: str, stainings: list[str]) -> list[dict[str, object]]:
    """Leave one group out after another."""
    rows = []
    for group in adata.obs[group_key].unique():
        held_out = (adata.obs[group_key] == group).to_numpy()
        ref, query = adata[~held_out].copy(), adata[held_out].copy()
        if data == "her2st":  # mob has 1000 genes in all
            bs.pp.select_genes(ref, batch_key="library_id")
        panel = ref.var_names[ref.var["highly_variable"]] if data == "her2st" else ref.var_names
        sections = ref.obs["library_id"].astype(str).to_numpy()
        best = bs.metrics.highest_genes(ref[:, panel].X.toarray(), sections, by="variance")
        genes, patches = panel[best].tolist(), query.obsm["patches"]
        for normalised in NORMALISED:
            if normalised != "none":
                describe(ref, normalised)
            bs.tl.fit(ref, use_rep=REP, config=bs.tl.FitConfig.paper(), show_progress_bar=False)
            bs.tl.fit_ridge(ref, use_rep=REP)
            for staining in stainings:
                query.obsm["patches"] = patches if staining == AS_IT_IS else restain(patches, *STAININGS[staining])
                describe(query, normalised, ref)
                bs.tl.impute(query, ref=ref, genes=genes)
                bs.tl.predict(query, ref=ref, key="ridge")
                for method in ("bleep", "ridge"):
                    where = {"data": data, "held-out stain": staining, "group": str(group)}
                    rows.append(
                        {**where, "normalised": normalised, "method": method, "HVG": pearson(query, method, genes)}
                    )
                    print(*rows[-1].values(), flush=True)
    return rows


def markdown(rows: pd.DataFrame) -> str:
    """Return the mean over groups, and every group in brackets."""
    lines = ["| tissue | held-out stain | method | none | reinhard | macenko |", "|---|---|---|---|---|---|"]
    for names, part in rows.groupby(["data", "held-out stain", "method"], sort=False):
        cells = []
        for normalised in NORMALISED:
            values = part.loc[part["normalised"] == normalised, "HVG"]
            cells.append(f"{values.mean():.3f} ({', '.join(f'{value:.3f}' for value in values)})")
        lines.append(f"| {' | '.join([*names, *cells])} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="her2st,mob")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for data in arguments.data.split(","):
        held_out, stainings = ("library_id", [AS_IT_IS, *SHIFTED]) if data == "her2st" else ("animal", [AS_IT_IS])
        rows += rows_of(data, load(data), held_out, stainings)
    table = markdown(pd.DataFrame(rows))
    (arguments.out / "stains.md").write_text(table)
    print(table, end="")


if __name__ == "__main__":
    main()
