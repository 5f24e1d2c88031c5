"""How many steps BLEEP needs on small references: the published recipe, smaller batches, and more epochs, on mob.

The paper's batches of 512 make one step an epoch of some 800 spots. One section, or one animal, is left out.

    python benchmarks/steps.py [--runs FOLDER]
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from anndata import AnnData
from lite0 import REP, load

import bleep_sc as bs

PAPER = bs.tl.FitConfig.paper()
CONFIGS = {
    "paper": PAPER,
    "batch 256": replace(PAPER, batch_size=256),
    "batch 128": replace(PAPER, batch_size=128),
    "450 epochs": replace(PAPER, max_epochs=450),
    "900 epochs": replace(PAPER, max_epochs=900),
}


def bleep(train: AnnData, query: AnnData, *, random_state: int, config: bs.tl.FitConfig) -> object:
    """Fit and impute; the weights are what the cross-validation takes."""
    bs.tl.fit(train, use_rep=REP, config=config, random_state=random_state, show_progress_bar=False)
    bs.tl.impute(query, ref=train, genes=train.var_names[train.var["highly_variable"]].tolist())
    return query.obsm["bleep_weights"]


def main() -> None:
    """Print a row for every configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=None, help="folder for predictions")
    arguments = parser.parse_args()
    adata, columns = load("mob"), {}
    methods = {name: partial(bleep, config=config) for name, config in CONFIGS.items()}
    for group_key in ("library_id", "animal"):
        path = None if arguments.runs is None else arguments.runs / group_key
        table = bs.bm.cross_validate(
            adata, methods, group_key=group_key, use_rep=REP, n_top_genes=None, n_seeds=1, path=path
        )
        summary = bs.bm.summarise(table)
        summary = summary[summary["genes_from"] == "reference"].set_index(["method", "gene_set"])["mean"].unstack()
        columns[group_key] = summary.loc[list(CONFIGS), ["HEG", "HVG"]]
    print(pd.concat(columns, axis=1).round(3).to_string())


if __name__ == "__main__":
    main()
