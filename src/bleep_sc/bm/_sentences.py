"""What the paper says of BLEEP, and whether it holds in a comparison: a row for every sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc.bm._measures import VARIANCE, better
from bleep_sc.bm._robustness import MARKED, MEASURED, MIXING
from bleep_sc.bm._summary import drawn

if TYPE_CHECKING:
    from collections.abc import Sequence

HOLDS, FAILS, UNTOLD, NOT_RUN, NO_NUMBER = "holds", "does not hold", "cannot be told", "not run", "not measured"
LEAST_SLIDES = 3
"""Held-out slides without which nothing is said: two that agree by chance have a narrow interval."""
NEAR = 1e-9
"""A difference as small as this is none."""
BLEEP = ("bleep_published", "bleep_k50", "bleep")
"""How BLEEP is called here: the first that was run stands for it."""
RIVALS = {"HisToGene": ("histogene",), "ST-Net": ("stnet",)}
"""The same of what the paper compares with it."""
ABLATED = {
    "1 neighbour": (("bleep_k50", "bleep_k1"), ("bleep", "bleep_simple")),
    "10 neighbours": (("bleep_k50", "bleep_k10"),),
    "100 neighbours": (("bleep_k50", "bleep_k100"),),
    "50 weighted neighbours": (("bleep_k50", "bleep_weighted"), ("bleep", "bleep_weighted")),
    "CLIP's hard targets": (("bleep_k50", "clip"), ("bleep", "clip")),
}
"""What the paper changes in BLEEP, and the pairs here that differ in nothing else: the first that was run."""
SETS = {"MG": "marker genes", "HEG (truth)": "highly expressed genes", "HVG (truth)": "highly variable genes"}
"""Gene sets of the paper, which takes HEG and HVG from the truth."""
TABLE_1 = {
    "BLEEP": (".217", ".175", ".173"),
    "HisToGene": (".097", ".072", ".071"),
    "ST-Net": (".099", ".126", ".091"),
}
"""r of MG, HEG and HVG (Xie et al., 2023, table 1)."""
TABLE_2 = {
    "1 neighbour": (".079", ".075 or .084", ".075 or .084"),
    "10 neighbours": (".179", ".146 or .148", ".146 or .148"),
    "100 neighbours": (".215", ".180 or .181", ".180 or .181"),
    "50 weighted neighbours": (".186", ".157 or .161", ".157 or .161"),
    "CLIP's hard targets": (".209", ".165 or .170", ".165 or .170"),
}
"""The same of its ablation; which of the last two is which is not known for certain."""


@dataclass(frozen=True)
class Sentence:
    """One thing that the paper says: what is ahead of what, by which measure."""

    says: str
    exhibit: str
    """Where the paper shows it."""
    paper: str
    """The paper's numbers, ahead and behind; empty where it shows a figure."""
    measure: str
    pairs: tuple[tuple[str, ...], ...]
    """The rows that stand for what is ahead, and for what is behind: the first pair that was run. A single one: it is
    below ``below``."""
    below: float = np.nan


def _sentences() -> Iterator[Sentence]:
    for rival in ("HisToGene", "ST-Net"):
        for place, (measure, genes) in enumerate(SETS.items()):
            said = f"{TABLE_1['BLEEP'][place]} against {TABLE_1[rival][place]}"
            says = f"BLEEP predicts {genes} better than {rival}."
            yield Sentence(says, "table 1", said, measure, tuple(product(BLEEP, RIVALS[rival])))
    for variant, numbers in TABLE_2.items():
        for place, (measure, genes) in enumerate(SETS.items()):
            base = "BLEEP's soft targets" if variant.startswith("CLIP") else "50 neighbours"
            ours, theirs = TABLE_1["BLEEP"][place], numbers[place]
            pair = [(base, ours), (variant, theirs)]
            (ahead, more), (behind, less) = pair if float(ours) > float(theirs.split()[0]) else pair[::-1]
            pairs = tuple(each if ahead == base else each[::-1] for each in ABLATED[variant])
            says = f"{ahead} predict {genes} better than {behind}."
            yield Sentence(says, "table 2", f"{more} against {less}", measure, pairs)
    alone = tuple((name,) for name in BLEEP)
    yield Sentence("BLEEP's predictions vary less than measurements.", "figure 2", "", VARIANCE, alone, 1.0)
    for rival in ("HisToGene", "ST-Net"):
        says = f"The variances of BLEEP's predictions are nearer to the measured ones than those of {rival}."
        pairs = tuple(product(BLEEP, RIVALS[rival]))
        yield Sentence(says, "figure 2", "", "relative variance distance", pairs)
    for rival in ("HisToGene", "ST-Net"):
        says = f"BLEEP keeps correlations between genes better than {rival}."
        yield Sentence(says, "figure 4", "", "gene-gene correlation", tuple(product(BLEEP, RIVALS[rival])))
    says = "Clusters of measurements show regions of low quality, and those of BLEEP's predictions do not."
    yield Sentence(says, "figure 5", "", MARKED, tuple(product([MEASURED], BLEEP)))
    says = "BLEEP's predictions mix with the profiles of other slides better than measurements of the slide do."
    yield Sentence(says, "supplementary figure 1", "", MIXING, tuple(product(BLEEP, [MEASURED])))
    for measure in ("Leiden, ARI", "Leiden, NMI"):
        says = f"HisToGene's clusters agree with the measured ones better than BLEEP's ({measure.split()[-1]})."
        yield Sentence(says, "supplementary table 2", "", measure, tuple(product(RIVALS["HisToGene"], BLEEP)))


SENTENCES = tuple(_sentences())


def verdicts(values: pd.DataFrame, *, random_state: int = 0) -> pd.DataFrame:
    """Hold the sentences of the paper against a comparison.

    ``values`` has ``held_out``, ``measure``, ``method``, ``library``, ``donor`` and ``value``
    (:func:`bleep_sc.bm._measures.of_slides`). Returns ``held_out``, ``sentence``, ``exhibit``, ``measure``,
    ``paper``, ``here`` (both numbers, and whose they are), ``ahead`` (by how much, in the direction in which the
    measure improves), ``lower``, ``upper`` and ``verdict``: whether the interval of the paired difference is above
    zero, below, or holds it, of three slides or more.
    """
    rows = [
        {"held_out": question, **_held_against(each, part, random_state)}
        for question, part in values.groupby("held_out", sort=False)
        for each in SENTENCES
    ]
    return pd.DataFrame(rows)


def _held_against(sentence: Sentence, values: pd.DataFrame, random_state: int) -> dict[str, object]:
    row: dict[str, object] = {
        "sentence": sentence.says,
        "exhibit": sentence.exhibit,
        "measure": sentence.measure,
        "paper": sentence.paper,
        "here": "",
        **dict.fromkeys(("ahead", "lower", "upper"), np.nan),
    }
    compared, part = set(values["method"]), values[values["measure"] == sentence.measure]
    names = next((pair for pair in sentence.pairs if compared.issuperset(pair)), None)
    if names is None:
        return {**row, "verdict": NOT_RUN}
    by_method = {name: rows.set_index("library")["value"] for name, rows in part.groupby("method")}
    sides = [by_method[name] for name in names if name in by_method]
    if len(sides) < len(names) or any(side.isna().all() for side in sides):
        return {**row, "verdict": NO_NUMBER}
    difference = _ahead_by(sentence, sides)
    drawn_from = drawn(part, random_state)(difference)
    here = " against ".join(f"{_number(side.mean())} ({name})" for name, side in zip(names, sides, strict=True))
    row |= {"here": here, "ahead": drawn_from["mean"], "lower": drawn_from["lower"], "upper": drawn_from["upper"]}
    return {**row, "verdict": _verdict(drawn_from) if len(difference) >= LEAST_SLIDES else UNTOLD}


def _ahead_by(sentence: Sentence, sides: Sequence[pd.Series]) -> pd.Series:
    """Return by how much the first side is ahead, slide by slide."""
    if len(sides) == 1:
        return (sentence.below - sides[0]).dropna()
    sign = -1.0 if better(sentence.measure) == "lower" else 1.0
    return (sign * (sides[0] - sides[1])).dropna()


def _verdict(difference: Mapping[str, float]) -> str:
    if np.isnan(difference["lower"]):
        return UNTOLD
    if difference["lower"] > NEAR:
        return HOLDS
    return FAILS if difference["upper"] < -NEAR else UNTOLD


def _number(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.3f}"
