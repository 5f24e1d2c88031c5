"""What earlier calls on an AnnData were told of slides and places, as they noted it in `uns`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from anndata import AnnData

    Notes = list[Mapping[str, Any]]


def name_there(adata: AnnData, slot: Container[str], field: str, usual: str, of_model: Iterable[str]) -> str:
    """Return the first name that is in a slot, or the usual one.

    Asked are, in this order: a model, patches, the usual name, and last models and predictions in ``uns``.
    """
    names = (*of_model, *told(of_pictures(adata), field), usual, *told(of_models(adata), field))
    return next((name for name in names if name in slot), usual)


def told(notes: Notes, field: str) -> list[Any]:
    """Return what notes say of a field."""
    return [each[field] for each in notes if each.get(field) is not None]


def of_pictures(adata: AnnData) -> Notes:
    """Return what was noted with patches and with features around spots; the usual patches first, others by their key.

    The order is that of the keys, since files keep no other.
    """
    entries = [adata.uns[key] for key in sorted(adata.uns, key=lambda key: (key != keys.PATCHES, str(key)))]
    of_patches = [note for entry in entries for note in of_patches_in(entry)]
    return [*of_patches, *(entry for entry in entries if isinstance(entry, Mapping) and "context_of" in entry)]


def of_patches_in(entry: Any) -> Notes:
    """Return the notes of all slides in an entry of ``uns``; none where it is no record of patches."""
    parts = entry.values() if isinstance(entry, Mapping) else ()
    return [part for part in parts if isinstance(part, Mapping) and "side_px" in part]


def of_models(adata: AnnData) -> Notes:
    """Return the arguments that models and predictions keep."""
    entries = [adata.uns[key] for key in sorted(adata.uns, key=str)]
    own = [each for each in entries if isinstance(each, Mapping) and {"params", "version", "method"} <= each.keys()]
    return [json.loads(each["params"]) for each in own]


def told_mpp(adata: AnnData, library_id: str) -> float | None:
    """Return µm per px by which the patches of a slide were cut; None where none were, or they were not known."""
    usual, *others = (adata.uns.get(key) for key in (keys.PATCHES, *sorted(map(str, adata.uns))))
    slides = [entry.get(library_id) for entry in (usual, *others) if isinstance(entry, Mapping)]
    known = [float(slide["mpp"]) for slide in slides if isinstance(slide, Mapping) and "side_px" in slide]
    return next((mpp for mpp in known if np.isfinite(mpp)), None)
