from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc import _keys, pl, tl
from bleep_sc._runtime import logger
from bleep_sc.bm import _html
from bleep_sc.bm._held_out import held_out, training
from bleep_sc.bm._structure import structure
from bleep_sc.bm._summary import summarise
from bleep_sc.metrics import cluster_agreement

if TYPE_CHECKING:
    from anndata import AnnData

N_TOP_GENES = 5
MAIN_SETS = (
    ("HEG", "reference"),
    ("HVG", "reference"),
    ("HEG", "truth"),
    ("HVG", "truth"),
    ("MG", "fixed"),
    ("all", "panel"),
)


def report(
    adata: AnnData,
    table: pd.DataFrame,
    predictions: Mapping[str, Mapping[str, pd.DataFrame]],
    path: str | Path,
    *,
    group_key: str,
    group: str | None = None,
    method: str = "bleep",
    genes: list[str] | None = None,
    mark: str | None = None,
    patients: Mapping[str, str] | None = None,
    layer: str | None = None,
    title: str = "Cross-validation",
    notes: str = "",
    random_state: int = 0,
) -> None:
    """Write the paper's exhibits of a cross-validation: tables, figures, and one self-contained page.

    Table 1 (gene sets), table 2 (top genes), figure 2 (mean and variance), figure 3 (genes over the H&E), figure 4
    (gene-gene correlation), figure 5 (clusters) and supplementary figure 1 (predictions among the reference profiles).

    Parameters
    ----------
    adata, table, predictions
        What was given to :func:`bleep_sc.bm.cross_validate`, and what it returned.
    path
        The folder to write into: ``report.html``, ``*.csv``, ``summary.md`` and ``*.png``. Files of a report before are
        replaced when all of the new ones are there.
    group_key, layer
        As they were given to it.
    group
        The group that the figures show; None is the first.
    method
        The method that the figures show beside the truth.
    genes
        Genes to draw over the H&E; None is the two that the method predicts best there.
    mark
        A boolean column of ``obs`` to outline in figure 5, such as a region of low quality.
    patients
        The patient of every slide, for the intervals.
    title, notes
        Of the page; notes may say where the data are from.
    random_state
        Of clusters and bootstrap.

    Examples
    --------
    >>> bs.bm.report(adata, table, predictions, "report", group_key="library_id")  # doctest: +SKIP
    """
    path = Path(path)
    group = next(iter(predictions[method])) if group is None else group
    path.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".report-", dir=path))
    try:
        tables = _tables(adata, table, predictions, group_key, layer, patients, random_state)
        slide = held_out(adata, predictions, group, group_key=group_key, layer=layer)
        train = training(adata, slide.var_names, group, group_key=group_key, layer=layer)
        figures = _figures(table, tables["summary"], slide, train, method, group, genes, mark, random_state)
        for name, frame in tables.items():
            frame.to_csv(draft / f"{name}.csv", index=False)
        (draft / "summary.md").write_text(_html.markdown(_wide(tables["summary"])))
        for name, (picture, _) in figures.items():
            (draft / f"{name}.png").write_bytes(picture)
        page = _html.page(title, notes, _sections(tables, figures, patients))
        (draft / "report.html").write_text(page)
        for file in sorted(draft.iterdir()):
            os.replace(file, path / file.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    logger.info("Report written to %s", path / "report.html")


def _tables(
    adata: AnnData,
    table: pd.DataFrame,
    predictions: Mapping[str, Mapping[str, pd.DataFrame]],
    group_key: str,
    layer: str | None,
    patients: Mapping[str, str] | None,
    random_state: int,
) -> dict[str, pd.DataFrame]:
    parts = []
    for group in table["group"].unique():
        slide = held_out(adata, predictions, group, group_key=group_key, layer=layer)
        present = [name for name, groups in predictions.items() if group in groups]
        first = [name for name in ("bleep",) if name in present]
        order = first + [name for name in present if name not in first]
        parts.append(structure(slide, order, random_state=random_state).assign(group=group))
    return {
        "genes": table,
        "summary": summarise(table, patients=patients, random_state=random_state),
        "top_genes": _top_genes(table),
        "structure": pd.concat(parts, ignore_index=True),
    }


def _top_genes(table: pd.DataFrame) -> pd.DataFrame:
    """Return the best genes of every method by mean correlation over slides and seeds (table 2 of the paper)."""
    means = table["pearson"].fillna(0.0).groupby([table["method"], table["gene"]], sort=False).mean().reset_index()
    means = means[means["pearson"] > 0]
    best = means.sort_values("pearson", ascending=False).groupby("method", sort=False).head(N_TOP_GENES)
    return best.sort_values(["method", "pearson"], ascending=[True, False], ignore_index=True)


def _wide(summary: pd.DataFrame) -> pd.DataFrame:
    """Return table 1: a row for every method, a column for every gene set, mean and interval."""
    columns = {}
    for gene_set, origin in MAIN_SETS:
        part = summary[(summary["gene_set"] == gene_set) & (summary["genes_from"] == origin)].set_index("method")
        if len(part):
            name = gene_set if origin in ("fixed", "panel") else f"{gene_set} ({origin})"
            columns[name] = [f"{row.mean:.3f} [{row.lower:.3f}, {row.upper:.3f}]" for row in part.itertuples()]
            index = part.index
    wide = pd.DataFrame(columns, index=index)
    hvg = summary[(summary["gene_set"] == "HVG") & (summary["genes_from"] == "reference")].set_index("method")
    wide["HVG, share of ceiling"] = hvg["of_ceiling"].map("{:.0%}".format).replace("nan%", "")
    if "gain" in hvg:
        gain = [
            "" if np.isnan(row.gain) else f"{row.gain:+.3f} [{row.gain_lower:+.3f}, {row.gain_upper:+.3f}]"
            for row in hvg.itertuples()
        ]
        wide["HVG, gain over location copy"] = gain
        wide["HVG, r given location copy"] = hvg["partial"].map(_number)
    wide["seconds a run"] = hvg["seconds"].map("{:.1f}".format).replace("nan", "")
    return wide.rename_axis("method").reset_index()


def _figures(
    table: pd.DataFrame,
    summary: pd.DataFrame,
    slide: AnnData,
    train: AnnData,
    method: str,
    group: str,
    genes: list[str] | None,
    mark: str | None,
    random_state: int,
) -> dict[str, tuple[bytes, str]]:
    """Draw every figure, with its caption; without a display."""
    layers = [name for name in table["method"].unique() if name in slide.layers]
    shown = [method, *[name for name in layers if name not in (method, "mean")]]
    if genes is None:
        here = table[(table["method"] == method) & (table["group"] == group)]
        genes = here.groupby("gene")["pearson"].mean().nlargest(2).index.tolist()
    slide.obs["log1p_total_counts"] = np.log1p(slide.obs["total_counts"])
    for name in shown[:3]:
        tl.gene_correlation(slide, name, covariate="log1p_total_counts")
    tl.leiden(slide, method, random_state=random_state)
    tl.joint_umap(slide, train, method, random_state=random_state)
    return {
        "gene_sets": (_draw(lambda: pl.benchmark(summary)), "Mean correlation over genes, with intervals."),
        "top_genes": (_draw(lambda: pl.top_genes(table)), "The best genes of every method."),
        "mean_variance": (
            _draw(lambda: pl.mean_variance(slide, layers)),
            f"Predicted against measured mean and variance of the genes, {group} held out.",
        ),
        "genes_own_scale": (
            _draw(lambda: pl.spatial(slide, genes, layer=[None, *shown[:3]])),
            f"{', '.join(genes)} over the H&E of {group}, every panel on its own scale.",
        ),
        "genes_common_scale": (
            _draw(lambda: pl.spatial(slide, genes, layer=[None, *shown[:3]], share_scale=True)),
            f"{', '.join(genes)} over the H&E of {group}, on a common scale.",
        ),
        "gene_gene": (
            _draw(lambda: pl.gene_correlation(slide, [None, *shown[:3]])),
            "Correlation of the 50 most variable genes, in the order of the measured ones (their depth taken out).",
        ),
        "leiden": (
            _draw(lambda: pl.leiden(slide, method, mark=mark)),
            f"Leiden clusters of measured and predicted expression ({method})." + _marked(slide, method, mark),
        ),
        "umap": (
            _draw(lambda: pl.umap(slide, method)),
            f"Predictions of {method} for {group} among the measured profiles of the training slides.",
        ),
    }


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _marked(slide: AnnData, method: str, mark: str | None) -> str:
    """Say how well the clusters of either side tell the outlined region from the rest."""
    if mark is None:
        return ""
    seen = {
        name: cluster_agreement(slide.obs[mark], slide.obs[_keys.clusters(name)])["ami"]
        for name in ("measured", method)
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
    return _html.png(figure)


def _sections(
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, tuple[bytes, str]],
    patients: Mapping[str, str] | None,
) -> list[tuple[str, str]]:
    """Return the headings of the page and what stands below each."""
    slides = tables["genes"]["library"].unique()
    n_patients = 1 if patients is None else len({patients[slide] for slide in slides})
    inference = (
        "All slides are one patient's: the intervals resample slides, and allow no inference between patients."
        if n_patients == 1
        else f"The intervals resample {n_patients} patients, and the slides within them."
    )
    structure_table = tables["structure"].pivot_table(index="method", columns="metric", values="value", sort=False)
    figure = {name: _html.figure(picture, caption) for name, (picture, caption) in figures.items()}
    return [
        (
            "Correlation by gene set",
            _html.paragraph(
                f"Pearson r over the spots of a held-out slide, mean over genes, seeds and slides. {inference}"
            )
            + _html.table(_wide(tables["summary"]))
            + figure["gene_sets"],
        ),
        ("Best genes", figure["top_genes"]),
        ("Mean and variance", figure["mean_variance"]),
        ("Genes over the H&E", figure["genes_own_scale"] + figure["genes_common_scale"]),
        ("Gene-gene correlation", figure["gene_gene"]),
        ("Clusters", figure["leiden"]),
        ("Predictions among the reference", figure["umap"]),
        (
            "What correlations do not see",
            _html.paragraph("Means over slides. The permuted prediction keeps what says nothing about places.")
            + _html.table(structure_table.map(_number).reset_index().rename_axis(None, axis=1)),
        ),
    ]
