from __future__ import annotations

import pandas as pd

from bleep_sc._output.messages import listed
from bleep_sc.bm._with_intervals import ENDS, Value, by_gene_set, by_measure, marked

NEEDED = {"held_out", "method", "gene_set", "genes_from"}
NEEDED_OF_MEASURES = {"held_out", "method", "measure"}


def to_latex(summary: pd.DataFrame, *, value: Value = "mean") -> str:
    """Write a summary as a table for a paper: methods by gene sets, or by measures, each with its interval.

    Parameters
    ----------
    summary
        What :func:`bleep_sc.bm.summarise` or :func:`bleep_sc.bm.paper_table` returned. Rows and columns that the paper
        does not need are left out before: ``summary[summary["gene_set"] == "HVG"]``.
    value
        ``"mean"``, or ``"gain"``: that over location copy, or over the method that ``summarise(against=)`` named, which
        stands in the head of the first column.

    Returns
    -------
    A ``tabular`` of LaTeX with the rules of booktabs, by pandas: a row for every method, below what was held out where
    that are several things, and a column for every gene set. A star is behind methods that were trained elsewhere
    (:func:`bleep_sc.bm.external`): nobody can check that these have not seen the slides.

    Raises
    ------
    KeyError
        When the table is no summary, or has no gains.

    Examples
    --------
    After the example of :func:`bleep_sc.bm.cross_validate`:

    >>> text = bs.bm.to_latex(bs.bm.summarise(table, against="mean"), value="gain")
    >>> "ridge & +" in text
    True
    """
    needed = NEEDED_OF_MEASURES if "measure" in summary else NEEDED
    missing = [name for name in sorted({*needed, value, *ENDS[value]}) if name not in summary]
    if missing:
        made = "bleep_sc.bm.summarise(table, against=...)" if value == "gain" else "bleep_sc.bm.summarise(table)"
        raise KeyError(f"summary= lacks {listed(missing)}. Pass what {made} returned.")
    rows = pd.concat([_rows(part, value) for _, part in summary.groupby("held_out", sort=False)], ignore_index=True)
    if rows["held out from"].nunique() == 1:
        rows = rows.drop(columns="held out from")
    if value == "gain":
        over = summary["gain_over"].dropna().unique() if "gain_over" in summary else []
        rows = rows.rename(columns={"method": f"gain over {' or '.join(map(str, over))}"} if len(over) else {})
    table = rows.fillna("").style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    return str(table.to_latex(hrules=True))


def _rows(of_question: pd.DataFrame, value: Value) -> pd.DataFrame:
    """Return what one question was answered with; methods that have no such value are left out."""
    table = by_measure(of_question, value) if "measure" in of_question else by_gene_set(of_question, value)
    table = table[(table.fillna("") != "").any(axis=1)].rename(index=marked(of_question))
    table = table.rename_axis("method").reset_index()
    table.insert(0, "held out from", of_question["held_out"].iloc[0])
    return table
