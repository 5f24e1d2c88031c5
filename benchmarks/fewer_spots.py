"""How much each method needs: her2st C2 to C5, one section left out after another, with ever fewer training spots.

All methods see the same frozen EfficientNet-Lite0 features, and the same random share of the training spots of every
section. Genes are chosen on all of them.

    python benchmarks/fewer_spots.py [--seeds 3]
"""

import argparse
from functools import partial

import numpy as np
from anndata import AnnData
from lite0 import REP, load
from scipy import sparse

import bleep_sc as bs

SHARES = (1, 1 / 2, 1 / 4, 1 / 8)
NAMES = ("knn", "ridge", "bleep")


def thinned(
    train: AnnData, query: AnnData, *, random_state: int, name: str, share: float
) -> np.ndarray | sparse.csr_matrix:
    """Predict from a share of every training section."""
    random = np.random.default_rng(random_state)
    spots = train.obs.groupby("library_id", observed=True).indices.values()
    kept = np.concatenate([random.choice(of_slide, round(share * len(of_slide)), replace=False) for of_slide in spots])
    method = bs.bm.methods([name], use_rep=REP)[name]
    some = train[np.sort(kept)].copy()
    predicted = method(some, query, random_state=random_state) if name == "bleep" else method(some, query)
    if not sparse.issparse(predicted):
        return predicted
    places = sparse.csr_matrix((np.ones(len(kept)), (np.arange(len(kept)), np.sort(kept))), (len(kept), train.n_obs))
    return predicted @ places  # weights over all training spots


def main() -> None:
    """Print the mean correlation by method and share."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    methods = {f"{name} {share:.3f}": partial(thinned, name=name, share=share) for name in NAMES for share in SHARES}
    table = bs.bm.cross_validate(
        load("her2st"),
        methods,
        group_key="library_id",
        use_rep=REP,
        n_top_genes=1000,
        n_seeds=parser.parse_args().seeds,
    )
    rows = bs.bm.summarise(table)
    rows = rows[rows["gene_set"].isin(["HEG", "HVG"]) & (rows["genes_from"] == "reference")]
    rows = rows[rows["method"].isin(methods)]
    rows[["name", "share"]] = rows["method"].str.split(expand=True).to_numpy()
    shown = rows.pivot_table(index="name", columns=["gene_set", "share"], values="mean", sort=False)
    print(shown.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
