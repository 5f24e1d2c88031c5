"""What earlier calls on an AnnData were told and found, as they noted it in `uns`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from anndata import AnnData


def recorded(adata: AnnData, field: str) -> list[str]:
    """Return what earlier calls on an AnnData were told of ``library_key`` or ``spatial_key``, without repetition."""
    return list(dict.fromkeys(str(notes[field]) for notes in _notes(adata) if isinstance(notes.get(field), str)))


def first_there(slot: Container[str], told: Iterable[str]) -> str | None:
    """Return the first of the names that were told which is there."""
    return next((name for name in told if name in slot), None)


def recorded_pitch(adata: AnnData) -> float | None:
    """Return the distance of neighbouring spots, µm, that an earlier call was told; None where none was."""
    return next((float(notes["pitch_um"]) for notes in _notes(adata) if notes.get("pitch_um") is not None), None)


def _notes(adata: AnnData) -> Iterator[Mapping[str, Any]]:
    """Give every record of ``uns``, the arguments that it keeps as JSON, and its parts that are records of a slide."""
    for entry in adata.uns.values():
        if not isinstance(entry, Mapping):
            continue
        yield entry
        if isinstance(params := entry.get("params"), str) and params.startswith("{"):
            yield json.loads(params)
        yield from (part for part in entry.values() if isinstance(part, Mapping))


def recorded_mpp(adata: AnnData, library_id: str) -> float | None:
    """Return µm per px by which the patches of a slide were cut; None where none were, or they were not known."""
    parts = [entry.get(library_id) for entry in adata.uns.values() if isinstance(entry, Mapping)]
    known = [float(part["mpp"]) for part in parts if isinstance(part, Mapping) and "side_px" in part]
    return next((mpp for mpp in known if np.isfinite(mpp)), None)
