"""How often tests find a difference between conditions where there is none, and where there is one.

Toy tissue: four slices are the reference, eight the query. Labels of two conditions are permuted over the eight, four
and four, in all ways. Slices are alike, or every second one has lost most of the tissue around its portal triads, as
biopsies differ, whatever their condition. For power the slices of one condition have lost it. her2st: C2 to C5, each
imputed from the other three, in the three splits of two and two. The genes are those that `tl.pseudobulk` keeps by
default. On the toy tissue models are the default, or take features in units of their slide, or as they are.

    python benchmarks/error_rates.py [--data toy|her2st]
"""

import argparse
from itertools import combinations
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import scanpy as sc
from scipy import stats

import bleep_sc as bs

USE_REP = "X_stain_stats"
N_DRAWS, LEVEL = 40, 0.05
PORTAL, SHARE_LOST = 0.4, 0.75
"""Spots of the toy tissue whose zonation is lower are portal, and this share of them is lost in one condition."""
ZONATED = ("pericentral", "periportal", "central_vein")
MODELS: dict[str, dict[str, Any]] = {
    "the default": {},
    "features in units of their slide": {"views": ("scaled",) * 3},
    "features as they are": {"views": ("components",) * 3},
}


def features(adata: ad.AnnData, **patches: float) -> ad.AnnData:
    """Log-normalise, and compute stain statistics of the patches."""
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, **patches)
    bs.pp.image_features(adata, USE_REP.removeprefix("X_"), show_progress_bar=False)
    del adata.obsm["patches"]
    return adata


def toy() -> tuple[ad.AnnData, ad.AnnData]:
    """Return the reference, and the query: eight slices, whole, and without most of their portal tissue."""
    adata = features(bs.datasets.toy(n_slices=12, random_state=1), size=56, size_um=112)
    is_ref = adata.obs["library_id"].isin([f"slice{i}" for i in range(1, 5)])
    ref, whole = adata[is_ref].copy(), adata[~is_ref].copy()
    lost = (whole.obs["zonation"] < PORTAL) & (np.random.default_rng(0).random(whole.n_obs) < SHARE_LOST)
    less = whole[~lost].copy()
    less.obs_names = less.obs_names + "-less"
    less.obs["library_id"] = less.obs["library_id"].astype(str) + "-less"
    return ref, ad.concat([whole, less], merge="same", uns_merge="first")


def fit(ref: ad.AnnData, **changes: Any) -> None:
    """Fit for a third of the default epochs, which is enough for means of slides."""
    bs.tl.fit(ref, use_rep=USE_REP, config=bs.tl.FitConfig(max_epochs=60, **changes), show_progress_bar=False)


class Comparison:
    """Every test on the same slices and genes."""

    def __init__(self, spots: dict[str, ad.AnnData], refs: dict[str, ad.AnnData]) -> None:
        """Average predictions and measurements of every slide, and draw imputations by donors and by spots."""
        bulk = {name: bs.tl.pseudobulk(spots[name], sample_key="library_id") for name in spots}
        self.genes = sorted(set.intersection(*(set(each.var_names) for each in bulk.values())))
        self.predicted = {name: spots[name][:, self.genes].layers["bleep"] for name in spots}
        self.measured = {name: spots[name][:, self.genes].X.toarray() for name in spots}
        self.draws = {
            donor_key: {
                name: self._drawn(spots[name], refs[name], donor_key, seed)  # slides are drawn independently
                for seed, name in enumerate(spots)
            }
            for donor_key in ("library_id", None)
        }

    def _drawn(self, slide: ad.AnnData, ref: ad.AnnData, donor_key: str | None, seed: int) -> np.ndarray:
        bulk = bs.tl.pseudobulk(
            slide, sample_key="library_id", n_draws=N_DRAWS, ref=ref, donor_key=donor_key, random_state=seed
        )[:, self.genes]
        return np.stack([bulk.layers[f"draw_{i}"][0] for i in range(N_DRAWS)])  # (draws, genes)

    def pvalues(self, first: list[str], second: list[str]) -> dict[str, np.ndarray]:
        """Return p-values of all genes, test by test."""
        return {
            "spots, predicted": _spots(self.predicted, first, second),
            "spots, measured": _spots(self.measured, first, second),
            "samples, predicted": _samples(self.predicted, first, second),
            "samples, measured": _samples(self.measured, first, second),
            "samples, draws spot by spot": _pooled(self.draws[None], first, second),
            "samples, draws by donors": _pooled(self.draws["library_id"], first, second),
        }

    def calibration(self, names: list[str]) -> pd.DataFrame:
        """Compare the variance between draws with the squared error of the mean of a slide, and of a difference."""
        error = np.array([self.predicted[name].mean(axis=0) - self.measured[name].mean(axis=0) for name in names])
        pairs = np.array(list(combinations(range(len(names)), 2))).T
        quantile = stats.t.ppf(0.95, N_DRAWS - 1)
        rows = {}
        for label, donor_key in (("spot by spot", None), ("by donors", "library_id")):
            draws = np.array([self.draws[donor_key][name] for name in names])  # (slides, draws, genes)
            for what, wrong, drawn in (
                ("mean", error, draws),
                ("difference", error[pairs[0]] - error[pairs[1]], draws[pairs[0]] - draws[pairs[1]]),
            ):
                variance = drawn.var(axis=1, ddof=1) * (1 + 1 / N_DRAWS)
                rows[f"{what}, {label}"] = {
                    "squared error": np.mean(wrong**2),
                    "variance of draws": variance.mean(),
                    "coverage of 90 %": np.mean(np.abs(wrong) <= quantile * np.sqrt(variance)),
                }
        return pd.DataFrame(rows).T


def _spots(values: dict[str, np.ndarray], first: list[str], second: list[str]) -> np.ndarray:
    one, other = (np.concatenate([values[name] for name in names]) for names in (first, second))
    return stats.ttest_ind(one, other, equal_var=False).pvalue


def _samples(values: dict[str, np.ndarray], first: list[str], second: list[str]) -> np.ndarray:
    one, other = (np.array([values[name].mean(axis=0) for name in names]) for names in (first, second))
    return stats.ttest_ind(one, other).pvalue


def _pooled(draws: dict[str, np.ndarray], first: list[str], second: list[str]) -> np.ndarray:
    one, other = (np.stack([draws[name] for name in names], axis=1) for names in (first, second))  # (draws, n, genes)
    n, df = (one.shape[1], other.shape[1]), one.shape[1] + other.shape[1] - 2
    spread = ((n[0] - 1) * one.var(axis=1, ddof=1) + (n[1] - 1) * other.var(axis=1, ddof=1)) / df
    difference = one.mean(axis=1) - other.mean(axis=1)
    return bs.metrics.rubin(difference, spread * (1 / n[0] + 1 / n[1]), df=df).pvalue


def rates(comparison: Comparison, splits: list[tuple[list[str], list[str]]], genes: np.ndarray) -> pd.DataFrame:
    """Return the share of genes with p < .05: mean, least and most over splits."""
    found = [{test: np.mean(p[genes] < LEVEL) for test, p in comparison.pvalues(*split).items()} for split in splits]
    return pd.DataFrame(found).agg(["mean", "min", "max"]).T


def show(title: str, table: pd.DataFrame) -> None:
    """Print a table."""
    print(f"\n{title}\n{table.to_string(float_format='{:.4f}'.format)}", flush=True)


def run_toy() -> None:
    """Print error rates, power, calibration and attenuation on toy tissue."""
    ref, query = toy()
    for name, changes in MODELS.items():
        fit(ref, **changes)
        bs.tl.impute(query, ref=ref)
        print(f"\n== toy, {name}")
        report_toy(ref, query)


def report_toy(ref: ad.AnnData, query: ad.AnnData) -> None:
    """Print the tables of one model."""
    slides = query.obs["library_id"].astype(str).to_numpy()
    spots = {name: query[slides == name].copy() for name in np.unique(slides)}
    comparison = Comparison(spots, dict.fromkeys(spots, ref))
    genes = np.array(comparison.genes)
    every, zonated = np.ones(len(genes), dtype=bool), ref.var.loc[genes, "program"].isin(ZONATED).to_numpy()
    whole = [name for name in spots if not name.endswith("-less")]
    mixed = [f"{name}-less" if i % 2 else name for i, name in enumerate(whole)]
    for title, names in (("slices alike", whole), ("every second slice without portal tissue", mixed)):
        splits = halves(names)[:35]  # the others are their mirror images
        show(f"no difference, {title}: {len(splits)} splits, {every.sum()} genes", rates(comparison, splits, every))
    different = [([f"{name}-less" for name in one], other) for one, other in halves(whole)]
    title = f"portal tissue lost in one condition: {len(different)} splits, {zonated.sum()} zonated genes"
    show(title, rates(comparison, different, zonated))
    show("variance between draws", comparison.calibration(whole))
    measured, predicted = (_change(query[:, genes[zonated]].to_df(layer), slides) for layer in (None, "bleep"))
    print(f"\nchange by the lost tissue: measured {np.abs(measured).mean():.3f}, mean of absolute values; slope of the")
    print(f"predicted on the measured change {(predicted * measured).sum() / (measured**2).sum():.3f}", flush=True)


def halves(names: list[str]) -> list[tuple[list[str], list[str]]]:
    """Return every way to label half of the slides."""
    return [(list(one), [name for name in names if name not in one]) for one in combinations(names, len(names) // 2)]


def _change(values: pd.DataFrame, slides: np.ndarray) -> np.ndarray:
    """Return how the mean of every slide changes with the lost tissue, (slides, genes)."""
    means = values.groupby(slides).mean()
    less = means.index[means.index.str.endswith("-less")]
    return means.loc[less].to_numpy() - means.loc[less.str.removesuffix("-less")].to_numpy()


def run_her2st() -> None:
    """Print error rates on four sections, each predicted from the others."""
    adata = bs.datasets.her2st()
    sc.pp.filter_cells(adata, min_counts=100)
    features(adata)
    spots, refs = {}, {}
    for name in adata.obs["library_id"].unique():
        held_out = adata.obs["library_id"] == name
        refs[name], spots[name] = adata[~held_out].copy(), adata[held_out].copy()
        bs.pp.select_genes(refs[name], batch_key="library_id")
        fit(refs[name])
        bs.tl.impute(spots[name], ref=refs[name])
    comparison, splits = Comparison(spots, refs), halves(list(spots))[:3]
    every = np.ones(len(comparison.genes), dtype=bool)
    print("\n== her2st")
    show(f"{len(splits)} splits, {every.sum()} genes", rates(comparison, splits, every))
    show("variance between draws", comparison.calibration(list(spots)))


def main() -> None:
    """Run the tissue that was asked for, or both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=["toy", "her2st"], default=None)
    chosen = parser.parse_args().data
    for name, run in (("toy", run_toy), ("her2st", run_her2st)):
        if chosen in (None, name):
            run()


if __name__ == "__main__":
    main()
