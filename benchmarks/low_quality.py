"""Whether a region of low quality shows in the clusters of measured and of predicted expression (the paper's figure 5).

On every slice of the toy tissue, held out in turn, the region with few counts and high mitochondrial shares is compared
with the Leiden clusters by adjusted mutual information. It is in the counts alone; the image does not show it.

    python benchmarks/low_quality.py [--runs FOLDER]
"""

import argparse
from pathlib import Path

import pandas as pd

import bleep_sc as bs

METHODS = ("knn", "ridge", "bleep")


def main() -> None:
    """Print a row for every slice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=None, help="folder for predictions")
    arguments = parser.parse_args()
    adata = bs.datasets.toy()
    bs.pp.extract_patches(adata, size=112, size_um=112)
    bs.pp.image_features(adata, "stain_stats")
    _, predictions = bs.bm.cross_validate(
        adata,
        bs.bm.methods(list(METHODS), use_rep="X_stain_stats"),
        group_key="library_id",
        use_rep="X_stain_stats",
        n_top_genes=40,
        path=arguments.runs,
        return_predictions=True,
    )
    rows = {}
    for group in adata.obs["library_id"].unique():
        slide = bs.bm.held_out(adata, predictions, group, group_key="library_id")
        for method in METHODS:
            bs.tl.leiden(slide, method)
        rows[group] = {
            name: bs.metrics.cluster_agreement(slide.obs["low_quality"], slide.obs[f"{name}_leiden"])["ami"]
            for name in ("measured", *METHODS)
        }
    table = pd.DataFrame(rows).T
    print(pd.concat([table, table.mean().to_frame("mean").T]).round(3).to_string())


if __name__ == "__main__":
    main()
