"""What a comparison found out about every slide: a row for every question, method, slide and measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pandas as pd

from bleep_sc._output.messages import listed
from bleep_sc.bm._donors import questions
from bleep_sc.bm._summary import CEILING, LOCATION, SETS, UNKNOWN, slide_means

if TYPE_CHECKING:
    from collections.abc import Iterator

Better = Literal["higher", "lower", "one"]
GIVEN, SHARE, CRPS, SKILL, VARIANCE = (
    "r given location copy",
    "share of ceiling",
    "CRPS",
    "CRPS skill",
    "variance ratio",
)
BETTER: dict[str, Better] = {CRPS: "lower", VARIANCE: "one", "relative variance distance": "lower"}
"""In which direction a measure improves, for those of which more is not better."""
NEEDED = ("pearson", "partial", "ceiling", "crps", "crps_reference", "measured_variance", "predicted_variance")
KNOWN_SETS = (*SETS[1:], SETS[0])
"""Gene sets as they stand in a table: all genes last."""


def label_of(gene_set: str, origin: str) -> str:
    """Return what a gene set is called in a table, which says where it is from if there are two of them."""
    return gene_set if origin in ("fixed", "panel") else f"{gene_set} ({origin})"


def of_slides(table: pd.DataFrame, of_structure: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return ``held_out``, ``measure``, ``method``, ``library``, ``donor`` and ``value``, the mean over seeds.

    ``of_structure`` has ``library``, ``method``, ``metric`` and ``value``, and is passed on.
    """
    missing = [name for name in NEEDED if name not in table]
    if missing:
        raise KeyError(f"table= lacks {listed(missing)}. Pass what bleep_sc.bm.cross_validate returned.")
    parts = []
    for question, asked in questions(table):
        donors = asked.drop_duplicates("library").set_index("library")["donor"].fillna(UNKNOWN).astype(str)
        for measure, values in _measures(asked):
            rows = values.rename("value").rename_axis(["method", "library"]).reset_index()
            parts.append(rows.assign(held_out=question, measure=measure, donor=rows["library"].map(donors)))
        if of_structure is not None:
            rows = of_structure.rename(columns={"metric": "measure"})
            rows = rows[rows["library"].isin(donors.index)]
            parts.append(rows.assign(held_out=question, donor=rows["library"].map(donors)))
    columns = ["held_out", "measure", "method", "library", "donor", "value"]
    return pd.concat(parts, ignore_index=True)[columns]


def _measures(asked: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Return the measures of one question, each by method and library."""
    for gene_set, origin, flag in KNOWN_SETS:
        part = asked if flag is None else asked[asked[flag]]
        if len(part):
            ceiling = _over_seeds(slide_means(part, "ceiling")).groupby("library").mean()
            r = _over_seeds(slide_means(part, "pearson"))
            highest = pd.concat({CEILING: ceiling}, names=["method"])
            yield label_of(gene_set, origin), pd.concat([r, highest])
    hvg = asked[asked["HVG_reference"]]
    if not len(hvg):
        return
    if LOCATION in set(hvg["method"]):
        yield GIVEN, _over_seeds(slide_means(hvg[hvg["method"] != LOCATION], "partial"))
    ceiling = _over_seeds(slide_means(hvg, "ceiling")).groupby("library").mean()
    yield SHARE, _over_seeds(slide_means(hvg, "pearson")) / ceiling.mean()
    of_all = hvg["crps"].notna().groupby([hvg["library"], hvg["gene"]]).transform("all")
    if of_all.any():
        known = hvg[of_all]
        crps = _over_seeds(slide_means(known, "crps"))
        yield CRPS, crps
        yield SKILL, 1 - crps / _over_seeds(slide_means(known, "crps_reference"))
    varies = hvg[hvg["measured_variance"] > 0]
    ratio = varies["predicted_variance"] / varies["measured_variance"]
    by_run = ratio.groupby([varies["method"], varies["seed"], varies["library"]], sort=False).median()
    yield VARIANCE, _over_seeds(by_run)


def _over_seeds(by_run: pd.Series) -> pd.Series:
    """Return the mean over seeds, by method and library."""
    return by_run.groupby(["method", "library"], sort=False).mean()


def better(measure: str) -> Better:
    """Tell in which direction a measure improves."""
    return BETTER.get(measure, "higher")
