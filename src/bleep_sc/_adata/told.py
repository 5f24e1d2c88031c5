"""What earlier calls on an AnnData were told of slides and places, as they noted it in `uns`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._output.damage import from_json

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
    """Return what was noted with patches, the usual first, and with features around spots."""
    entries = _entries(adata).values()
    of_patches = [note for entry in entries for note in of_patches_in(entry)]
    return [*of_patches, *(entry for entry in entries if "context_of" in entry)]


def of_patches_in(entry: Any, library_id: str | None = None) -> Notes:
    """Return the notes of all slides in an entry of ``uns``, or of one; none where it is no record of patches."""
    parts = entry.items() if isinstance(entry, Mapping) else ()
    return [own for name, own in parts if library_id in (None, name) and isinstance(own, Mapping) and "side_px" in own]


def of_models(adata: AnnData) -> Notes:
    """Return the arguments that models and predictions keep."""
    return _arguments(_entries(adata))


def _arguments(entries: Mapping[str, Mapping[str, Any]]) -> Notes:
    own = {key: entry for key, entry in entries.items() if {"params", "version", "method"} <= entry.keys()}
    return [from_json(entry["params"], f"uns[{key!r}]", "params") for key, entry in own.items()]


def vouches(adata: AnnData, column: str) -> bool:
    """Tell whether a user named this column of slides for this AnnData: to a call before, or to a model fitted on it.

    Where a model was not told, its fit looked at the slides.
    """
    fitted = {key: entry for key, entry in _entries(adata).items() if "model" in entry}
    given = [note for note in of_pictures(adata) if note.get("library_key_given")]
    return column in told([*given, *_arguments(fitted)], "library_key")


def told_mpp(adata: AnnData, library_id: str) -> float | None:
    """Return µm per px by which the patches of a slide were cut; None where none were, or they were not known."""
    notes = [note for entry in _entries(adata).values() for note in of_patches_in(entry, library_id)]
    return next((mpp for mpp in map(float, told(notes, "mpp")) if np.isfinite(mpp)), None)


def _entries(adata: AnnData) -> dict[str, Mapping[str, Any]]:
    """Return the dicts of ``uns``: that of the usual patches, and others by their key, since files keep no order."""
    names = sorted(adata.uns, key=lambda key: (key != keys.PATCHES, str(key)))
    return {name: adata.uns[name] for name in names if isinstance(adata.uns[name], Mapping)}
