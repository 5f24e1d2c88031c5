"""What a reference gains when slides and spots are added to it without training: her2st C2 to C5.

The model is fitted on one section, on genes that were chosen on it; the others are embedded by it. Every section is the
query of every other one. Features are those of the ablation, the configuration is the default with one pair of heads.

    python benchmarks/growing_reference.py [--cache FOLDER] [--draws 3]
"""

import argparse
import warnings
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData
from fields_of_view import load
from sklearn.neighbors import KNeighborsRegressor

import bleep_sc as bs

FEATURES = ["X_0", "X_1", "X_2"]
SECTIONS = ("C2", "C3", "C4", "C5")
SHARES = (0.0, 0.01, 0.05, 0.1)
CONFIG = bs.tl.FitConfig(cross_fit=False, views=("scaled",))
Scores = tuple[str, dict[str, float]]


class Sections:
    """The sections on the genes of one of them, which a model was fitted on; the others are placed in its embedding."""

    def __init__(self, adata: AnnData, first: str):
        of = {name: adata[adata.obs["library_id"] == name].copy() for name in SECTIONS}
        bs.pp.select_genes(of[first], n_top_genes=1000)
        chosen = of[first].var["highly_variable"].to_numpy()
        of = {name: section[:, chosen].copy() for name, section in of.items()}
        self.first = of.pop(first)
        self.others = of
        bs.tl.fit(self.first, use_rep=FEATURES, config=CONFIG, show_progress_bar=False)
        for other in of.values():
            bs.tl.embed(other, self.first, expression=True)
        values, slides = self.first.X.toarray(), np.full(self.first.n_obs, first)
        ranks = {"HEG": "mean", "HVG": "variance"}
        self.sets = {name: bs.metrics.highest_genes(values, slides, by=by) for name, by in ranks.items()}

    def score(self, predicted: np.ndarray, query: AnnData, rows: np.ndarray | slice = slice(None)) -> dict[str, float]:
        """Return the mean correlation of every set over some spots; what does not vary counts as zero."""
        truth = query.X.toarray()
        each = {name: (predicted[rows][:, genes], truth[rows][:, genes]) for name, genes in self.sets.items()}
        return {name: float(np.nan_to_num(bs.metrics.pearson(*sides)).mean()) for name, sides in each.items()}


def impute(query: AnnData, refs: list[AnnData], weights: list[float] | None = None) -> np.ndarray:
    """Predict a section."""
    return bs.tl.impute(query, ref=refs, ref_weights=weights, copy=True).layers["bleep"]


def more_sections(sections: Sections, query: AnnData, added: list[AnnData]) -> Iterator[Scores]:
    """Add none, one or both of the other sections."""
    for number in range(len(added) + 1):
        for some in combinations(added, number):
            predicted = impute(query, [sections.first, *some])
            yield f"(a) 1 section, {number} added", sections.score(predicted, query)


def measured_spots(sections: Sections, query: AnnData, added: list[AnnData], n_draws: int) -> Iterator[Scores]:
    """Add some spots of the query; all shares are scored on the spots that the largest share leaves."""
    refs = [sections.first, *added]
    for draw in range(n_draws):
        order = np.random.default_rng(draw).permutation(query.n_obs)
        rest = order[round(max(SHARES) * query.n_obs) :]
        for share in SHARES:
            rows = order[: round(share * query.n_obs)]
            if not len(rows):
                yield "(b) no spot of the query", sections.score(impute(query, refs), query, rest)
                continue
            measured = query[rows].copy()
            bs.tl.embed(measured, sections.first, expression=True)
            for weight in (1, 5):
                predicted = impute(query, [*refs, measured], [1, 1, 1, weight])
                yield f"(b) {share:.0%} of the query, weight {weight}", sections.score(predicted, query, rest)
            nearest = KNeighborsRegressor(min(5, len(rows)), weights="distance")
            nearest.fit(measured.obsm["spatial"], measured.X.toarray())
            interpolated = nearest.predict(query.obsm["spatial"])
            yield f"(b) {share:.0%} of the query, interpolated", sections.score(interpolated, query, rest)


def imputed_section(sections: Sections, query: AnnData, other: AnnData) -> Iterator[Scores]:
    """Add another section as if it had not been measured: imputed from the first."""
    imputed = bs.tl.impute(other, ref=sections.first, copy=True)
    bs.tl.embed(imputed, sections.first, expression=True, layer="bleep")
    for weight in (0.5, 1):
        predicted = impute(query, [sections.first, imputed], [1, weight])
        yield f"(c) 1 section, 1 imputed, weight {weight}", sections.score(predicted, query)


def scores(adata: AnnData, n_draws: int) -> Iterator[tuple[str, Scores]]:
    """Return all scores and the section that was predicted."""
    for first in SECTIONS:
        sections = Sections(adata, first)
        for name, query in sections.others.items():
            added = [section for other, section in sections.others.items() if other != name]
            for score in more_sections(sections, query, added):
                yield name, score
            for score in measured_spots(sections, query, added, n_draws):
                yield name, score
            for other in added:
                for score in imputed_section(sections, query, other):
                    yield name, score


def main() -> None:
    """Print the mean correlations by what was added: over sections, subsets and draws, and HVG for every section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("bleep_sc_features"))
    parser.add_argument("--draws", type=int, default=3)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="Slide .* is in the query and in the reference")
    adata = load("her2st", arguments.cache)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    rows = [
        {"reference": name, "section": section, **score} for section, (name, score) in scores(adata, arguments.draws)
    ]
    means = pd.DataFrame(rows).groupby(["reference", "section"], sort=False).mean().unstack("section")
    table = means.T.groupby(level=0).mean().T
    table = table.join(means["HVG"].add_prefix("HVG of "))
    print(table.to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
