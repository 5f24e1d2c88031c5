"""The figures of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import pl, tl
from bleep_sc._adata import keys
from bleep_sc._output import html
from bleep_sc.metrics import cluster_agreement

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import pandas as pd
    from anndata import AnnData

PUBLISHED = ("bleep", "stnet", "histogene")
"""Methods that the paper's figures show side by side."""
N_SHOWN, N_LINES = 3, 10
EASY = ("mean", "location", "knn", "ridge")
"""Methods that are drawn side by side only where there are no others."""


def draw_figures(
    table: pd.DataFrame,
    asked: Mapping[str, pd.DataFrame],
    summary: pd.DataFrame,
    slide: AnnData,
    train: AnnData,
    method: str,
    genes: list[str] | None,
    mark: str | None,
) -> dict[str, tuple[bytes, str]]:
    """Draw every figure of one slide, with its caption, without a display; ``asked`` has the rows of every question."""
    question, hardest = next(iter(asked.items()))
    name = str(slide.obs[keys.LIBRARY].iloc[0])
    layers = [each for each in table["method"].unique() if each in slide.layers]
    ranked = _ranked(slide, layers, method)
    shown = ranked[:N_SHOWN]
    if genes is None:
        here = table[(table["method"] == method) & (table["library"].astype(str) == name)]
        means = here.groupby("gene")["pearson"].mean()
        genes = means.nlargest(2).index.tolist() or slide.var_names[:2].tolist()
    slide.obs["log1p_total_counts"] = np.log1p(slide.obs["total_counts"])
    pictures: dict[str, tuple[Callable[[], Any], str]] = {
        "gene_sets": (lambda: pl.benchmark(summary), "Mean correlation over genes, with intervals."),
        "top_genes": (lambda: pl.top_genes(hardest), f"The best genes of every method: {question}."),
        "mean_variance": (
            lambda: pl.mean_variance(slide, layers if len(layers) <= N_LINES else ranked[:N_LINES]),
            f"Predicted against measured mean and variance of the genes on slide {name}.",
        ),
        "genes_own_scale": (
            lambda: pl.spatial(slide, genes, layer=[None, *shown]),
            f"{', '.join(genes)} over the H&E of {name}, every panel on its own scale.",
        ),
        "genes_common_scale": (
            lambda: pl.spatial(slide, genes, layer=[None, *shown], share_scale=True),
            f"{', '.join(genes)} over the H&E of {name}, on a common scale.",
        ),
    }
    if slide.n_vars > 2:
        for each in shown:
            tl.gene_correlation(slide, each, covariate="log1p_total_counts")
        tl.leiden(slide, method)
        tl.joint_umap(slide, train, method)
        pictures |= {
            "gene_gene": (
                lambda: pl.gene_correlation(slide, [None, *shown]),
                "Correlation of the 50 most variable genes, in the order of the measured ones (their depth taken out).",
            ),
            "leiden": (
                lambda: pl.leiden(slide, method, mark=mark),
                f"Leiden clusters of measured and predicted expression ({method}) on slide {name}."
                + _marked(slide, method, mark),
            ),
            "umap": (
                lambda: pl.umap(slide, method),
                f"Predictions of {method} for slide {name} among the measured profiles of the training slides.",
            ),
        }
    return {figure: (_draw(draw), caption) for figure, (draw, caption) in pictures.items()}


def _ranked(slide: AnnData, layers: list[str], method: str) -> list[str]:
    """Return methods in the order that they are worth drawing in: the wanted one, published ones, others, baselines."""
    varying = [name for name in layers if np.ptp(np.nan_to_num(slide.layers[name]), axis=0).any()]
    ranks = {name: (name != method, name not in PUBLISHED, name in EASY, varying.index(name)) for name in varying}
    return sorted(varying, key=ranks.__getitem__)


def _marked(slide: AnnData, method: str, mark: str | None) -> str:
    """Say how well the clusters of either side tell the outlined region from the rest."""
    if mark is None:
        return ""
    seen = {
        name: cluster_agreement(slide.obs[mark], slide.obs[keys.clusters(name)])["ami"] for name in ("measured", method)
    }
    return f" Outlined: {mark}; the clusters tell it apart with an adjusted mutual information of " + (
        f"{seen['measured']:.2f} (measured) and {seen[method]:.2f} ({method})."
    )


def _draw(draw: Callable[[], Any]) -> bytes:
    """Return the picture that a function of ``pl`` draws."""
    import matplotlib.pyplot as plt

    axes = np.asarray(draw(), dtype=object).ravel()
    figure = axes[0].figure
    plt.close(figure)
    return html.png(figure)
