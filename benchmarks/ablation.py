"""What each ingredient of the default preset is worth, on held-out sections and animals.

her2st C2 to C5, one section left out after another, and mob, one animal left out (the number that decides). Features
are those of EfficientNet-Lite0, averaged over the eight symmetries of a patch, at three fields of view. A row changes
one thing. The features are computed once and kept in a folder.

    python benchmarks/ablation.py her2st|mob [--cache FOLDER] [--seeds 1] [--rows a,b] [--features-only]
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import scanpy as sc
import torch
from anndata import AnnData, read_h5ad
from lite0 import load_lite0
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

import bleep_sc as bs

FIELDS_UM = {"her2st": (154.0, 308.0, 616.0), "mob": (280.32, 140.16, 560.64)}
"""The first is that of the published recipe (224 px of her2st, 64 px of mob's small images)."""
GROUPS = {"her2st": "library_id", "mob": "animal"}
CONTEXT_UM = 400.0
PAPER, DEFAULT = bs.tl.FitConfig.paper(), bs.tl.FitConfig(cross_fit=False)


@dataclass(frozen=True)
class Row:
    """A configuration, the features that it sees, and what is not in the package: other losses and keys."""

    config: bs.tl.FitConfig
    features: tuple[str, ...] = field(default=("X_0", "X_1", "X_2"))
    loss: Callable[[Tensor, Tensor, float], Tensor] = bs.models.bleep_loss
    image_keys: bool = False
    """Look for neighbours among the image embeddings of the reference."""


def hard(image: Tensor, expression: Tensor, temperature: float) -> Tensor:
    """Contrast pairs with everything else, as CLIP does."""
    logits = expression @ image.T / temperature  # (B, B)
    pairs = torch.arange(len(image), device=image.device)
    return (cross_entropy(logits, pairs) + cross_entropy(logits.T, pairs)) / 2


def soft(image: Tensor, expression: Tensor, temperature: float, *, detached: bool, normalised: bool) -> Tensor:
    """Return the loss with targets that pass no gradients on, or whose columns sum to one for the images, too."""
    logits = expression @ image.T / temperature  # (B, B)
    similarity = (expression @ expression.T + image @ image.T) / 2 / temperature
    similarity = similarity.detach() if detached else similarity
    targets = torch.softmax(similarity, dim=1)
    of_images = torch.softmax(similarity.T, dim=1) if normalised else targets.T
    return (cross_entropy(logits, targets) - (of_images * torch.log_softmax(logits.T, dim=1)).sum(dim=1).mean()) / 2


def cosine(image: Tensor, expression: Tensor, temperature: float) -> Tensor:
    """Return the loss of embeddings of norm one."""
    return bs.models.bleep_loss(normalize(image), normalize(expression), temperature)


def rows(names: list[str]) -> dict[str, Row]:
    """Return the rows: from the paper to the default step by step, and the default with one thing changed."""
    steps = replace(PAPER, batch_size=256, max_epochs=200)
    standardized = replace(steps, standardize=True)
    rotated = replace(standardized, n_components=256)
    ensemble = replace(rotated, n_models=3)
    wide = tuple(f"{name}_context" for name in names)
    return {
        "paper, one view": Row(PAPER, ("X_one",)),
        "+ symmetries": Row(PAPER, ("X_0",)),
        "+ three fields of view": Row(PAPER),
        "+ 200 epochs of batches of 256": Row(steps),
        "+ in units of the slide": Row(standardized),
        "+ 256 principal components": Row(rotated),
        "+ three pairs of heads": Row(ensemble),
        "+ temperature 4": Row(replace(ensemble, temperature=4.0)),
        "+ regression = default": Row(DEFAULT),
        "default, cross-fitted": Row(replace(DEFAULT, cross_fit=True)),
        "one field of view": Row(DEFAULT, ("X_0",)),
        "not in units of the slide": Row(replace(DEFAULT, standardize=False)),
        "one pair of heads": Row(replace(DEFAULT, n_models=1)),
        "heads of 128": Row(replace(DEFAULT, n_dims=128)),
        "temperature 1": Row(replace(DEFAULT, temperature=1.0)),
        "25 neighbours": Row(replace(DEFAULT, n_neighbors=25)),
        "100 neighbours": Row(replace(DEFAULT, n_neighbors=100)),
        "softmax of .05 over 200": Row(replace(DEFAULT, n_neighbors=200, weights="softmax", softmax_temperature=0.05)),
        "dropout .3, weight decay .1": Row(replace(DEFAULT, dropout=0.3, weight_decay=0.1)),
        f"with context of {CONTEXT_UM:.0f} µm": Row(DEFAULT, (*names, *wide)),
        "hard targets": Row(DEFAULT, loss=hard),
        "detached targets": Row(DEFAULT, loss=partial(soft, detached=True, normalised=False)),
        "targets normalised on both sides": Row(DEFAULT, loss=partial(soft, detached=False, normalised=True)),
        "embeddings of norm one, temperature .07": Row(replace(DEFAULT, temperature=0.07), loss=cosine),
        "image embeddings as keys": Row(DEFAULT, image_keys=True),
        "no regression": Row(replace(DEFAULT, regression=False)),
    }


def load(data: str, cache: Path) -> AnnData:
    """Load raw counts, features and patches of 112 px; compute them where they are not in the cache."""
    file = cache / f"{data}.h5ad"
    if file.exists():
        return read_h5ad(file)
    adata = bs.datasets.her2st() if data == "her2st" else bs.datasets.mob()
    sc.pp.filter_cells(adata, min_counts=100)
    encoder = load_lite0()
    for number, side in enumerate(FIELDS_UM[data]):
        bs.pp.extract_patches(adata, size=224, size_um=side)
        bs.pp.image_features(adata, encoder, symmetries=True, key_added=f"X_{number}")
        bs.pp.spatial_context(adata, f"X_{number}", radius_um=CONTEXT_UM)
        if number == 0:
            bs.pp.image_features(adata, encoder, key_added="X_one")
    bs.pp.extract_patches(adata, size=112, size_um=FIELDS_UM[data][0])
    cache.mkdir(parents=True, exist_ok=True)
    adata.write_h5ad(file)
    return adata


def bleep(train: AnnData, query: AnnData, *, random_state: int, row: Row) -> object:
    """Fit and impute."""
    genes = train.var_names[train.var["highly_variable"]].tolist()
    with patch("bleep_sc.training.fit.bleep_loss", row.loss):
        bs.tl.fit(
            train, use_rep=list(row.features), config=row.config, random_state=random_state, show_progress_bar=False
        )
    if row.image_keys:
        train.obsm["X_bleep_expression"] = train.obsm["X_bleep_image"]
    bs.tl.impute(query, ref=train, genes=genes)
    return query[:, genes].layers["bleep"]


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
    names = [f"X_{number}" for number in range(len(FIELDS_UM[arguments.data]))]
    every = rows(names)
    chosen = arguments.rows.split(";") if arguments.rows else list(every)
    methods = {name: partial(bleep, row=every[name]) for name in chosen}
    baselines = bs.bm.methods(["location", "knn", "ridge"], use_rep=names)
    table = bs.bm.cross_validate(
        adata,
        {**baselines, **methods},
        group_key=GROUPS[arguments.data],
        use_rep=["X_one", *names, *(f"{name}_context" for name in names)],
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
