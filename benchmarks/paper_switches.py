"""What the public code of BLEEP does and `FitConfig.paper()` does not, one switch at a time, on held-out sections.

her2st C2 to C5, one section left out after another, and frozen EfficientNet-Lite0 features of 224 px: heads alone are
trained, since encoders take hours on a CPU. Every row is the published recipe with one thing changed; genes are chosen
on the training sections, and scores are correlations with counts per 10,000 whatever a row was trained on. Scores are
kept, so that an interrupted call goes on where it was.

    python benchmarks/paper_switches.py [--cache FOLDER] [--runs FOLDER] [--seeds 3] [--genes 300] [--rows a;b]
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import scanpy as sc
import torch
from anndata import AnnData, concat, read_h5ad
from lite0 import load_lite0
from scipy.stats import t
from torch import Tensor
from torch.nn.functional import normalize

import bleep_sc as bs
from bleep_sc._arrays.blocks import dense
from bleep_sc.bm._folds import Fold, Split, split
from bleep_sc.models.embed import embed_expression, embed_images
from bleep_sc.models.retrieval import average
from bleep_sc.models.weighing import found_and_weighed
from bleep_sc.training.fit import fit_bleep
from bleep_sc.training.pairs import Pairs

REP = "X_lite0"
PAPER = replace(bs.tl.FitConfig.paper(), train_encoder=False)
BASE = "paper()"
SCORES = ("HVG", "HEG", "all genes")


@dataclass(frozen=True)
class Row:
    """A configuration, what is not in the package, and how the reference is read."""

    config: bs.tl.FitConfig = PAPER
    patched: Callable[[], AbstractContextManager[Any]] = nullcontext
    """While the model is fitted."""
    of_own_median: bool = False
    """Every training slide is normalised to its own median total, and not to 10,000."""
    read: dict[str, Any] = field(default_factory=dict)
    """Neighbours, weights and metric, where they are not those of the configuration."""

    @property
    def fitted(self) -> tuple[Any, ...]:
        """What rows that share a fit have in common."""
        return self.config, self.patched, self.of_own_median


@dataclass(frozen=True)
class Embedded:
    """A held-out section and the training sections in one embedding, (n, n_dims) each."""

    query: np.ndarray
    slides: np.ndarray
    """Of the query, (n_query,)."""
    images: np.ndarray
    keys: np.ndarray
    values: np.ndarray
    """Expression of the training spots, (n, n_panel)."""


def in_parts(image: Tensor, expression: Tensor, temperature: float, *, n: int) -> Tensor:
    """Return the mean loss over n parts of a batch, each contrasted within itself, as by so many GPUs."""
    parts = zip(image.chunk(n), expression.chunk(n), strict=True)
    return torch.stack([bs.models.bleep_loss(*part, temperature) for part in parts]).mean()


def of_norm_one(image: Tensor, expression: Tensor, temperature: float) -> Tensor:
    """Return the loss of embeddings of norm one, with a temperature that is as sharp for these."""
    return bs.models.bleep_loss(normalize(image), normalize(expression), temperature / image.shape[1])


def same_order(n: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Shuffle n samples into the same batches in every epoch, as a sampler does that is not told of epochs."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(generator.initial_seed()))
    size = min(n, batch_size)
    for start in range(0, n - size + 1, size):
        yield order[start : start + size]


LOSS = "bleep_sc.training.fit.bleep_loss"
same_batches = partial(patch, "bleep_sc.training.loop.batches", same_order)
four_parts = partial(patch, LOSS, partial(in_parts, n=4))
unit_norm = partial(patch, LOSS, of_norm_one)
ROWS = {
    BASE: Row(),
    "80 % of the spots, best epoch": Row(replace(PAPER, validation_fraction=0.2)),
    "the same batches in every epoch": Row(patched=same_batches),
    "contrast within 4 parts of a batch": Row(patched=four_parts),
    "slides of their own median": Row(of_own_median=True),
    "hard targets (CLIP)": Row(replace(PAPER, soft_targets=False)),
    "embeddings of norm one": Row(patched=unit_norm),
    "k = 1 (simple)": Row(read={"n_neighbors": 1}),
    "weights by distance (weighted_average)": Row(read={"weights": "distance"}),
    "Euclidean neighbours": Row(read={"metric": "euclidean"}),
    "anchors": Row(read={"weights": "anchors"}),
}


def load(cache: Path) -> AnnData:
    """Load raw counts and features of 224 px around every spot; what is not kept is computed."""
    file = cache / "her2st_lite0.h5ad"
    if file.exists():
        return read_h5ad(file)
    adata = bs.datasets.her2st(("C2", "C3", "C4", "C5"))
    sc.pp.filter_cells(adata, min_counts=100)
    bs.pp.extract_patches(adata, size=224)
    bs.pp.image_features(adata, load_lite0(), key_added=REP)
    del adata.obsm["patches"]
    cache.mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(file)
    return adata


def embedded(fold: Fold, row: Row, random_state: int) -> Embedded:
    """Train the heads on the training sections, and embed both sides."""
    train, query = fold.train[:, fold.panel], fold.query
    slides = train.obs["library_id"].astype(str).to_numpy()
    values = dense(of_own_medians(fold.train, slides)[:, fold.panel].X if row.of_own_median else train.X)
    pairs = Pairs(np.asarray(train.obsm[REP], dtype=np.float32), values)
    with row.patched():
        model, _ = fit_bleep(pairs, slides, config=row.config, random_state=random_state, show_progress_bar=False)
    own = query.obs["library_id"].astype(str).to_numpy()
    return Embedded(
        query=embed_images(model, np.asarray(query.obsm[REP], dtype=np.float32), own),
        slides=own,
        images=embed_images(model, pairs.images, slides),
        keys=embed_expression(model, values),
        values=values,
    )


def of_own_medians(train: AnnData, slides: np.ndarray) -> AnnData:
    """Return sections as logarithms of counts that were normalised to the median total of each."""
    parts = []
    for name in np.unique(slides):
        part = AnnData(train.layers["counts"][slides == name], obs=train.obs[slides == name], var=train.var)
        sc.pp.normalize_total(part)
        sc.pp.log1p(part)
        parts.append(part)
    return concat(parts)[train.obs_names]


def predicted(both: Embedded, row: Row) -> np.ndarray:
    """Return what is read off for the held-out section, (n_spots, n_panel), as `tl.impute` does with `paper()`."""
    found, weights = found_and_weighed(
        both.query,
        both.keys,
        embedding=both.query,
        images=both.images,
        slides=both.slides,
        **{"weights": "uniform", "n_neighbors": row.config.n_neighbors, "metric": row.config.metric, **row.read},
    )
    return average(found.index, weights, both.values)


def scores(fold: Fold, truth: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Score predictions: mean correlation over sets of genes; one that does not vary counts as zero.

    `dropped` and `in place` are those of the sets that are taken from the truth, as the public code takes them: with
    the positions of these genes looked up among the correlations that are no NaN, as it does, and where they are.
    """
    chosen = dense(fold.train[:, fold.panel].X)
    slides = fold.train.obs["library_id"].astype(str).to_numpy()
    r = bs.metrics.pearson(values, truth)
    result = {"all genes": float(np.nan_to_num(r).mean()), "NaN": int(np.isnan(r).sum())}
    short = r[~np.isnan(r)]
    own = np.full(len(truth), "own")
    for name, by in (("HVG", "variance"), ("HEG", "mean")):
        result[name] = float(np.nan_to_num(r[bs.metrics.highest_genes(chosen, slides, by=by)]).mean())
        of_truth = bs.metrics.highest_genes(truth, own, by=by)
        result[f"{name} of the truth, in place"] = float(np.nan_to_num(r[of_truth]).mean())
        result[f"{name} of the truth, dropped"] = float(short[of_truth[of_truth < len(short)]].mean())
    return result


def measure(data: Split, names: list[str], n_seeds: int, file: Path) -> pd.DataFrame:
    """Return the scores of all rows, sections and seeds; those that are in the file are not computed again."""
    table = pd.read_csv(file) if file.exists() else pd.DataFrame({"row": [], "seed": [], "group": []})
    for seed in range(n_seeds):
        for fold in (data.fold(group) for group in data.names()):
            truth = dense(data.truth(fold.group, fold.panel).X)
            done = set(table["row"][(table["seed"] == seed) & (table["group"] == fold.group)])
            models: dict[Any, Embedded] = {}
            for name in names:
                row = ROWS[name]
                if name in done:
                    continue
                if row.fitted not in models:
                    models[row.fitted] = embedded(fold, row, seed)
                values = predicted(models[row.fitted], row)
                line = {"row": name, "seed": seed, "group": fold.group, **scores(fold, truth, values)}
                table = pd.concat([table, pd.DataFrame([line])], ignore_index=True)
                file.parent.mkdir(parents=True, exist_ok=True)
                table.to_csv(file, index=False)
                print(line, flush=True)
    return table[table["row"].isin(names) & (table["seed"] < n_seeds)]


def ahead(table: pd.DataFrame, name: str) -> tuple[str, str]:
    """Return how far a row is ahead over the 50 most variable genes, with Student's interval over seeds."""
    wide = table.pivot_table(index=["seed", "group"], columns="row", values="HVG")
    change = wide[name] - wide[BASE]
    of_seeds = change.groupby("seed").mean()
    half = t.ppf(0.975, len(of_seeds) - 1) * of_seeds.std() / len(of_seeds) ** 0.5 if len(of_seeds) > 1 else np.nan
    better = int((change.groupby("group").mean() > 0).sum())
    sections = change.index.get_level_values("group").nunique()
    return f"{of_seeds.mean():+.3f} [{of_seeds.mean() - half:+.3f}, {of_seeds.mean() + half:+.3f}]", (
        f"{better} of {sections}"
    )


def report(table: pd.DataFrame, names: list[str]) -> str:
    """Return the tables as Markdown."""
    n_seeds = table["seed"].nunique()
    lines = [
        f"her2st C2 to C5, one section left out after another; frozen Lite0 features, heads alone, {n_seeds} seeds.",
        "",
        "| row | HVG | HEG | all genes | ahead of paper(), HVG | sections where it is |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        mean = table[table["row"] == name][list(SCORES)].mean()
        change = ahead(table, name) if name != BASE and BASE in names else ("", "")
        numbers = " | ".join(f"{mean[score]:.3f}" for score in SCORES)
        lines.append(f"| {name} | {numbers} | {' | '.join(change)} |")
    if BASE in names:
        of = table[table["row"] == BASE].mean(numeric_only=True)
        lines += ["", "Genes of the truth, where some do not vary: as the public code looks them up, and in place.", ""]
        lines += ["| set | looked up among those left | in place | genes without a correlation |", "|---|---|---|---|"]
        lines += [
            f"| {name} | {of[f'{name} of the truth, dropped']:.3f} | {of[f'{name} of the truth, in place']:.3f} | "
            f"{of['NaN']:.0f} |"
            for name in ("HVG", "HEG")
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print the tables, and write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("bleep_sc_features"))
    parser.add_argument("--runs", type=Path, default=Path("bleep_sc_runs"), help="folder for scores")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--genes", type=int, default=300, help="most variable ones of every training section; published are 1000"
    )
    parser.add_argument("--rows", default=None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/her2st/paper_switches.md")
    arguments = parser.parse_args()
    names = arguments.rows.split(";") if arguments.rows else list(ROWS)
    data = split(
        load(arguments.cache),
        "library_id",
        use_rep=[REP],
        patches_key="patches",
        layer=None,
        library_key=None,
        n_top_genes=arguments.genes,
    )
    text = report(
        measure(data, names, arguments.seeds, arguments.runs / f"paper_switches_{arguments.genes}.csv"), names
    )
    print(text)
    arguments.out.write_text(text)


if __name__ == "__main__":
    main()
