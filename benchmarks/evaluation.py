"""Every method on real tissue, by cross-validation: the tables and figures of docs/benchmarks.md.

her2st C2 to C5, one section left out after another; mob, one section (MOB1 to MOB3) or one animal. All methods see the
same frozen EfficientNet-Lite0 features where they take features; HisToGene sees patches of 112 px. An interrupted run
goes on where it was.

    python benchmarks/evaluation.py her2st|mob|mob-animals [--out FOLDER] [--seeds 3] [--methods a,b]
"""

import argparse
import logging
from functools import partial
from pathlib import Path

import scanpy as sc
from anndata import AnnData
from lite0 import load_lite0

import bleep_sc as bs

REP = "X_lite0"
MIN_COUNTS = 100
GROUPS = {"her2st": "library_id", "mob": "library_id", "mob-animals": "animal"}
LAYERS = ["ENSMUSG00000045573.9", "ENSMUSG00000024871.10"]
"""Penk and Doc2g: the granule cells within, the mitral and glomerular layers around them."""
SHOWN = {"her2st": ("C4", ["SCGB2A2", "HLA-DRA"]), "mob": ("MOB2", LAYERS), "mob-animals": ("MOB3", LAYERS)}
ONE_SEED = ("histogene", "histogene-small")
MOB_UM = 280.32
"""Side of mob's patches: 64 px of its small images, which are resampled."""


def load(data: str) -> AnnData:
    """Load raw counts, the features of 224 px (her2st) or 64 px (mob) around every spot, and patches of 112 px."""
    adata = bs.datasets.her2st() if data == "her2st" else bs.datasets.mob()
    sc.pp.filter_cells(adata, min_counts=MIN_COUNTS)
    size_um = None if data == "her2st" else MOB_UM
    bs.pp.extract_patches(adata, size=224, size_um=size_um)
    bs.pp.image_features(adata, load_lite0(), key_added=REP)
    bs.pp.extract_patches(adata, size=112, size_um=size_um)
    return adata


def methods(names: list[str] | None) -> dict[str, object]:
    """Return the methods as published, and HisToGene's small preset beside it; the slowest run with one seed."""
    every = bs.bm.methods(use_rep=REP)
    every["histogene-small"] = bs.bm.methods(["histogene"], paper=False)["histogene"]
    every = {name: every[name] for name in names or every}
    return {name: partial(method, random_state=0) if name in ONE_SEED else method for name, method in every.items()}


def main() -> None:
    """Run the comparison and write its tables, figures and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=list(GROUPS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--runs", type=Path, default=Path("bleep_sc_runs"), help="folder for predictions")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", default=None)
    arguments = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("bleep_sc").setLevel(logging.INFO)
    adata = load(arguments.data)
    group_key = GROUPS[arguments.data]
    compared = bs.bm.cross_validate(
        adata,
        methods(arguments.methods.split(",") if arguments.methods else None),
        group_key=group_key,
        use_rep=REP,
        n_top_genes=None if arguments.data.startswith("mob") else 1000,
        n_seeds=arguments.seeds,
        path=arguments.runs / arguments.data,
        return_predictions=True,
    )
    library_id, genes = SHOWN[arguments.data]
    bs.bm.report(
        adata,
        compared,
        arguments.out / arguments.data,
        group_key=group_key,
        library_id=library_id,
        genes=genes,
        notes=f"{arguments.data}. Frozen EfficientNet-Lite0 features; ST-Net on them is a linear probe. Networks as "
        "published.",
    )
    print((arguments.out / arguments.data / "summary.md").read_text())


if __name__ == "__main__":
    main()
