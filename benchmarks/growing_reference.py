"""What a reference gains when slides and spots are added to it without training: her2st C2 to C5, each held out.

Features are those of the ablation, the configuration is the default. Added sections and spots are embedded by the model
that was fitted before. Genes are chosen on the training sections.

    python benchmarks/growing_reference.py [--cache FOLDER] [--draws 5]
"""

import argparse
import warnings
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
from ablation import load
from anndata import AnnData
from sklearn.neighbors import KNeighborsRegressor

import bleep_sc as bs

FEATURES = ["X_0", "X_1", "X_2"]
SECTIONS = ("C2", "C3", "C4", "C5")
SHARES = (0.0, 0.01, 0.05, 0.1)
CONFIG = bs.tl.FitConfig(cross_fit=False)
Scores = tuple[str, dict[str, float]]


class Genes:
    """Genes that were chosen on some sections, and the sets of them that are scored."""

    def __init__(self, adata: AnnData, sections: Sequence[str]):
        train = adata[adata.obs["library_id"].isin(sections)].copy()
        bs.pp.select_genes(train, batch_key="library_id", n_top_genes=1000)
        chosen = train.var["highly_variable"].to_numpy()
        self.adata = adata[:, chosen].copy()
        values, slides = train[:, chosen].X.toarray(), train.obs["library_id"].to_numpy(dtype=str)
        ranks = {"HEG": "mean", "HVG": "variance"}
        self.sets = {name: bs.metrics.highest_genes(values, slides, by=by) for name, by in ranks.items()}

    def of(self, *sections: str) -> AnnData:
        """Return some sections."""
        return self.adata[self.adata.obs["library_id"].isin(sections)].copy()

    def fitted(self, *sections: str) -> AnnData:
        """Return some sections with a model."""
        ref = self.of(*sections)
        bs.tl.fit(ref, use_rep=FEATURES, config=CONFIG, show_progress_bar=False)
        return ref

    def embedded(self, ref: AnnData, section: str) -> AnnData:
        """Return a section placed in the embedding of another."""
        other = self.of(section)
        bs.tl.embed(other, ref, expression=True)
        return other

    def score(self, predicted: np.ndarray, query: AnnData, rows: np.ndarray | slice = slice(None)) -> dict[str, float]:
        """Return the mean correlation of every set over some spots; what does not vary counts as zero."""
        truth = query.X.toarray()
        each = {name: (predicted[rows][:, genes], truth[rows][:, genes]) for name, genes in self.sets.items()}
        return {name: float(np.nan_to_num(bs.metrics.pearson(*sides)).mean()) for name, sides in each.items()}


def impute(query: AnnData, refs: list[AnnData], weights: list[float] | None = None) -> np.ndarray:
    """Predict a section."""
    return bs.tl.impute(query, ref=refs, ref_weights=weights, copy=True).layers["bleep"]


def more_sections(genes: Genes, query: AnnData, train: Sequence[str], whole: AnnData) -> Iterator[Scores]:
    """Fit one section, and add the others one by one; and fit all."""
    for first in train:
        ref = genes.fitted(first)
        others = [genes.embedded(ref, name) for name in train if name != first]
        for number in range(len(others) + 1):
            for added in combinations(others, number):
                name = f"(a) 1 section fitted, {number} added"
                yield name, genes.score(impute(query, [ref, *added]), query)
    yield "(a) 3 sections fitted", genes.score(impute(query, [whole]), query)


def measured_spots(genes: Genes, query: AnnData, whole: AnnData, n_draws: int) -> Iterator[Scores]:
    """Add some spots of the query; all shares are scored on the spots that the largest share leaves."""
    for draw in range(n_draws):
        order = np.random.default_rng(draw).permutation(query.n_obs)
        rest = order[round(max(SHARES) * query.n_obs) :]
        for share in SHARES:
            rows = order[: round(share * query.n_obs)]
            name = f"(b) 3 sections, {share:.0%} of the query measured"
            if not len(rows):
                yield name, genes.score(impute(query, [whole]), query, rest)
                continue
            measured = query[rows].copy()
            bs.tl.embed(measured, whole, expression=True)
            for weight in (1, 5):
                predicted = impute(query, [whole, measured], [1, weight])
                yield f"{name}, weight {weight}", genes.score(predicted, query, rest)
            nearest = KNeighborsRegressor(min(5, len(rows)), weights="distance")
            nearest.fit(measured.obsm["spatial"], measured.X.toarray())
            yield (
                f"(b) {share:.0%} measured, interpolated",
                genes.score(nearest.predict(query.obsm["spatial"]), query, rest),
            )


def imputed_section(genes: Genes, ref: AnnData, query: AnnData, other: str) -> Iterator[Scores]:
    """Add a third section to two that were fitted, imputed or measured."""
    yield "(c) 2 sections", genes.score(impute(query, [ref]), query)
    imputed = genes.of(other)
    bs.tl.impute(imputed, ref=ref)
    bs.tl.embed(imputed, ref, expression=True, layer="bleep")
    for weight in (0.5, 1):
        predicted = impute(query, [ref, imputed], [1, weight])
        yield f"(c) 2 sections, a third imputed, weight {weight}", genes.score(predicted, query)
    predicted = impute(query, [ref, genes.embedded(ref, other)])
    yield "(c) 2 sections, a third measured", genes.score(predicted, query)


def scores(adata: AnnData, n_draws: int) -> Iterator[tuple[str, Scores]]:
    """Return all scores and the section that was held out."""
    for held_out in SECTIONS:
        train = [name for name in SECTIONS if name != held_out]
        genes = Genes(adata, train)
        query, whole = genes.of(held_out), genes.fitted(*train)
        for score in more_sections(genes, query, train, whole):
            yield held_out, score
        for score in measured_spots(genes, query, whole, n_draws):
            yield held_out, score
    for pair in combinations(SECTIONS, 2):
        genes = Genes(adata, pair)
        ref = genes.fitted(*pair)
        for held_out, other in permutations([name for name in SECTIONS if name not in pair]):
            for score in imputed_section(genes, ref, genes.of(held_out), other):
                yield held_out, score


def main() -> None:
    """Print the mean correlations by what was added: over the sections, subsets and draws, and for every section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("bleep_sc_features"))
    parser.add_argument("--draws", type=int, default=5)
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
