"""The figure of the front page: a gene of two real sections that were held out, measured and predicted.

her2st C4 is imputed from C2, C3 and C5 of the same tumour, and B4, which is of another patient, from C2 to C5
(`stain_stats`, the default preset). The gene is the one with the highest predictability on C2, C3 and C5 that has a
name, which is not that of a section (complement C3 is one): it was learnt before either section was looked at.

    python benchmarks/front_page.py [--figure docs/_static/her2st.jpg]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc
from anndata import AnnData

import bleep_sc as bs

USE_REP = "X_stain_stats"
FIGURE = Path(__file__).parents[1] / "docs" / "_static" / "her2st.jpg"
INCHES, DPI = (11.0, 4.5), 130
CLONE = r"[A-Z]{2}\d{6}\.\d+"
"""What genes are called that have no name."""
SECTION = r"[A-Z]\d"
"""What sections are called."""
HELD_OUT = {"C4": ("C2", "C3", "C5"), "B4": ("C2", "C3", "C4", "C5")}
"""What is predicted, and from what."""
SAYS = {"C4": "next section, same tumour", "B4": "another patient"}


def prepared() -> AnnData:
    """Return all sections, with features."""
    adata = bs.datasets.her2st(("C2", "C3", "C4", "C5", "B4"))
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata)
    bs.pp.image_features(adata, USE_REP.removeprefix("X_"), show_progress_bar=False)
    return adata


def imputed(adata: AnnData, held_out: str, sections: Sequence[str]) -> AnnData:
    """Return a section that was held out, imputed from others."""
    library = adata.obs["library_id"]
    ref, query = adata[library.isin(sections)].copy(), adata[library == held_out].copy()
    query.uns["spatial"] = {held_out: query.uns["spatial"][held_out]}
    bs.pp.select_genes(ref, batch_key="library_id")
    bs.tl.fit(ref, use_rep=USE_REP, show_progress_bar=False)
    bs.tl.impute(query, ref=ref, genes=ref.var_names[ref.var["highly_variable"]].tolist())
    bs.tl.score(query)
    return query


def draw(queries: dict[str, AnnData], gene: str) -> plt.Figure:
    """Draw a row for every section: the H&E, the gene as measured and as predicted, and the confidence."""
    figure, axes = plt.subplots(len(queries), 4, figsize=INCHES, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.04, hspace=0.04)
    for row, (section, query) in zip(axes, queries.items(), strict=True):
        bs.pl.spatial(query, ax=row[0])
        bs.pl.spatial(query, gene, layer=[None, "bleep"], ax=row[None, 1:3])
        bs.pl.spatial(query, "bleep_confidence", vmin=0, vmax=1, cmap="YlGn", ax=row[3])
        r = f"{query.var.loc[gene, 'bleep_pearson']:.2f}".removeprefix("0")
        titles = ("H&E, held out", f"{gene}, measured", f"{gene}, predicted: r {r}", "confidence of every spot")
        for each, title in zip(row, titles, strict=True):
            each.set_title(title, fontsize="medium")
        row[0].set_ylabel(SAYS[section], fontsize="medium")
    return figure


def main() -> None:
    """Impute, print how well, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", default=FIGURE, type=Path)
    arguments = parser.parse_args()
    adata = prepared()
    queries = {section: imputed(adata, section, sections) for section, sections in HELD_OUT.items()}
    known = queries["C4"].var
    gene = known.loc[~known.index.str.fullmatch(f"{CLONE}|{SECTION}"), "bleep_predictability"].idxmax()
    for section, query in queries.items():
        print(section, SAYS[section], gene, query.var.loc[gene, ["bleep_predictability", "bleep_pearson"]].to_dict())
        print(query.uns["bleep_score"].to_string())
    draw(queries, gene).savefig(arguments.figure, dpi=DPI, pil_kwargs={"quality": 88})
    print(f"{arguments.figure}: {arguments.figure.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
