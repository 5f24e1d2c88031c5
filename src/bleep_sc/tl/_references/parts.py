"""Whether the parts of a reference belong together: its model, its expression and its joint embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys, logs
from bleep_sc._adata.expression import units
from bleep_sc._arrays.blocks import in_memory, row_blocks
from bleep_sc._output.messages import listed, logger
from bleep_sc.tl._models import inputs
from bleep_sc.tl._references.on_disk import has_layer, some_spots, take_rows
from bleep_sc.tl._references.same_slide import embedding_of

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

    from bleep_sc._adata.spots import Spots
    from bleep_sc.models.bleep import BLEEP
    from bleep_sc.models.fitted import Description

SPOTS, OF_SLIDE, OF_SLIDE_ON_DISK = 64, 16, 4
"""Spots that are embedded again, and how many of a slide at least."""
NEAR = 0.02
"""Embeddings of the same spot are nearer than this share of their length, also from another device."""
ALIKE, ALIKE_SPOTS = 0.5, 8
"""Least correlation of the image embeddings of a slide with what they are made of, of so many spots at least. It is
not one where a slide was cut since: features are in units of all of its spots that are there."""
TOGETHER = (
    "Restore the reference as it was written; or fit it again, bleep_sc.tl.fit(adata_ref). Slides that were fitted "
    "apart are no one reference, however they are concatenated: remove uns[{key!r}] of all but the first, and call "
    "bleep_sc.tl.embed(other, first, expression=True) for each."
)


def check_parts(ref: Spots, key: str, own: Description, model: BLEEP, called: str, *, is_averaged: bool) -> None:
    """Refuse a reference whose parts do not belong together.

    Some spots of every slide are embedded again by the model, and compared with the embeddings that are stored. ``own``
    is the description that the reference itself holds, and ``is_averaged`` whether what was embedded is also averaged.
    """
    adata, params = ref.adata, own.params
    layer = params.get("reference_layer", params["layer"])
    is_here = in_memory(embedding_of(adata, keys.expression_embedding(key)))
    rows = spread(ref.slides, OF_SLIDE if is_here else OF_SLIDE_ON_DISK)
    _check_values(adata, key, model, called)
    if is_averaged or params["target_rep"] is not None or _is_log(adata, rows, layer):
        _check_expression(ref, key, own, model, rows, layer, called)
    _check_images(ref, key, own, model, rows, called)


def _is_log(adata: AnnData, rows: NDArray[np.intp], layer: str | None) -> bool:
    """Tell whether there is what a model can have been fitted on; what is averaged may be another layer."""
    if not has_layer(adata, layer):
        return False
    return logs.base_of(units(some_spots(adata, rows, layer), layer)["transform"]) is not None


def spread(slides: NDArray[np.str_], least: int) -> NDArray[np.intp]:
    """Return spots that are spread over every slide, in their order."""
    names, slide = np.unique(slides, return_inverse=True)
    n = max(least, SPOTS // max(1, len(names)))
    spots = [np.flatnonzero(slide == number) for number in range(len(names))]
    return np.sort(np.concatenate([own[np.unique(np.linspace(0, len(own) - 1, n, dtype=int))] for own in spots]))


def _check_values(adata: AnnData, key: str, model: BLEEP, called: str) -> None:
    """Refuse embeddings of another width, or with values that the heads cannot give."""
    from bleep_sc.models.embed import largest_values

    sides = {keys.image_embedding(key): model.image_heads, keys.expression_embedding(key): model.expression_heads}
    for name, heads in sides.items():
        values, largest = adata.obsm.get(name), largest_values(heads)
        if values is None:
            continue
        if values.ndim != 2 or values.shape[1] != len(largest):
            raise ValueError(
                f"obsm[{name!r}] of {called} has shape {values.shape}, but uns[{key!r}] embeds in {len(largest)} "
                f"dimensions: they do not belong together. {TOGETHER.format(key=key)}"
            )
        most = 1.01 * largest + 1e-3
        if in_memory(values) and any((np.abs(block) > most).any() for _, block in row_blocks(values)):
            raise ValueError(
                f"obsm[{name!r}] of {called} holds values that uns[{key!r}] cannot give: it is damaged, or of another "
                f"model. {TOGETHER.format(key=key)}"
            )


def _check_expression(
    ref: Spots, key: str, own: Description, model: BLEEP, rows: NDArray[np.intp], layer: str | None, called: str
) -> None:
    from bleep_sc.models.embed import embed_expression

    adata, target_rep, genes = ref.adata, own.params["target_rep"], own.genes
    absent = [] if target_rep is not None else [gene for gene in genes if gene not in adata.var_names]
    if absent:
        if len(absent) == len(genes) or own.params.get("n_measured") == adata.n_vars:
            raise ValueError(
                f"{len(absent)} of the {len(genes)} genes of uns[{key!r}] are not in var_names of {called}, such as "
                f"{listed(absent, 3)}: genes were renamed after the fit. Restore var_names, or rename them and fit "
                "again; gene_key= compares other identifiers of query and reference."
            )
        logger.info("%d genes of the model are not in %s, whose expression is taken on trust.", len(absent), called)
        return
    values = inputs.panel_expression(some_spots(adata, rows, layer, target_rep), genes, layer, target_rep)
    again = embed_expression(model, values, device=next(model.parameters()).device)
    name = keys.expression_embedding(key)
    stored = take_rows(adata.obsm[name], rows)
    off = ~(np.linalg.norm(again - stored, axis=1) <= NEAR * np.linalg.norm(again, axis=1))
    if off.any():
        raise ValueError(
            f"obsm[{name!r}] of {called} is not what uns[{key!r}] makes of its expression, in {off.sum()} of "
            f"{len(rows)} spots (on {listed(np.unique(ref.slides[rows[off]]), 3)}): the model, the expression, its "
            f"order or the names of its genes are others than when it was written. {TOGETHER.format(key=key)}"
        )


def _check_images(ref: Spots, key: str, own: Description, model: BLEEP, rows: NDArray[np.intp], called: str) -> None:
    """Compare the image embeddings with the features, where these are at hand."""
    from bleep_sc.models.embed import embed_some

    adata, name, reps = ref.adata, keys.image_embedding(key), own.recipe.get("use_rep", [])
    parts = [adata.obsm.get(rep) for rep in reps]
    if not parts or name not in adata.obsm or not all(isinstance(part, np.ndarray) for part in parts):
        return
    features = np.concatenate(parts, axis=1).astype(np.float32)
    if features.shape[1] != model.n_features or not np.isfinite(features).all():
        return
    again, stored = embed_some(model, features, ref.slides, rows), take_rows(adata.obsm[name], rows)
    for slide in np.unique(ref.slides[rows]):
        here = ref.slides[rows] == slide
        one, other = (each[here] - each[here].mean(axis=0) for each in (again, stored))
        size = np.linalg.norm(one) * np.linalg.norm(other)
        if here.sum() >= ALIKE_SPOTS and size > 0 and (one * other).sum() < ALIKE * size:
            raise ValueError(
                f"obsm[{name!r}] of {called} is not what uns[{key!r}] makes of {listed(reps)} on slide {str(slide)!r} "
                f"(r = {(one * other).sum() / size:.2f}): the model, the features or their order are others than when "
                f"it was written. {TOGETHER.format(key=key)} Features that were made anew may be removed from obsm."
            )
