from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obs
from bleep_sc._adata.libraries import library_column
from bleep_sc._output import html
from bleep_sc._output.arguments import shown
from bleep_sc._output.disk import all_appear
from bleep_sc._output.messages import listed, logger
from bleep_sc._output.text import csv, markdown_table
from bleep_sc.bm._donors import NOT_TOLD, SAME_DONOR, questions
from bleep_sc.bm._figures import draw_figures
from bleep_sc.bm._held_out import held_out, training
from bleep_sc.bm._structure import structure
from bleep_sc.bm._summary import SETS, summarise
from bleep_sc.pl._top_genes import best_genes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


def report(
    adata: AnnData,
    compared: tuple[pd.DataFrame, Mapping[str, Mapping[str, pd.DataFrame]]],
    path: str | Path,
    *,
    group_key: str,
    library_id: str | None = None,
    method: str | None = None,
    genes: list[str] | None = None,
    mark: str | None = None,
    layer: str | None = None,
    library_key: str | None = None,
    notes: str = "",
) -> None:
    """Write the paper's exhibits of a cross-validation: tables, figures, and one self-contained page.

    Table 1 (gene sets), table 2 (top genes), figure 2 (mean and variance), figure 3 (genes over the H&E), figure 4
    (gene-gene correlation), figure 5 (clusters) and supplementary figure 1 (predictions among the reference profiles).
    Its headline says what was held out, another donor or another section of the same, and tables stand apart by that.

    Parameters
    ----------
    adata
        What was given to :func:`bleep_sc.bm.cross_validate`.
    compared
        The table and the predictions that it returned with ``return_predictions=True``.
    path
        The folder to write into: ``report.html``, ``*.csv``, ``summary.md`` and ``*.png``. Files of a report before are
        replaced when all of the new ones are there. Text that a spreadsheet would compute has an apostrophe in front.
    group_key, layer, library_key
        As they were given to it.
    library_id
        The slide that the figures show, with the training slides of its group; None is the first.
    method
        The method that the figures show beside the truth, and up to two others with it; None is BLEEP, or else the last
        one whose prediction varies.
    genes
        Genes to draw over the H&E; None is the two that the method predicts best there.
    mark
        A boolean column of ``obs`` to outline in figure 5, such as a region of low quality.
    notes
        What stands at the head of the page, such as where the data are from.

    Raises
    ------
    KeyError
        When a slide, a method, a gene or a column is not there; before anything is computed.
    ValueError
        When no prediction varies.

    Examples
    --------
    >>> bs.bm.report(adata, (table, predictions), "report", group_key="library_id")  # doctest: +SKIP
    """
    import pandas as pd

    path = Path(path)
    if not (isinstance(compared, tuple) and len(compared) == 2):
        raise TypeError(
            f"compared={shown(compared)} must be the table and the predictions: what "
            "bleep_sc.bm.cross_validate returns with return_predictions=True."
        )
    table, predictions = compared
    asked = dict(questions(table))
    given: dict[str, Any] = {"group_key": group_key, "layer": layer, "library_key": library_key}
    method = _shown_method(predictions, method)
    library_id, group = _shown_slide(table, predictions[method], library_id)
    held = held_out(adata, predictions, group, **given)
    slide = held[(held.obs[keys.LIBRARY] == library_id).to_numpy()].copy()
    _check_drawn(slide, genes, mark)
    tables = {
        "genes": table,
        "summary": summarise(table),
        "top_genes": pd.concat([best_genes(part).reset_index().assign(held_out=name) for name, part in asked.items()]),
        "structure": _structure(adata, predictions, given),
    }
    train = training(adata, slide.var_names, group, **given)
    figures = draw_figures(table, asked, tables["summary"], slide, train, method, genes, mark)
    what = "slide" if group_key == library_column(adata, library_key) else group_key
    title = f"{' and '.join(asked).capitalize()}: one {what} left out after another"
    page = html.page(title, notes, _sections(tables, asked, figures))
    with all_appear(path, f"The report was not written to {str(path)!r}: make room and call again.") as drafts:
        for name, frame in tables.items():
            (drafts / f"{name}.csv").write_text(csv(frame), encoding="utf-8", newline="")
        (drafts / "summary.md").write_text(_in_markdown(tables["summary"]), encoding="utf-8")
        for name, (picture, _) in figures.items():
            (drafts / f"{name}.png").write_bytes(picture)
        (drafts / "report.html").write_text(page, encoding="utf-8")
    logger.info("Report written to %s", path / "report.html")


def _shown_method(predictions: Mapping[str, Mapping[str, pd.DataFrame]], method: str | None) -> str:
    """Return the method to draw: the given one, BLEEP, or the last of those whose prediction varies."""
    if method is not None and method not in predictions:
        raise KeyError(f"method={method!r} was not compared (methods: {listed(predictions)}). Pass one of them.")
    varying = [
        name
        for name, groups in predictions.items()
        if any(np.ptp(np.nan_to_num(frame.to_numpy()), axis=0).any() for frame in groups.values())
    ]
    if not varying:
        raise ValueError(
            f"No prediction varies over spots (methods: {listed(predictions)}): there is nothing to draw. Compare one "
            "that reads the images, too."
        )
    if method is not None and method not in varying:
        raise ValueError(f"method={method!r} predicts the same for all spots: there is nothing to draw.")
    return method or ("bleep" if "bleep" in varying else varying[-1])


def _shown_slide(table: pd.DataFrame, predicted: Mapping[str, pd.DataFrame], library_id: str | None) -> tuple[str, str]:
    """Return the slide to draw, and its group: the given one, or the first that was predicted."""
    groups = dict(zip(table["library"].astype(str), table["group"].astype(str), strict=True))
    slides = [slide for slide, group in groups.items() if group in predicted]
    slide = slides[0] if library_id is None else library_id
    if slide not in slides:
        raise KeyError(f"library_id={library_id!r} was not predicted (slides: {listed(slides)}). Pass one of them.")
    return slide, groups[slide]


def _check_drawn(slide: AnnData, genes: list[str] | None, mark: str | None) -> None:
    absent = [gene for gene in genes or [] if gene not in slide.var_names]
    if absent:
        raise KeyError(f"genes={listed(absent)} were not predicted there. Leave them out.")
    if mark is not None:
        require_obs(slide, mark, "Pass mark=, a boolean column.")


def _structure(
    adata: AnnData, predictions: Mapping[str, Mapping[str, pd.DataFrame]], given: dict[str, Any]
) -> pd.DataFrame:
    import pandas as pd

    parts = []
    for group in dict.fromkeys(group for groups in predictions.values() for group in groups):
        held = held_out(adata, predictions, group, **given)
        present = [name for name, groups in predictions.items() if group in groups]
        order = sorted(present, key=lambda name: name != "bleep")  # the first one is permuted, too
        parts.append(structure(held, order).assign(group=group))
    return pd.concat(parts, ignore_index=True)


def _in_markdown(summary: pd.DataFrame) -> str:
    """Return table 1 of every question, each under its heading."""
    return "\n".join(
        f"## {question.capitalize()}\n\n{markdown_table(_wide(part))}"
        for question, part in summary.groupby("held_out", sort=False)
    )


def _wide(summary: pd.DataFrame) -> pd.DataFrame:
    """Return table 1: a row for every method, a column for every gene set, mean and interval."""
    import pandas as pd

    columns = {}
    for gene_set, origin, _ in (*SETS[2:], SETS[1], SETS[0]):  # the primary ones first
        part = summary[(summary["gene_set"] == gene_set) & (summary["genes_from"] == origin)].set_index("method")
        if len(part):
            name = gene_set if origin in ("fixed", "panel") else f"{gene_set} ({origin})"
            columns[name] = pd.Series(_with_interval(part["mean"], part["lower"], part["upper"]), part.index)
    wide = pd.DataFrame(columns).reindex(summary["method"].unique())
    hvg = summary[(summary["gene_set"] == "HVG") & (summary["genes_from"] == "reference")].set_index("method")
    wide["HVG, share of ceiling"] = hvg["of_ceiling"].map("{:.0%}".format).replace("nan%", "")
    if "gain" in hvg:
        gain = _with_interval(hvg["gain"], hvg["gain_lower"], hvg["gain_upper"], sign="+")
        wide["HVG, gain over location copy"] = pd.Series(gain, hvg.index)
        wide["HVG, r given location copy"] = hvg["partial"].map(_number)
    wide["seconds a run"] = hvg["seconds"].map("{:.1f}".format).replace("nan", "")
    return wide.fillna("").rename_axis("method").reset_index()


def _with_interval(mean: pd.Series, lower: pd.Series, upper: pd.Series, sign: str = "") -> list[str]:
    """Write means with their intervals, where there are any."""
    texts = []
    for each, low, high in zip(mean, lower, upper, strict=True):
        text = "" if np.isnan(each) else f"{each:{sign}.3f}"
        texts.append(text if np.isnan(low) else f"{text} [{low:{sign}.3f}, {high:{sign}.3f}]")
    return texts


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _sections(
    tables: Mapping[str, pd.DataFrame], asked: Mapping[str, pd.DataFrame], figures: Mapping[str, tuple[bytes, str]]
) -> list[tuple[str, str]]:
    """Return the headings of the page and what stands below each."""
    summary, of_structure = tables["summary"], tables["structure"]
    figure = {name: html.figure(picture, caption) for name, (picture, caption) in figures.items()}
    correlations = {
        f"Correlation by gene set: {question}": html.paragraph(
            "Pearson r over the spots of a held-out slide, mean over genes, seeds and slides. "
            + _inference(question, part)
        )
        + html.table(_wide(summary[summary["held_out"] == question]))
        for question, part in asked.items()
    }
    structures = {
        f"What correlations do not see: {question}": _measures(
            of_structure[of_structure["library"].isin(part["library"].unique())]
        )
        for question, part in asked.items()
    }
    sections = {
        **correlations,
        "Gene sets": figure["gene_sets"],
        "Best genes": figure["top_genes"],
        "Mean and variance": figure["mean_variance"],
        "Genes over the H&E": figure["genes_own_scale"] + figure["genes_common_scale"],
        "Gene-gene correlation": figure.get("gene_gene", ""),
        "Clusters": figure.get("leiden", ""),
        "Predictions among the reference": figure.get("umap", ""),
        **structures,
    }
    return [(heading, content) for heading, content in sections.items() if content]


def _measures(of_structure: pd.DataFrame) -> str:
    """Return what :func:`bleep_sc.bm.structure` found, a row for every method."""
    columns = of_structure.pivot_table(index="method", columns="metric", values="value", sort=False, dropna=False)
    measures = columns.dropna(axis=1, how="all").map(_number).reset_index().rename_axis(None, axis=1)
    n_genes = of_structure["n_genes"]
    spread = " to ".join(map(str, sorted({n_genes.min(), n_genes.max()})))
    return html.paragraph(
        "Means over slides, of the first seed, on the most variable genes that all methods predict "
        f"({spread} a slide). The permuted prediction keeps what says nothing about places."
    ) + html.table(measures)


def _inference(question: str, part: pd.DataFrame) -> str:
    """Say what the slides were held out from, and what the intervals are good for."""
    n_slides, n_donors = part["library"].nunique(), part["donor"].nunique()
    if question == NOT_TOLD:
        said = "Whose slides they are was not told (donor_key=): others of the same donor may have been trained on."
    elif question == SAME_DONOR:
        said = "Other slides of the same donor were trained on: another donor is far harder to predict."
    else:
        said = "No slide of the same donor was trained on."
    if n_slides == 1:
        return f"{said} There is one slide, and no interval."
    if n_donors < 2:
        return f"{said} The intervals resample slides, and allow no inference between donors."
    return f"{said} The intervals resample {n_donors} donors, and the slides within them."
