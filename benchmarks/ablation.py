"""What each ingredient of the default preset is worth, on held-out sections and animals.

her2st C2 to C5, one section left out after another, and mob, one animal left out (the number that decides). Features
are those of EfficientNet-Lite0, averaged over the eight symmetries of a patch, at three fields of view. A row changes
one thing. The features are computed once and kept in a folder.

    python benchmarks/ablation.py her2st|mob [--cache FOLDER] [--seeds 1] [--rows a,b] [--features-only]
"""

import argparse
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from fields_of_view import FEATURES, ONE_VIEW, STAINS, load, small_patches
from losses import FromInputs, Learned, cosine, soft
from sklearn.decomposition import PCA

import bleep_sc as bs
from bleep_sc._arrays.blocks import dense
from bleep_sc.models.retrieval import average, nearest, neighbor_weights
from bleep_sc.training.chunks import embed_in_chunks
from bleep_sc.training.validation import monitored_genes, validation_score

GROUPS = {"her2st": "library_id", "mob": "animal"}
CONTEXT_UM = 400.0
EMBED = "bleep_sc.training.fit.embed_in_chunks"
WEIGHTS = "bleep_sc.models.retrieval.neighbor_weights"
SOFTMAX = (0.02, 0.05, 0.1, 0.2)
PAPER, DEFAULT = bs.tl.FitConfig.paper(), bs.tl.FitConfig(cross_fit=False)
FORMER = replace(DEFAULT, views=("scaled",) * 3, regression_penalty=3.0, smoothing_um=0.0)
"""The default before heads had views of their own."""


@dataclass(frozen=True)
class Row:
    """A configuration, the features that it sees, and what is not in the package: other losses, keys and values."""

    config: bs.tl.FitConfig
    features: tuple[str, ...] = FEATURES
    loss: Any = bs.models.bleep_loss
    """A function of image and expression embeddings and temperature, or a class whose objects are such functions."""
    image_keys: bool = False
    """Look for neighbours among the image embeddings of the reference."""
    n_components: int | None = None
    """Read principal components of the expression of the reference instead of the expression."""
    softmax: tuple[float, ...] = ()
    """Weigh neighbours by the softmax of their similarity, with that of these temperatures which was best on slides
    left out of the reference."""


def rows(names: list[str]) -> dict[str, Row]:
    """Return the rows: from the paper to the default step by step, and the default with one thing changed.

    Where nothing is cross-fitted, embeddings are not averaged over tissue either.
    """
    steps = replace(PAPER, batch_size=256, max_epochs=200)
    scaled = replace(steps, views=("scaled",))
    rotated = replace(scaled, n_components=256)
    ensemble = replace(rotated, views=("scaled",) * 3)
    whole = replace(DEFAULT, cross_fit=True)
    wide = tuple(f"{name}_context" for name in names)
    return {
        "paper, one view": Row(PAPER, (ONE_VIEW,)),
        "+ symmetries": Row(PAPER, ("X_0",)),
        "+ three fields of view": Row(PAPER),
        "+ 200 epochs of batches of 256": Row(steps),
        "+ in units of the slide": Row(scaled),
        "+ 256 principal components": Row(rotated),
        "+ three pairs of heads": Row(ensemble),
        "+ temperature 4": Row(replace(ensemble, temperature=4.0)),
        "+ regression = former default": Row(FORMER),
        "+ three views": Row(replace(FORMER, views=DEFAULT.views)),
        "+ penalty 10": Row(DEFAULT),
        "+ cross-fitted, smoothed = default": Row(whole),
        "default, not smoothed": Row(replace(whole, smoothing_um=0.0)),
        "default, penalty 3": Row(replace(whole, regression_penalty=3.0)),
        **{f"default, {view} alone": Row(replace(whole, views=(view,))) for view in (*DEFAULT.views, "scaled")},
        **{
            f"default, {view} three times": Row(replace(whole, views=(view,) * 3))
            for view in (*DEFAULT.views, "scaled")
        },
        "one field of view": Row(DEFAULT, ("X_0",)),
        "former default, cross-fitted": Row(replace(FORMER, cross_fit=True)),
        "former default, not in units of the slide": Row(replace(FORMER, views=("components",) * 3)),
        "former default, one pair of heads": Row(replace(FORMER, views=("scaled",))),
        "former default, six pairs of heads": Row(replace(FORMER, views=("scaled",) * 6)),
        "heads of 128": Row(replace(DEFAULT, n_dims=128)),
        "temperature 1": Row(replace(DEFAULT, temperature=1.0)),
        "25 neighbours": Row(replace(DEFAULT, n_neighbors=25)),
        "100 neighbours": Row(replace(DEFAULT, n_neighbors=100)),
        "softmax of .05 over 200": Row(replace(DEFAULT, n_neighbors=200), softmax=(0.05,)),
        "dropout .3, weight decay .1": Row(replace(DEFAULT, dropout=0.3, weight_decay=0.1)),
        f"with context of {CONTEXT_UM:.0f} µm": Row(DEFAULT, (*names, *wide)),
        "hard targets": Row(replace(DEFAULT, soft_targets=False)),
        "detached targets": Row(DEFAULT, loss=partial(soft, detached=True, normalised=False)),
        "targets normalised on both sides": Row(DEFAULT, loss=partial(soft, detached=False, normalised=True)),
        "embeddings of norm one, temperature .07": Row(replace(DEFAULT, temperature=0.07), loss=cosine),
        "a temperature that is learned": Row(DEFAULT, loss=Learned),
        "targets from features and expression": Row(DEFAULT, loss=FromInputs),
        "softmax over 200, temperature by left-out slides": Row(replace(DEFAULT, n_neighbors=200), softmax=SOFTMAX),
        "image embeddings as keys": Row(DEFAULT, image_keys=True),
        "values of 20 components": Row(DEFAULT, n_components=20),
        "and stain statistics": Row(DEFAULT, (*names, STAINS)),
        "no regression": Row(replace(DEFAULT, regression=False)),
    }


def bleep(train: AnnData, query: AnnData, *, random_state: int, row: Row) -> object:
    """Fit and impute."""
    loss = row.loss() if isinstance(row.loss, type) else row.loss
    with patch("bleep_sc.training.fit.bleep_loss", loss), patch(EMBED, getattr(loss, "embed", embed_in_chunks)):
        fit(train, row, random_state)
    if row.image_keys:
        train.obsm["X_bleep_expression"] = train.obsm["X_bleep_image"]
    genes = train.var_names[train.var["highly_variable"]].tolist()
    layer = None
    if row.n_components is not None:
        layer = "components"
        train.layers[layer] = np.zeros(train.shape, dtype=np.float32)
        train.layers[layer][:, train.var["highly_variable"]] = components(train[:, genes].X, row.n_components)
    weights = neighbor_weights
    if row.softmax:
        weights = partial(softmax, temperature=temperature_of(train, row, random_state))
    with patch(WEIGHTS, weights):
        bs.tl.impute(query, ref=train, genes=genes, layer=layer)
    return query[:, genes].layers["bleep"]


def softmax(similarity: torch.Tensor, temperature: float) -> torch.Tensor:
    """Weigh neighbours by the softmax of their similarity, (n_query, n_neighbors)."""
    return torch.softmax(similarity / temperature, dim=1)


def fit(train: AnnData, row: Row, random_state: int) -> None:
    """Fit on the features of a row."""
    bs.tl.fit(train, use_rep=list(row.features), config=row.config, random_state=random_state, show_progress_bar=False)


def components(expression: object, n: int) -> np.ndarray:
    """Return expression (n_spots, n_genes) as its first principal components have it, and not below zero."""
    values = dense(expression)
    pca = PCA(n, random_state=0)
    return np.maximum(pca.inverse_transform(pca.fit_transform(values)), 0).astype(np.float32)


def temperature_of(train: AnnData, row: Row, random_state: int) -> float:
    """Return the temperature whose softmax predicts slides of the reference best that were left out."""
    slides = train.obs["library_id"].astype(str)
    if len(row.softmax) == 1 or slides.nunique() == 1:
        return row.softmax[len(row.softmax) // 3]
    scores = dict.fromkeys(row.softmax, 0.0)
    for name in slides.unique():
        inner, left_out = train[slides != name].copy(), train[slides == name].copy()
        fit(inner, replace(row, config=replace(row.config, views=tuple(dict.fromkeys(row.config.views)))), random_state)
        genes = inner.var_names[inner.var["highly_variable"]]
        embedded = bs.tl.embed(left_out, inner, copy=True).obsm["X_bleep_image"]
        values, truth = (dense(each[:, genes].X) for each in (inner, left_out))
        judges = monitored_genes(values, inner.obs["library_id"].astype(str).to_numpy())
        keys = inner.obsm["X_bleep_expression"]
        similarity, index = nearest(embedded, keys, n_neighbors=min(row.config.n_neighbors, len(keys)))
        for each in row.softmax:
            predicted = average(index, softmax(similarity, each), values[:, judges])
            scores[each] += validation_score(predicted, truth[:, judges])
    return max(scores, key=scores.__getitem__)


def main() -> None:
    """Print a row for every configuration, and for the baselines on the same features."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=list(GROUPS))
    parser.add_argument("--cache", type=Path, default=Path("bleep_sc_features"))
    parser.add_argument("--runs", type=Path, default=None, help="folder for predictions")
    parser.add_argument("--rows", default=None)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--features-only", action="store_true")
    arguments = parser.parse_args()
    adata = load(arguments.data, arguments.cache)
    if arguments.features_only:
        return
    names = list(FEATURES)
    for name in names:
        bs.pp.spatial_context(adata, name, radius_um=CONTEXT_UM)
    small_patches(adata, arguments.data)
    every = rows(names)
    chosen = arguments.rows.split(";") if arguments.rows else list(every)
    methods = {name: partial(bleep, row=every[name]) for name in chosen}
    baselines = bs.bm.methods(["location", "knn", "ridge"], use_rep=names)
    table = bs.bm.cross_validate(
        adata,
        {**baselines, **methods},
        group_key=GROUPS[arguments.data],
        use_rep=[ONE_VIEW, STAINS, *names, *(f"{name}_context" for name in names)],
        n_top_genes=None if arguments.data == "mob" else 1000,
        n_seeds=arguments.seeds,
        path=arguments.runs,
    )
    summary = bs.bm.summarise(table)
    summary = summary[(summary["genes_from"] == "reference") | (summary["gene_set"] == "all")]
    columns = {}
    for gene_set in ("HEG", "HVG", "all"):
        part = summary[summary["gene_set"] == gene_set].drop_duplicates("method").set_index("method")
        columns[gene_set] = part["mean"].round(3).astype(str) + part.apply(
            lambda row: f" [{row['lower']:.3f}, {row['upper']:.3f}]", axis=1
        )
        if gene_set == "HVG":
            columns["HVG, gain over location copy"] = part["gain"].round(3)
            columns["HVG, r given location copy"] = part["partial"].round(3)
    print(pd.DataFrame(columns).loc[[*baselines, *chosen]].to_string())


if __name__ == "__main__":
    main()
