"""Tables as text: a row for every method, a column for every gene set or measure, and intervals beside the means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from bleep_sc.bm._measures import label_of
from bleep_sc.bm._summary import CEILING, SETS

if TYPE_CHECKING:
    from collections.abc import Iterator

Value = Literal["mean", "gain"]
ENDS = {"mean": ("lower", "upper"), "gain": ("gain_lower", "gain_upper")}
MARK = "*"
"""Behind the name of a method that was trained elsewhere."""
SIGNS = {"mean": "", "gain": "+"}


def by_gene_set(summary: pd.DataFrame, value: Value = "mean") -> pd.DataFrame:
    """Return a value of every method and gene set with its interval, as text; the primary gene sets first."""
    columns = {name: with_interval(part, value) for name, part in _sets(summary)}
    return pd.DataFrame(columns).reindex(summary["method"].unique())


def marked(summary: pd.DataFrame) -> dict[str, str]:
    """Return what methods that were trained elsewhere are called in a table, by their names."""
    if "trained_elsewhere" not in summary:
        return {}
    return {name: f"{name}{MARK}" for name in summary.loc[summary["trained_elsewhere"], "method"].unique()}


def by_measure(paper: pd.DataFrame, value: Value = "mean") -> pd.DataFrame:
    """Return a value of every method and measure with its interval, as text, as :func:`by_gene_set` does."""
    measures = paper.groupby("measure", sort=False)
    columns = {name: with_interval(part.set_index("method"), value) for name, part in measures}
    wide = pd.DataFrame(columns).reindex(paper["method"].unique())
    return wide.loc[sorted(wide.index, key=lambda method: method == CEILING)]


def _sets(summary: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for gene_set, origin, _ in (*SETS[2:], SETS[1], SETS[0]):
        part = summary[(summary["gene_set"] == gene_set) & (summary["genes_from"] == origin)]
        if len(part):
            yield label_of(gene_set, origin), part.set_index("method")


def with_interval(part: pd.DataFrame, value: Value) -> pd.Series:
    """Write numbers with their intervals, where there are any."""
    sign, texts = SIGNS[value], []
    for each, low, high in zip(part[value], *(part[end] for end in ENDS[value]), strict=True):
        text = "" if np.isnan(each) else f"{each:{sign}.3f}"
        texts.append(text if np.isnan(low) else f"{text} [{low:{sign}.3f}, {high:{sign}.3f}]")
    return pd.Series(texts, part.index)
