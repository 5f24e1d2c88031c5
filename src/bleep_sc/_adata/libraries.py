"""The slide of every spot: one answer, whoever asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obs, require_spots
from bleep_sc._adata.one_slide import require_single, require_usable_names
from bleep_sc._adata.told import name_there, vouches
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

UNNAMED = "slide"
"""Of the only slide there is, where nothing says what it is called."""


def library_column(adata: AnnData, library_key: str | None = None, *of_model: str) -> str:
    """Return the column of ``obs`` that names the slides, if one does.

    It is ``library_key`` where that is given. Else it is the first that is there of: what a model was fitted with
    (``of_model``), what patches were cut by, ``library_id``, and what models and predictions in ``uns`` say.
    """
    if library_key is not None:
        return library_key
    return name_there(adata, adata.obs, "library_key", keys.LIBRARY, of_model)


def libraries(
    adata: AnnData, library_key: str | None = None, *of_model: str, required: bool = True
) -> NDArray[np.str_]:
    """Return the slide of every spot, (n_obs,): :func:`library_column`, else the one library of ``uns["spatial"]``.

    A column that was named must be there, and where ``uns`` knows several libraries so must one, unless it is not
    ``required``. Else, where nothing names slides, all spots are of one, ``UNNAMED``. Slides that are several are
    refused: what a model was fitted with finds a column, and does not vouch for the slides of another AnnData.
    """
    slides, column = (
        named(adata, library_key, *of_model, required=required),
        library_column(adata, library_key, *of_model),
    )
    is_named = library_key is not None or (column in adata.obs and vouches(adata, column))
    require_single(
        adata, slides, column, known=library_column(adata), is_named=is_named, rename=next(iter(of_model), None)
    )
    return slides


def written_libraries(adata: AnnData, library_key: str | None = None) -> NDArray[np.str_]:
    """Return what :func:`libraries` does, of names that files take as keys: for what is written slide by slide."""
    slides, column = libraries(adata, library_key), library_column(adata, library_key)
    where = f"obs[{column!r}]" if column in adata.obs else "uns['spatial']"
    require_usable_names(np.unique(slides).tolist(), where)
    return slides


def named(adata: AnnData, library_key: str | None = None, *of_model: str, required: bool = True) -> NDArray[np.str_]:
    """Return what :func:`libraries` does, or what else a column says of the spots: a donor may have several slides."""
    column = library_column(adata, library_key, *of_model)
    require_spots(adata)
    if column in adata.obs:
        slides = adata.obs[column]
        if slides.isna().any():
            raise ValueError(f"obs[{column!r}] is missing for {int(slides.isna().sum())} spots; name their slide.")
        return np.asarray(slides, dtype=object).astype(str)
    known = list(adata.uns.get(keys.SPATIAL, {}))
    if column != keys.LIBRARY or (len(known) > 1 and required):
        require_obs(adata, column, "Pass library_key=, the column that names the slide of every spot.")
    return np.full(adata.n_obs, known[0] if len(known) == 1 else UNNAMED)


def spots_of(slides: NDArray[np.str_], library_id: str | Sequence[str] | None = None) -> dict[str, NDArray[np.intp]]:
    """Return the spots of every slide in their order, or of those that ``library_id=`` names, by the slide."""
    shown = [library_id] if isinstance(library_id, str) else slides.tolist() if library_id is None else library_id
    spots = {str(name): np.flatnonzero(slides == name) for name in dict.fromkeys(shown)}
    if absent := [name for name, rows in spots.items() if not len(rows)]:
        raise KeyError(f"library_id={listed(absent)} is not in adata (it has: {listed(np.unique(slides))}).")
    return spots


def one_slide(slides: NDArray[np.str_], library_id: str | None) -> tuple[str, NDArray[np.intp]]:
    """Return the slide that ``library_id=`` names, or the only one, and its spots."""
    spots = spots_of(slides, library_id)
    if len(spots) > 1:
        raise ValueError(f"adata has several slides ({listed(spots)}). Pass library_id=, one of them.")
    return next(iter(spots.items()))


def slide_to_sum(adata: AnnData, library_key: str | None, library_id: str | None) -> tuple[str, NDArray[np.intp]]:
    """Return what :func:`one_slide` does; a slide that nothing names yet is called what ``library_id=`` says."""
    slides = libraries(adata, library_key)
    is_named = library_column(adata, library_key) in adata.obs or bool(adata.uns.get(keys.SPATIAL))
    return one_slide(slides if is_named or library_id is None else np.full(adata.n_obs, library_id), library_id)
