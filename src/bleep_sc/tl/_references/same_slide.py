"""Slides of which some spots are in the query and some in a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.libraries import libraries
from bleep_sc._arrays.blocks import in_memory
from bleep_sc._output.messages import listed
from bleep_sc.tl._models import inputs
from bleep_sc.tl._references.on_disk import stacked

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc.models.fitted import FittedModel


def named_slides(adata: AnnData, library_key: str) -> NDArray[np.str_]:
    """Return the slide of every spot, (n_obs,), or nothing, (0,), where slides have no names."""
    if library_key not in adata.obs and len(adata.uns.get(keys.SPATIAL, {})) != 1:
        return np.empty(0, dtype=str)
    return libraries(adata, library_key if library_key in adata.obs else keys.LIBRARY)


def same_spots(adata: AnnData, ref: AnnData, library_key: str) -> NDArray[np.intp]:
    """Return which spot of the query every spot of a reference is, (n_reference,); -1 for none.

    On a slide of the same name it is the spot at the same place, or of the same name where there are no coordinates.
    A slide that was renamed is known by all spots of the same name being at the same place.
    """
    ours, theirs = named_slides(adata, library_key), named_slides(ref, library_key)
    if np.isin(theirs, ours).any():
        placed = keys.SPATIAL in adata.obsm and keys.SPATIAL in ref.obsm
        row_of = {spot: row for row, spot in enumerate(_spots(adata, ours, placed))}
        return np.array([row_of.get(spot, -1) for spot in _spots(ref, theirs, placed)], dtype=np.intp)
    if _is_renamed(adata, ref):
        return adata.obs_names.get_indexer(ref.obs_names)
    return np.full(ref.n_obs, -1, dtype=np.intp)


def place_images(
    adata: AnnData,
    refs: list[AnnData],
    model: FittedModel,
    images: Any,
    *,
    key: str,
    encoder: nn.Module | None,
    device: Any,
) -> tuple[NDArray[np.float32], Any]:
    """Return the image embeddings of the query, (n_obs, n_dims), and of the references, (n_reference, n_dims).

    ``images`` are those of the query, as the model takes them.
    Features are taken in units of their slide. Spots of a reference that stand on a slide of the query were embedded
    without the query's; here both are taken in units of all spots of that slide. The first reference stays as it is.
    """
    from bleep_sc.models.embed import embed_images

    recipe, library_key = model.description.recipe, model.description.params["library_key"]
    slides = inputs.slides_of(adata, library_key)
    if not model.module.standardize or len(refs) == 1:
        embedding = embed_images(model.module.to(device), images, slides, device=device)
        return embedding, embeddings_of(refs, keys.image_embedding(key))
    ours = named_slides(adata, library_key)
    slides = ours if len(ours) else slides
    rows, more_images, more_slides = [np.full(refs[0].n_obs, -1, dtype=np.intp)], [images], [slides]
    for each in refs[1:]:
        theirs = named_slides(each, library_key)
        shared = np.isin(theirs, ours) if len(theirs) else np.zeros(each.n_obs, dtype=bool)
        row = np.where(shared, same_spots(adata, each, library_key), -1)
        if shared.any() and not in_memory(embedding_of(each, keys.image_embedding(key))):
            raise ValueError(
                f"A reference on disk has spots on {listed(np.unique(theirs[shared]))}, a slide of the query. Load it: "
                "ref = ref.to_memory()."
            )
        alone = shared & (row < 0)
        if alone.any():
            row[alone] = sum(map(len, more_images)) + np.arange(alone.sum())
            more_images.append(inputs.images_for(each, recipe, encoder, device)[alone])
            more_slides.append(theirs[alone])
        rows.append(row)
    together = embed_images(
        model.module.to(device), np.concatenate(more_images), np.concatenate(more_slides), device=device
    )
    of_refs = [embedding_of(each, keys.image_embedding(key)) for each in refs]
    for number, row in enumerate(rows):
        if (row >= 0).any():
            of_refs[number] = of_refs[number].copy()
            of_refs[number][row >= 0] = together[row[row >= 0]]
    return together[: adata.n_obs], _stacked(of_refs)


def embedding_of(ref: AnnData, name: str) -> Any:
    """Return a joint embedding of a reference, (n_obs, n_dims), in memory or where it is."""
    remedy = "Run bleep_sc.tl.fit(adata_ref) first, or bleep_sc.tl.embed(other, adata_ref, expression=True)."
    values = require_obsm(ref, name, remedy)
    return np.asarray(values, dtype=np.float32) if in_memory(values) else values


def embeddings_of(refs: list[AnnData], name: str) -> Any:
    """Return a joint embedding of all references, (n_reference, n_dims), in memory or not."""
    return _stacked([embedding_of(each, name) for each in refs])


def _stacked(parts: list[Any]) -> Any:
    return stacked(parts, [None] * len(parts), ["The joint embedding of a reference"] * len(parts))


def _spots(adata: AnnData, slides: NDArray[np.str_], placed: bool) -> list[tuple[Any, ...]]:
    """Return what tells spots apart on slides that are named: their slide, and their place or their name."""
    if placed:
        places = np.asarray(adata.obsm[keys.SPATIAL], dtype=np.float64)
        return list(zip(slides.tolist(), places[:, 0].tolist(), places[:, 1].tolist(), strict=True))
    return list(zip(slides.tolist(), adata.obs_names, strict=True))


def _is_renamed(adata: AnnData, ref: AnnData) -> bool:
    """Tell whether spots of the same name also stand at the same place; names alone may well repeat between slides."""
    if keys.SPATIAL not in adata.obsm or keys.SPATIAL not in ref.obsm or not adata.obs_names.is_unique:
        return False
    common = adata.obs_names.intersection(ref.obs_names)
    if not len(common) or not ref.obs_names.is_unique:
        return False
    ours, theirs = (
        np.asarray(each.obsm[keys.SPATIAL], dtype=np.float64)[each.obs_names.get_indexer(common), :2]
        for each in (adata, ref)
    )
    return bool(np.array_equal(ours, theirs))
