from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc import metrics
from bleep_sc._output.messages import listed
from bleep_sc.bm._donors import questions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOCATION, CEILING = "location", "noise ceiling"
UNKNOWN = ""
"""Donor of a slide where that was not told."""
CORRELATIONS = ("pearson", "spearman", "ccc", "partial", "ceiling")
"""Columns in which an undefined value counts as zero: a constant tells nothing."""
SETS = (
    ("all", "panel", None),
    ("MG", "fixed", "MG"),
    ("HEG", "reference", "HEG_reference"),
    ("HVG", "reference", "HVG_reference"),
    ("HEG", "truth", "HEG_truth"),
    ("HVG", "truth", "HVG_truth"),
)


def summarise(
    table: pd.DataFrame, *, metric: str = "pearson", against: str | None = None, random_state: int = 0
) -> pd.DataFrame:
    """Summarise a cross-validation: a mean and an interval for every method and gene set.

    Slides of another donor than those that were trained on stand apart from other sections of the same donor, which are
    far easier to predict; the two are never averaged. Genes are averaged first, then seeds, then slides. The interval
    resamples what is independent: donors, and within them slides; never spots or genes
    (:func:`bleep_sc.metrics.bootstrap_interval`). With one donor, or where donors are not known, it resamples slides
    alone, and says nothing about another donor. Folds that share training slides are not quite independent.

    Parameters
    ----------
    table
        What :func:`bleep_sc.bm.cross_validate` returned.
    metric
        A column of it. An undefined correlation (of a gene that does not vary or was not predicted) counts as zero. An
        error has no such value: errors are averaged over the genes that every method predicted.
    against
        The method over which gains are given, such as ``"ridge"``; None is location copy, where that was compared.
        Gains are paired, slide by slide, and their intervals resample what those of the means do.
    random_state
        Of the bootstrap; intervals hold 95 %.

    Returns
    -------
    A row for every question, method and gene set: ``held_out`` (what a slide was held out from: ``"another donor"``,
    ``"another section of the same donor"``, or ``"another slide (donors not told)"``), ``method``, ``gene_set``,
    ``genes_from`` (``"reference"``: the training slides, the primary choice; ``"truth"``: the held-out slide, as in the
    paper), ``mean``, ``lower``, ``upper`` (NaN for a single slide), ``sd_seeds`` (of the mean, over seeds),
    ``of_ceiling`` (the share of what counting noise leaves; Pearson correlations only), ``gain``, ``gain_lower``,
    ``gain_upper`` (of an error, less is better) over the method that ``gain_over`` names, ``partial`` (mean correlation
    given location copy, where that was compared), ``n_genes`` and ``n_undefined`` (genes a slide, on average, that were
    averaged, and how many of them counted as zero), ``n_predicted`` (how many of them the method predicted at all),
    ``trained_elsewhere`` (True of a method of :func:`bleep_sc.bm.external`, which may have been trained on these
    slides), ``n_slides``, ``n_donors`` (0 where they are not known) and
    ``seconds`` a run. For Pearson correlations the noise ceiling itself is the last row of every gene set.
    :func:`bleep_sc.bm.to_latex` makes a table for a paper of it.

    Raises
    ------
    KeyError
        When the metric is no column of the table, ``against`` was not compared, or the table does not say whose the
        slides are.

    Examples
    --------
    After the example of :func:`bleep_sc.bm.cross_validate`:

    >>> bs.bm.summarise(table)["gene_set"].unique().tolist()
    ['all', 'HEG', 'HVG']
    """
    if metric not in table:
        raise KeyError(f"metric={metric!r} is no column of the table (it has: {', '.join(map(str, table.columns))}).")
    check_compared(against, table)
    if metric not in CORRELATIONS:
        # What one method leaves out is left out for all: an error of nothing would be the best.
        known = table[metric].notna().groupby([table["library"], table["gene"]]).transform("all")
        if not known.any():
            raise ValueError(f"No gene has a {metric} for all methods; leave out the methods that predict no gene.")
        table = table[known]
    rows: list[dict[str, object]] = []
    for question, asked in questions(table):
        for gene_set, origin, flag in SETS:
            part = asked if flag is None else asked[asked[flag]]
            if len(part):
                identity = {"held_out": question, "gene_set": gene_set, "genes_from": origin}
                draw = drawn(asked, random_state)
                rows += [{**identity, **row} for row in _of_set(part, metric, draw, against or LOCATION)]
    columns = ["held_out", "method", "gene_set", "genes_from"]
    summary = pd.DataFrame(rows)
    return summary[columns + [name for name in summary if name not in columns]]


def check_compared(against: str | None, table: pd.DataFrame) -> None:
    """Refuse gains over a method that is not in the table."""
    compared = table["method"].unique().tolist()
    if against is not None and against not in compared:
        raise KeyError(f"against={against!r} was not compared (methods: {listed(compared)}). Pass one of them.")


def drawn(asked: pd.DataFrame, random_state: int) -> Callable[[pd.Series], dict[str, float | int]]:
    """Return what gives the mean of a value a slide and its interval; NaN for no slide.

    ``asked`` says whose slides they are.
    """
    of_slides = asked.drop_duplicates("library").set_index("library")["donor"].fillna(UNKNOWN).astype(str)

    def draw(by_slide: pd.Series) -> dict[str, float | int]:
        if by_slide.empty:
            return {**dict.fromkeys(("mean", "lower", "upper"), float("nan")), "n_slides": 0, "n_donors": 0}
        whose = of_slides.loc[by_slide.index].to_numpy(dtype=str)
        interval = metrics.bootstrap_interval(by_slide.to_numpy(), whose, random_state=random_state)
        return {
            "mean": interval.mean,
            "lower": interval.lower,
            "upper": interval.upper,
            "n_slides": len(by_slide),
            "n_donors": len(set(whose) - {UNKNOWN}),
        }

    return draw


def _of_set(
    part: pd.DataFrame, metric: str, draw: Callable[[pd.Series], dict[str, float | int]], against: str
) -> Iterator[dict[str, object]]:
    """Return the rows of one gene set: the methods in the order of the table, then the ceiling."""
    slides = slide_means(part, metric)
    ceiling = slide_means(part, "ceiling").groupby("library").mean() if metric == "pearson" else None
    compared = part["method"].unique()
    baseline = slides.loc[against].groupby("library").mean() if against in compared else None
    for method in compared:
        own = part[part["method"] == method]
        by_slide = slides.loc[method].groupby("library").mean()
        row = {"method": method, **draw(by_slide)}
        row["sd_seeds"] = slides.loc[method].groupby("seed").mean().std() if own["seed"].nunique() > 1 else np.nan
        if ceiling is not None:
            row["of_ceiling"] = by_slide.mean() / ceiling.mean()
        if baseline is not None and method != against:
            gain = draw((by_slide - baseline).dropna())
            row |= {"gain": gain["mean"], "gain_lower": gain["lower"], "gain_upper": gain["upper"]}
            row["gain_over"] = against
        if LOCATION in compared and method != LOCATION:
            row["partial"] = slide_means(own, "partial").groupby("library").mean().mean()
        runs = own.groupby([own["seed"], own["library"]])[metric]
        row |= {"n_genes": runs.size().mean(), "n_undefined": runs.apply(lambda values: values.isna().sum()).mean()}
        if "trained_elsewhere" in own:
            row["n_predicted"] = own.groupby(["seed", "library"])["predicted_mean"].count().mean()
            row["trained_elsewhere"] = bool(own["trained_elsewhere"].any())
        yield {**row, "seconds": own.drop_duplicates(["group", "seed"])["seconds"].mean()}
    if ceiling is not None:
        yield {
            "method": CEILING,
            **draw(ceiling),
            **({"trained_elsewhere": False} if "trained_elsewhere" in part else {}),
        }


def slide_means(part: pd.DataFrame, metric: str) -> pd.Series:
    """Return the mean over genes, by method, seed and library."""
    values = part[metric].fillna(0.0) if metric in CORRELATIONS else part[metric]
    return values.groupby([part["method"], part["seed"], part["library"]], sort=False).mean()
