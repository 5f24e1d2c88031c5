"""The figure of the front page: two genes of a real section that was held out, measured and predicted.

her2st C4 is imputed from C2, C3 and C5 (`stain_stats`, the default preset). The genes are the two with the highest
predictability among those that have a name; it was learnt on these three, before C4 was looked at.

    python benchmarks/front_page.py [--section C4] [--figure docs/_static/her2st.jpg]
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import scanpy as sc
from anndata import AnnData

import bleep_sc as bs

USE_REP = "X_stain_stats"
FIGURE = Path(__file__).parents[1] / "docs" / "_static" / "her2st.jpg"
INCHES, DPI = (9.6, 5.0), 130
CLONE = r"[A-Z]{2}\d{6}\.\d+"
"""What genes are called that have no name."""


def imputed(held_out: str) -> AnnData:
    """Return the section that was held out, imputed from the others."""
    adata = bs.datasets.her2st()
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata)
    bs.pp.image_features(adata, USE_REP.removeprefix("X_"), show_progress_bar=False)
    is_query = adata.obs["library_id"] == held_out
    ref, query = adata[~is_query].copy(), adata[is_query].copy()
    query.uns["spatial"] = {held_out: query.uns["spatial"][held_out]}
    bs.pp.select_genes(ref, batch_key="library_id")
    bs.tl.fit(ref, use_rep=USE_REP, show_progress_bar=False)
    bs.tl.impute(query, ref=ref, genes=ref.var_names[ref.var["highly_variable"]].tolist())
    return query


def draw(query: AnnData, genes: list[str]) -> plt.Figure:
    """Draw the H&E, the confidence, and both genes as measured and as predicted."""
    figure, axes = plt.subplots(2, 3, figsize=INCHES, layout="constrained")
    figure.get_layout_engine().set(h_pad=0.02, hspace=0.02)
    bs.pl.spatial(query, "bleep_confidence", vmin=0, vmax=1, cmap="cividis", ax=axes[1, :1])
    axes[1, 0].set_title("confidence of every spot", fontsize="large")
    (library,) = query.uns["spatial"].values()
    image, scale = library["images"]["hires"], library["scalefactors"]["tissue_hires_scalef"]
    axes[0, 0].imshow(image, extent=(0, image.shape[1] / scale, image.shape[0] / scale, 0))
    axes[0, 0].set(xlim=axes[1, 0].get_xlim(), ylim=axes[1, 0].get_ylim(), xticks=[], yticks=[])
    axes[0, 0].set_title("H&E, held out", fontsize="large")
    for row, gene in zip(axes, genes, strict=True):
        bs.pl.spatial(query, gene, layer=[None, "bleep"], ax=row[None, 1:])
        for each, what in zip(row[1:], ("measured", "predicted"), strict=True):
            each.set_title(f"{gene}, {what}", fontsize="large")
    return figure


def main() -> None:
    """Impute, print how well, and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--section", default="C4")
    parser.add_argument("--figure", default=FIGURE, type=Path)
    arguments = parser.parse_args()
    query = imputed(arguments.section)
    named = query.var.loc[~query.var_names.str.fullmatch(CLONE), "bleep_predictability"]
    genes = named.nlargest(2).index.tolist()
    bs.tl.score(query)
    print(query.uns["bleep_score"].to_string())
    print(query.var.loc[genes, ["bleep_predictability", "bleep_pearson"]].to_string())
    draw(query, genes).savefig(arguments.figure, dpi=DPI, pil_kwargs={"quality": 88})
    print(f"{arguments.figure}: {arguments.figure.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
