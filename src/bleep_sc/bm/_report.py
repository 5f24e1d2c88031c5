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
from bleep_sc._output.text import csv
from bleep_sc.bm._cross_validate import FAILED
from bleep_sc.bm._donors import NOT_TOLD, SAME_DONOR, questions
from bleep_sc.bm._exhibits import MAIN, exhibits_of, explained, in_markdown
from bleep_sc.bm._figures import draw_figures
from bleep_sc.bm._held_out import held_out, training
from bleep_sc.bm._measures import of_slides
from bleep_sc.bm._paper_table import paper_table
from bleep_sc.bm._robustness import carried_over
from bleep_sc.bm._sentences import verdicts
from bleep_sc.bm._structure import structure
from bleep_sc.bm._summary import check_compared, summarise
from bleep_sc.bm._to_latex import to_latex
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
    against: str | None = None,
    layer: str | None = None,
    library_key: str | None = None,
    notes: str = "",
) -> None:
    """Write the paper's exhibits of a cross-validation: tables, figures, and one self-contained page.

    Table 1 (gene sets, with all other measures of :func:`bleep_sc.bm.paper_table`), table 2 (the ablation, as far as it
    was run), top genes, figure 2 (mean and variance), figure 3 (genes over the H&E), figure 4 (gene-gene correlation),
    figure 5 (clusters), supplementary figure 1 (predictions among the reference profiles) with its numbers, and
    supplementary table 2 (agreement of clusters). And a table of what the paper says of BLEEP: its numbers, those here,
    and whether the sentence holds. The headline says what was held out, another donor or another section of the same,
    and tables stand apart by that.

    Parameters
    ----------
    adata
        What was given to :func:`bleep_sc.bm.cross_validate`.
    compared
        The table and the predictions that it returned with ``return_predictions=True``.
    path
        The folder to write into: ``report.html``, ``*.csv``, ``summary.md`` (the first table), ``exhibits.md`` (the
        others), ``paper_table.tex``, ``paper_gains.tex`` and ``*.png``. Files of a report before are replaced when all
        of the new ones are there. Text that a spreadsheet would compute has an apostrophe in front.
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
    against
        The method from which differences are taken; None is location copy, where that was compared.
    notes
        What stands at the head of the page, such as where the data are from.

    Raises
    ------
    KeyError
        When a slide, a method, also one of ``against``, a gene or a column is not there; before anything is computed.
    ValueError
        When no prediction varies.

    Examples
    --------
    >>> bs.bm.report(adata, (table, predictions), "report", group_key="library_id")  # doctest: +SKIP
    """
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
    check_compared(against, table)
    tables = _tables(table, *_by_group(adata, predictions, given, mark), against)
    exhibited = exhibits_of(tables)
    train = training(adata, slide.var_names, group, **given)
    figures = draw_figures(table, asked, tables["summary"], slide, train, method, genes, mark)
    what = "slide" if group_key == library_column(adata, library_key) else group_key
    title = f"{' and '.join(asked).capitalize()}: one {what} left out after another"
    page = html.page(title, notes, _sections(tables, asked, exhibited, figures, table.attrs.get(FAILED, {})))
    with all_appear(path, f"The report was not written to {str(path)!r}: make room and call again.") as drafts:
        for name, frame in tables.items():
            (drafts / f"{name}.csv").write_text(csv(frame), encoding="utf-8", newline="")
        for name, text in _texts(tables["paper_table"], exhibited).items():
            (drafts / name).write_text(text, encoding="utf-8")
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


def _by_group(
    adata: AnnData,
    predictions: Mapping[str, Mapping[str, pd.DataFrame]],
    given: dict[str, Any],
    mark: str | None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the structure of all predictions, and what they carry over of batches, group by group."""
    import pandas as pd

    of_structure, of_robustness = [], []
    for group in dict.fromkeys(group for groups in predictions.values() for group in groups):
        held = held_out(adata, predictions, group, **given)
        present = [name for name, groups in predictions.items() if group in groups]
        order = sorted(present, key=lambda name: name != "bleep")  # the first one is permuted, too
        of_structure.append(structure(held, order).assign(group=group))
        train = training(adata, held.var_names, group, **given)
        of_robustness.append(carried_over(held, train, present, mark).assign(group=group))
    return pd.concat(of_structure, ignore_index=True), pd.concat(of_robustness, ignore_index=True)


def _tables(
    table: pd.DataFrame, of_structure: pd.DataFrame, of_robustness: pd.DataFrame, against: str | None
) -> dict[str, pd.DataFrame]:
    """Return the tables by the names of their files."""
    import pandas as pd

    best = [best_genes(part).reset_index().assign(held_out=question) for question, part in questions(table)]
    values = of_slides(table, pd.concat([of_structure, of_robustness], ignore_index=True))
    return {
        "genes": table,
        "summary": summarise(table, against=against),
        "top_genes": pd.concat(best),
        "structure": of_structure,
        "batches": of_robustness,
        "paper_table": paper_table(table, of_structure, against=against),
        "sentences": verdicts(values),
        "slides": values,
    }


def _texts(paper: pd.DataFrame, exhibited: Mapping[str, Mapping[str, pd.DataFrame]]) -> dict[str, str]:
    """Return the tables as Markdown and LaTeX, by the names of their files."""
    main = {name: {MAIN: of[MAIN]} for name, of in exhibited.items()}
    others = {name: {each: frame for each, frame in of.items() if each != MAIN} for name, of in exhibited.items()}
    gains = {"paper_gains.tex": to_latex(paper, value="gain")} if paper["gain"].notna().any() else {}
    return {
        "summary.md": in_markdown(main),
        "exhibits.md": in_markdown(others),
        "paper_table.tex": to_latex(paper),
        **gains,
    }


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"


def _sections(
    tables: Mapping[str, pd.DataFrame],
    asked: Mapping[str, pd.DataFrame],
    exhibited: Mapping[str, Mapping[str, pd.DataFrame]],
    figures: Mapping[str, tuple[bytes, str]],
    failed: Mapping[str, str],
) -> list[tuple[str, str]]:
    """Return the headings of the page and what stands below each."""
    of_structure = tables["structure"]
    figure = {name: html.figure(picture, caption) for name, (picture, caption) in figures.items()}
    sections_of = {
        f"{heading}: {question}": html.paragraph(explained(heading, frame))
        + (html.paragraph(_inference(question, asked[question])) if heading == MAIN else "")
        + html.table(frame)
        for question, of in exhibited.items()
        for heading, frame in of.items()
    }
    first = {heading: each for heading, each in sections_of.items() if heading.startswith(MAIN)}
    structures = {
        f"What correlations do not see: {question}": _measures(
            of_structure[of_structure["library"].isin(part["library"].unique())]
        )
        for question, part in asked.items()
    }
    sections = {
        "Methods that failed": html.facts(failed) if failed else "",
        **first,
        "Gene sets": figure["gene_sets"],
        "Best genes": figure["top_genes"],
        "Mean and variance": figure["mean_variance"],
        "Genes over the H&E": figure["genes_own_scale"] + figure["genes_common_scale"],
        "Gene-gene correlation": figure.get("gene_gene", ""),
        "Clusters": figure.get("leiden", ""),
        "Predictions among the reference": figure.get("umap", ""),
        **structures,
        **{heading: each for heading, each in sections_of.items() if heading not in first},
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
