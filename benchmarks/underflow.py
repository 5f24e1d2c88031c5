"""What it costs to multiply with gradients that underflow: fits of the default with and without them.

Late in a training most spots are told apart, and gradients of their similarities are below 1e-38, where processors
compute a hundred times slower. `models.losses` takes those below 1e-30 for zero. Two sections of her2st (C2, C3;
`stain_stats`), without cross-fitting, turn about, in processor time; and how far embeddings differ.

    python benchmarks/underflow.py [--repeats 3] [--epochs 200]
"""

import argparse
import time

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from machine import describe

import bleep_sc as bs
from bleep_sc._output.text import markdown_table
from bleep_sc.models import losses

WAYS = {"as it was": 0.0, "below 1e-30 is zero": losses.UNDERFLOW}


def prepared() -> AnnData:
    """Return two sections with features and chosen genes."""
    adata = bs.datasets.her2st(("C2", "C3"))
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    bs.pp.select_genes(adata, batch_key="library_id")
    return adata


def main() -> None:
    """Print the medians, and how far the embeddings are apart."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=200)
    arguments = parser.parse_args()
    adata, config = prepared(), bs.tl.FitConfig(max_epochs=arguments.epochs, cross_fit=False)
    seconds, embedded = {name: [] for name in WAYS}, {}
    for _ in range(arguments.repeats):
        for name, losses.UNDERFLOW in WAYS.items():
            start = time.process_time()
            bs.tl.fit(adata, use_rep="X_stain_stats", config=config, show_progress_bar=False)
            seconds[name].append(time.process_time() - start)
            embedded[name] = adata.obsm["X_bleep_image"].copy()
    medians = {name: np.median(times) for name, times in seconds.items()}
    first, second = medians.values()
    rows = [{"gradients": name, "processor s, median": f"{median:.1f}"} for name, median in medians.items()]
    apart = np.abs(np.subtract(*embedded.values())).max()
    print(f"{describe()}\n\n{markdown_table(pd.DataFrame(rows))}\n")
    print(f"Ratio {second / first:.2f}; {arguments.epochs} epochs, {arguments.repeats} fits each, turn about.")
    print(f"The largest difference of an embedding, whose entries vary by one: {apart:.1e}.")


if __name__ == "__main__":
    main()
