"""The default of 0.1 beside that of 0.2, on every tissue of the benchmarks and with the same seeds.

Breast tumours and olfactory bulbs as in ``donors.py``, neighbouring sections included, and generated tissue: the fourth
slice from the other three, by stain statistics. Runs are kept in a folder, and shared with those of ``donors.py``.

    python benchmarks/what_changed.py [--cache FOLDER] [--runs FOLDER] [--seeds 5] [--data her2st] [--only "same donor"]
"""

import argparse
from pathlib import Path

import pandas as pd
import scanpy as sc
from donor_methods import DEFAULT, FORMER, Part, rows
from donors import DIRECTIONS, Measured, correlations, measure, prepared

import bleep_sc as bs
from bleep_sc._output.text import markdown_table

OLD = "BLEEP, the former default"
NAMES = {OLD: "0.1", DEFAULT: "0.2"}


def compared(measured: dict[str, Measured]) -> pd.DataFrame:
    """Return a table of both."""
    table = correlations(measured)
    return table.assign(**{"": table[""].map(NAMES)})


def generated(seeds: int) -> pd.DataFrame:
    """Return the correlations on generated tissue, mean over seeds."""
    adata = bs.datasets.toy()
    bs.pp.extract_patches(adata, size=112, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    is_query = adata.obs["library_id"] == "slice4"
    lines = []
    for name, config in (("0.1", FORMER), ("0.2", bs.tl.FitConfig())):
        for seed in range(seeds):
            ref, query = adata[~is_query].copy(), adata[is_query].copy()
            bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
            bs.tl.fit(ref, use_rep="X_stain_stats", config=config, random_state=seed, show_progress_bar=False)
            bs.tl.impute(query, ref=ref, genes=ref.var_names[ref.var["highly_variable"]].tolist())
            bs.tl.score(query)
            scores = query.uns["bleep_score"].query("library == 'mean'").set_index("gene_set")["pearson"]
            lines.append({"": name, **scores})
    return pd.DataFrame(lines).groupby("").mean().round(3).reset_index()


def main() -> None:
    """Print a table for every tissue."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("bleep_sc_features"))
    parser.add_argument("--runs", type=Path, default=Path("bleep_sc_runs") / "donors")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", choices=["her2st", "mob", "toy"], default=None)
    parser.add_argument("--only", default="", help="Directions of a tissue whose names hold this.")
    arguments = parser.parse_args()
    if bs.tl.FitConfig.v0_1() != FORMER:
        raise SystemExit("FitConfig.v0_1() is not what was measured as the former default.")
    every = rows(None)
    for data in [arguments.data] if arguments.data else ["her2st", "mob", "toy"]:
        if data == "toy":
            print(f"\n## Generated tissue\n\n{markdown_table(generated(arguments.seeds))}", flush=True)
            continue
        adata = prepared(data, arguments.cache)
        for direction in [each for each in DIRECTIONS if each.data == data and arguments.only in each.name]:
            parts = [Part(adata, data, *names) for names in direction.parts]
            measured = {name: measure(parts, name, every[name], arguments.seeds, arguments.runs) for name in NAMES}
            print(f"\n## {direction.name}\n\n{markdown_table(compared(measured))}", flush=True)


if __name__ == "__main__":
    main()
