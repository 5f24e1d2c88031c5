"""Patches alone beside patches, their parts and their neighbours: ridge regression on her2st.

Sections C2 to C5 of one tumour, one left out after another, and another donor: from C2 to C5 to B4 and back. The
penalty of the ridge regression is chosen inside the reference, and genes are. Mean Pearson r over the 50 most variable
genes of the reference and over all that were chosen.

    python benchmarks/multi_tile.py [--encoders stain_stats lite0] [--radius-um 300] [--size 224]
"""

import argparse
import time

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from lite0 import load_lite0

import bleep_sc as bs
from bleep_sc._output.text import markdown_table

TUMOUR, OTHER = ("C2", "C3", "C4", "C5"), ("B4",)
FIELD_UM = 154.0
"""What a patch shows; 224 px of these scans."""
ALONE, AROUND, MULTI = "patch alone", "patch and its neighbours", "patch, its parts and its neighbours"


def prepare(encoders: list[str], radius_um: float, size: int) -> AnnData:
    """Load the sections, and describe every spot in all ways."""
    adata = bs.datasets.her2st((*TUMOUR, *OTHER))
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=size, size_um=FIELD_UM)
    for name in encoders:
        encoder = load_lite0() if name == "lite0" else name
        how = {"show_progress_bar": False}
        for way, function in ((ALONE, bs.pp.image_features), (MULTI, bs.pp.multi_tile_features)):
            start = time.perf_counter()
            more = {} if way == ALONE else {"radius_um": radius_um}
            function(adata, encoder, key_added=f"{name}, {way}", **more, **how)
            print(f"{name}, {way}: {time.perf_counter() - start:.0f} s", flush=True)
        bs.pp.spatial_context(adata, f"{name}, {ALONE}", radius_um=radius_um, key_added=f"{name}, around")
    del adata.obsm["patches"]
    return adata


def reached(adata: AnnData, reference: tuple[str, ...], query: tuple[str, ...], use_rep: list[str]) -> pd.Series:
    """Return the mean correlation within the slides of the query, of the most variable genes and of all."""
    ref, held = (adata[adata.obs["library_id"].isin(names)].copy() for names in (reference, query))
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=1000)
    panel = ref.var["highly_variable"].to_numpy()
    bs.tl.fit_ridge(ref, use_rep=use_rep)
    bs.tl.predict(held, ref=ref, key="ridge")
    slides = ref.obs["library_id"].astype(str).to_numpy()
    variable = bs.metrics.highest_genes(ref[:, panel].X.toarray(), slides, by="variance")
    means = []
    for name in query:
        one = held[(held.obs["library_id"] == name).to_numpy(), panel]
        r = np.nan_to_num(bs.metrics.pearson(np.asarray(one.layers["ridge"]), one.X.toarray()))
        means.append((r[variable].mean(), r.mean()))
    return pd.Series(np.mean(means, axis=0), index=["HVG", "all genes"])


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=["stain_stats", "lite0"])
    parser.add_argument("--radius-um", type=float, default=300.0)
    parser.add_argument("--size", type=int, default=224, help="side of a patch, px")
    arguments = parser.parse_args()
    adata = prepare(arguments.encoders, arguments.radius_um, arguments.size)
    others = {name: tuple(each for each in TUMOUR if each != name) for name in TUMOUR}
    questions = {
        "another section": [(others[name], (name,)) for name in TUMOUR],
        "another donor, C to B": [(TUMOUR, OTHER)],
        "another donor, B to C": [(OTHER, TUMOUR)],
    }
    lines = []
    for encoder in arguments.encoders:
        ways = {ALONE: [ALONE], AROUND: [ALONE, "around"], MULTI: [MULTI]}
        for way, parts in ways.items():
            line = {"encoder": encoder, "features": way}
            for question, splits in questions.items():
                found = [reached(adata, *split, [f"{encoder}, {part}" for part in parts]) for split in splits]
                line |= {f"{question}, {name}": f"{value:.3f}" for name, value in pd.DataFrame(found).mean().items()}
            lines.append(line)
    print(markdown_table(pd.DataFrame(lines)))


if __name__ == "__main__":
    main()
