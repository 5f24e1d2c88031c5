"""Slides of which some spots are in the query and some in a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._arrays.blocks import in_memory
from bleep_sc._output.messages import listed, warn
from bleep_sc.tl._models import inputs
from bleep_sc.tl._references.on_disk import stacked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from torch import nn

    from bleep_sc._adata.spots import Spots
    from bleep_sc.models.fitted import FittedModel


def same_spots(query: Spots, ref: Spots) -> NDArray[np.intp]:
    """Return which spot of the query every spot of a reference is, (n_reference,); -1 for none.

    On a slide of the same name it is the spot at the same place, or of the same name where there are no coordinates.
    A slide that was renamed is known by all spots of the same name being at the same place.
    """
    if ref.on_slides_of(query).any():
        placed = query.is_placed and ref.is_placed
        row_of = {spot: row for row, spot in enumerate(_identities(query, placed))}
        return np.array([row_of.get(spot, -1) for spot in _identities(ref, placed)], dtype=np.intp)
    if _is_renamed(query, ref):
        return query.adata.obs_names.get_indexer(ref.adata.obs_names)
    return np.full(ref.adata.n_obs, -1, dtype=np.intp)


def warn_of_shared_slides(query: Spots, refs: list[Spots], twins: list[NDArray[np.intp]]) -> None:
    """Warn where spots of the query, or others of their slide, are in a reference.

    ``twins`` are which spot of the query every spot of every reference is, as ``same_spots`` finds them.
    """
    in_refs = np.zeros(query.adata.n_obs, dtype=bool)
    for rows in twins:
        in_refs[rows[rows >= 0]] = True
    n_spots = int(in_refs.sum())
    is_shared = np.any([query.on_slides_of(each) for each in refs], axis=0)
    if not is_shared.any() and not n_spots:
        return
    what = f"{n_spots} spots of the query are in the reference, with the same names and coordinates"
    parts = []
    if is_shared.any():
        shared = listed(np.unique(query.slides[is_shared]))
        what = f"Slide {shared} is in the query and in the reference (obs[{query.library_key!r}])"
    if n_spots:
        who = "they" if not is_shared.any() else f"{n_spots} of its {int(is_shared.sum())} spots"
        parts.append(f"{who} find themselves, and scores of this prediction would be meaningless there")
    if n_spots < is_shared.sum():
        parts.append(
            f"{int(is_shared.sum()) - n_spots} are not in the reference, but neighbours on the same slide are, so that "
            "scores there do not compare with those of held-out slides"
        )
    warn(f"{what}: {'; '.join(parts)}.")


def warn_of_learnt_slides(query: Spots, slides: Mapping[str, int]) -> None:
    """Warn where the query is on slides whose tiles a model was fitted on, with the expression of each as a whole."""
    shared = [name for name in np.unique(query.named_slides).tolist() if name in slides]
    if shared:
        warn(
            f"Slide {listed(shared)} is in the query (obs[{query.library_key!r}]), and the model was fitted on it: "
            "scores there do not compare with those of held-out slides."
        )


def place_images(
    query: Spots,
    refs: list[Spots],
    twins: list[NDArray[np.intp]],
    model: FittedModel,
    images: Any,
    *,
    key: str,
    encoder: str | Sequence[str] | nn.Module | None,
    device: Any,
) -> tuple[NDArray[np.float32], Any]:
    """Return the image embeddings of the query, (n_obs, n_dims), and of the references, (n_reference, n_dims).

    ``images`` are those of the query, as the model takes them, and ``twins`` which spot of the query every spot of
    every reference is. Some views of features depend on all spots of a slide. Spots of a reference that are on a slide
    of the query were embedded without the query's; here both are seen on all of that slide. The first reference stays
    as it is.
    """
    from bleep_sc.models.embed import embed_images

    module = model.module.to(device)
    of_refs = [embedding_of(each.adata, keys.image_embedding(key)) for each in refs]
    if not model.module.depends_on_slide or len(refs) == 1:
        return embed_images(module, images, query.slides, device=device), _stacked(of_refs)
    rows, more_images, more_slides = [np.full(len(twins[0]), -1, dtype=np.intp)], [images], [query.slides]
    for each, twin, embedding in zip(refs[1:], twins[1:], of_refs[1:], strict=True):
        shared = each.on_slides_of(query)
        row = np.where(shared, twin, -1)
        if shared.any() and not in_memory(embedding):
            raise ValueError(
                f"A reference on disk has spots on {listed(np.unique(each.slides[shared]))}, a slide of the query. "
                "Load it: ref = ref.to_memory()."
            )
        alone = shared & (row < 0)
        if alone.any():
            row[alone] = sum(map(len, more_images)) + np.arange(alone.sum())
            more_images.append(inputs.images_for(each, model.description.recipe, encoder, device)[alone])
            more_slides.append(each.slides[alone])
        rows.append(row)
    together = embed_images(module, np.concatenate(more_images), np.concatenate(more_slides), device=device)
    for number, row in enumerate(rows):
        if (row >= 0).any():
            of_refs[number] = of_refs[number].copy()
            of_refs[number][row >= 0] = together[row[row >= 0]]
    return together[: query.adata.n_obs], _stacked(of_refs)


def embedding_of(ref: AnnData, name: str) -> Any:
    """Return a joint embedding of a reference, or what it held out, (n_obs, n_dims), in memory or where it is."""
    remedy = "Run bleep_sc.tl.fit(adata_ref) first, or bleep_sc.tl.embed(other, adata_ref, expression=True)."
    values = require_obsm(ref, name, remedy)
    return np.asarray(values, dtype=np.float32) if in_memory(values) else values


def embeddings_of(refs: list[AnnData], name: str) -> Any:
    """Return a joint embedding of all references, (n_reference, n_dims), in memory or not."""
    return _stacked([embedding_of(each, name) for each in refs])


def _stacked(parts: list[Any]) -> Any:
    return stacked(parts, [None] * len(parts), ["The joint embedding of a reference"] * len(parts))


def _identities(spots: Spots, placed: bool) -> list[tuple[Any, ...]]:
    """Return what tells spots apart on slides that are named: their slide, and their place or their name."""
    places = spots.centers.T.tolist() if placed else [spots.adata.obs_names]
    return list(zip(spots.slides.tolist(), *places, strict=True))


def _is_renamed(query: Spots, ref: Spots) -> bool:
    """Tell whether spots of the same name also stand at the same place; names alone may well repeat between slides."""
    ours, theirs = query.adata.obs_names, ref.adata.obs_names
    if not (query.is_placed and ref.is_placed and ours.is_unique and theirs.is_unique):
        return False
    common = ours.intersection(theirs)
    places = [each.centers[names.get_indexer(common)] for each, names in ((query, ours), (ref, theirs))]
    return bool(len(common)) and bool(np.array_equal(*places))
