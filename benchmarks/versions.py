"""Whether ``FitConfig.v0_1()`` predicts what the default of 0.1 predicted: by the code of both, on generated tissue.

Run with each version, 0.1 from a checkout of the commit before ``FitConfig.views``, then compare: two seeds of a
version differ by as much as the versions should.

    PYTHONPATH=CHECKOUT/src python benchmarks/versions.py old.npz
    python benchmarks/versions.py new.npz
    python benchmarks/versions.py old.npz new.npz
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import scanpy as sc

import bleep_sc as bs

SEEDS = (0, 1)


def predicted(path: Path) -> None:
    """Write what this version predicts, by the default of 0.1, and by its own where that is another."""
    adata = bs.datasets.toy(n_slices=3)[::2].copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=56, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    is_query = adata.obs["library_id"] == "slice3"
    former = getattr(bs.tl.FitConfig, "v0_1", None)
    configs = {"0.1": bs.tl.FitConfig()} if former is None else {"v0_1()": former(), "0.2": bs.tl.FitConfig()}
    found = {}
    for name, config in configs.items():
        for seed in SEEDS:
            ref, query = adata[~is_query].copy(), adata[is_query].copy()
            bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
            config = replace(config, max_epochs=60, n_dims=64, cross_fit=False)
            bs.tl.fit(ref, use_rep="X_stain_stats", config=config, random_state=seed, show_progress_bar=False)
            bs.tl.impute(query, ref=ref)
            found[f"{name}, seed {seed}"] = query[:, ref.var["highly_variable"].to_numpy()].layers["bleep"]
    np.savez(path, **found)


def compared(paths: list[Path]) -> None:
    """Print the correlation of every two predictions, mean over genes."""
    found = {name: values for path in paths for name, values in np.load(path).items()}
    for one, values in found.items():
        r = [np.nan_to_num(bs.metrics.pearson(values, other)).mean() for other in found.values()]
        print(f"{one}: " + ", ".join(f"{each:.3f} ({other})" for each, other in zip(r, found, strict=True)))


if __name__ == "__main__":
    files = [Path(each) for each in sys.argv[1:]]
    predicted(*files) if len(files) == 1 else compared(files)
