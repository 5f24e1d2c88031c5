"""The tables of a report: table for a paper, ablation, supplementary tables, and which sentence of the paper holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._output.text import markdown_table
from bleep_sc.bm._external import UNSEEN
from bleep_sc.bm._robustness import MARKED, MIXING, SILHOUETTE
from bleep_sc.bm._sentences import ABLATED
from bleep_sc.bm._with_intervals import MARK, by_measure, marked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pandas as pd

MAIN = "Table for a paper"
ABLATION = tuple(name for pairs in ABLATED.values() for pair in pairs for name in pair)
"""Rows of the paper's table 2: numbers of neighbours, weights and targets."""
OF_CORRELATION = ("MG", "HEG (truth)", "HVG (truth)", "HEG (reference)", "HVG (reference)", "all")
CLUSTERS = ("Leiden, ARI", "Leiden, NMI", "Leiden, AMI")
BATCHES = (MIXING, SILHOUETTE, MARKED)
OF_QUESTION = ("paper_table", "slides", "sentences")
ESCAPED = f"\\{MARK}"
"""The mark, as Markdown shows it."""
EXPLAINED = {
    MAIN: "Means over the slides, and over seeds. r is Pearson's over the spots of a held-out slide, mean over genes. "
    "From gene-gene correlation on columns are of the first seed. CRPS skill: what the score gains on all training "
    "spots alike, which look at no image. Variance ratio: predicted over measured, best near one.",
    "Differences": "Paired, slide by slide, from the method that is named; of a CRPS, less is better.",
    "Ablation (table 2 of the paper)": "BLEEP as published, read off with other numbers of neighbours, and what else "
    "was run of its ablation. HEG and HVG of the held-out slide are those of the paper.",
    "Batches (supplementary figure 1)": "How predictions of a slide, or its measurements, mix with the profiles of the "
    "training slides in their principal components, from 0 (apart) to 1; marked region: adjusted mutual information "
    "of Leiden clusters with it.",
    "Clusters (supplementary table 2)": "Agreement of Leiden clusters of predicted and measured expression, mean over "
    "a sweep of resolutions.",
    "Which sentence of the paper holds here": "Where the paper says that one is ahead of the other, by how much it is "
    "here, with the interval of the paired difference: a sentence holds where that is above zero, does not where it is "
    "below, and cannot be told where it holds zero or there are fewer than three slides. The sentences are in other "
    "words than the paper's; its numbers are of human liver.",
}


def exhibits_of(tables: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, pd.DataFrame]]:
    """Return for every question the headings of its tables, and the tables as text."""
    asked, names = tables["slides"]["held_out"].unique(), marked(tables["paper_table"])
    found = {question: _exhibits(*(_part(tables[name], question) for name in OF_QUESTION)) for question in asked}
    return {
        question: {heading: frame.replace({frame.columns[0]: names}) for heading, frame in of}
        for question, of in found.items()
    }


def explained(heading: str, frame: pd.DataFrame, mark: str = MARK) -> str:
    """Say what a table holds, and what the mark behind a method means, where there is one."""
    is_marked = frame.iloc[:, 0].astype(str).str.endswith(MARK).any()
    return EXPLAINED[heading] + (f" {mark} {UNSEEN.capitalize()}." if is_marked else "")


def _part(table: pd.DataFrame, question: str) -> pd.DataFrame:
    return table[table["held_out"] == question]


def _exhibits(here: pd.DataFrame, known: pd.DataFrame, said: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    yield MAIN, with_seconds(here)
    over = here["gain_over"].dropna().unique()
    if len(over):
        gains = by_measure(here[here["gain"].notna()], "gain").fillna("")
        yield "Differences", gains.rename_axis(f"gain over {over[0]}").reset_index()
    ablated = here[here["method"].isin(ABLATION) & here["measure"].isin(OF_CORRELATION)]
    if ablated["method"].nunique() > 1:
        yield "Ablation (table 2 of the paper)", by_measure(ablated).fillna("").rename_axis("method").reset_index()
    for heading, measures in (
        ("Batches (supplementary figure 1)", BATCHES),
        ("Clusters (supplementary table 2)", CLUSTERS),
    ):
        if len(wide := _wide(known[known["measure"].isin(measures)])):
            yield heading, wide
    yield "Which sentence of the paper holds here", in_words(said)


def with_seconds(here: pd.DataFrame) -> pd.DataFrame:
    """Return the table for a paper as text, with how long a run took."""
    wide = by_measure(here).fillna("")
    seconds = here.drop_duplicates("method").set_index("method")["seconds"]
    wide["seconds a run"] = seconds.reindex(wide.index).map(lambda each: "" if np.isnan(each) else f"{each:.1f}")
    return wide.rename_axis("method").reset_index()


def in_words(said: pd.DataFrame) -> pd.DataFrame:
    """Return which sentence holds, with the numbers of the paper and those here as text."""
    ahead = [
        "" if np.isnan(row.ahead) else f"{row.ahead:+.3f}" + _interval(row.lower, row.upper)
        for row in said.itertuples()
    ]
    columns = ["sentence", "exhibit", "measure", "paper", "here"]
    return said[columns].assign(**{"ahead by": ahead, "verdict": said["verdict"]})


def _interval(lower: float, upper: float) -> str:
    return "" if np.isnan(lower) else f" [{lower:+.3f}, {upper:+.3f}]"


def _wide(known: pd.DataFrame) -> pd.DataFrame:
    """Return the means over slides, a row for every method."""
    columns = known.pivot_table(index="method", columns="measure", values="value", sort=False, dropna=False)
    texts = columns.dropna(axis=1, how="all").map(lambda each: "" if np.isnan(each) else f"{each:.3f}")
    return texts.reset_index().rename_axis(None, axis=1)


def in_markdown(headings: Mapping[str, Mapping[str, pd.DataFrame]]) -> str:
    """Return the tables of every question, each under its heading."""
    return "\n".join(
        f"## {question.capitalize()}\n\n"
        + "\n".join(
            f"### {heading}\n\n{explained(heading, frame, ESCAPED)}\n\n{markdown_table(frame)}"
            for heading, frame in of.items()
        )
        for question, of in headings.items()
    )
