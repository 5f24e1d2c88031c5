"""Whether what is called one slide is one, and by a name that files take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.places import spatial_slot
from bleep_sc._output.messages import listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

NAMES_SLIDES = re.compile(
    r"(library|sample|slide|section|slice|batch|orig|dataset|capture_area|puck|specimen|replicate|patient|donor|animal)"
    r"([._ ]?(id|key|name|ident))?",
    re.IGNORECASE,
)
"""Columns of ``obs`` that readers and concatenations name slides by."""
SHARED = 0.02
"""Share of the spots of a slide that may stand where another one stands, as cells do whose places were rounded."""
INTERLEAVED = 0.2
"""Of two slides over each other, at least so many spots are nearest to one of the other; of two side by side, few."""
LOOKED_AT = 20_000
"""Spots, at most, whose neighbours are looked at."""
LEAST_SPOTS = 4
"""Of a slide on average, in a column that may name slides rather than spots."""


def require_usable_names(names: Iterable[str], where: str) -> None:
    """Refuse names of slides that h5ad or zarr cannot hold as keys, before hours of work go into what they name."""
    wrong = [name for name in names if name in ("", ".", "..") or re.search(r"[/\\\x00\ud800-\udfff]", name)]
    if wrong:
        shown = [name.encode("utf-8", "backslashreplace").decode() for name in wrong]
        raise ValueError(
            f"{where} has {listed(shown)}: slides are keys in uns, where h5ad and zarr take no '/' or '\\', no "
            "name that is empty or of dots alone, and no text that is not Unicode. Rename these slides, there and in "
            "uns['spatial'], such as by "
            "adata.obs['library_id'] = adata.obs['library_id'].astype(str).str.replace('/', '_')."
        )


def require_single(
    adata: AnnData, slides: NDArray[np.str_], column: str, *, known: str, is_named: bool, rename: str | None = None
) -> None:
    """Refuse slides that are several: two spots stand on one place, or another column names parts that lie over others.

    ``column`` is what names the slides. ``known`` is what names them where nobody says so: where slides were grouped
    on purpose, as by patient, it tells them apart. A second column counts where no column ``is_named`` by the user.
    ``rename`` is the column that is to name the slides where a call takes no ``library_key=``, as by that of a model.
    """
    twice = _twice(adata, slides)
    if crowded := [name for name in np.unique(slides) if twice[slides == name].mean() > SHARED]:
        telling = [name for name in adata.obs if name != column and _tells(adata, slides, adata.obs[name])]
        if known not in telling:
            raise ValueError(
                f"Slide {listed(crowded)} is several slides: {int(twice.sum())} spots stand where another one stands "
                f"(obs['array_row'] and obs['array_col']). {_remedy(telling, rename)}"
            )
    elif not is_named:
        for name in adata.obs:
            if name != column and (slide := _are_several(adata, slides, column, name)) is not None:
                n_parts = adata.obs.loc[slides == slide, name].nunique()
                by_name = column in adata.obs and rename is None
                one = f"pass library_key={column!r}" if by_name else f"rename obs[{str(name)!r}]"
                raise ValueError(
                    f"The spots of slide {slide!r} would be taken for one slide, but obs[{str(name)!r}] names "
                    f"{n_parts}, and nothing says that these lie side by side. If they are one slide, {one}. If not, "
                    f"{_remedy([name], rename)}"
                )


def _remedy(columns: list[Any], rename: str | None) -> str:
    if not columns:
        return (
            "Name the slide of every spot when they are put together: anndata.concat({'A1': first, 'B1': second}, "
            "label='library_id', index_unique='-', uns_merge='first'), with uns['spatial']['A1'] in the first and "
            "uns['spatial']['B1'] in the second, or images passed by these names."
        )
    column = str(columns[0])
    given = f"pass library_key={column!r}, or " if rename is None else ""
    return (
        f"obs[{column!r}] tells them apart: {given}name the slides by it, adata.obs[{rename or keys.LIBRARY!r}] = "
        f"adata.obs[{column!r}]; their images are then found by these names."
    )


def _twice(adata: AnnData, slides: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Return which spots share a place of the array with another one of their slide; copies of a spot are one."""
    if keys.ARRAY_ROW not in adata.obs or keys.ARRAY_COL not in adata.obs:
        return np.zeros(adata.n_obs, dtype=bool)
    places = {key: pd.factorize(adata.obs[key])[0] for key in (keys.ARRAY_COL, keys.ARRAY_ROW)}  # -1: missing
    frame = pd.DataFrame(places).assign(slide=pd.factorize(slides)[0])
    repeated = frame.duplicated(keep=False) & (frame >= 0).all(axis=1)
    slot = spatial_slot(adata)
    if repeated.any() and slot in adata.obsm:
        x, y = np.asarray(adata.obsm[slot])[:, :2].T
        is_first = ~frame.assign(name=adata.obs_names.to_numpy(), x=x, y=y).duplicated()
        repeated &= is_first & frame[is_first].duplicated(keep=False).reindex(frame.index, fill_value=False)
    return repeated.to_numpy()


def _tells(adata: AnnData, slides: NDArray[np.str_], column: Any) -> bool:
    """Tell whether every place of the array has one spot, where a column names the slides too."""
    named = pd.factorize(column)[0]
    if not 1 < named.max() + 1 <= adata.n_obs / LEAST_SPOTS:
        return False
    return bool(_twice(adata, np.char.add(np.char.add(slides, "\n"), named.astype(str))).mean() <= SHARED)


def _are_several(adata: AnnData, slides: NDArray[np.str_], column: str, name: Any) -> str | None:
    """Return the first slide that what is called as columns of slides are splits into parts over each other.

    Without coordinates it is the first that is split, where nothing else names the slides. A slide whose spots all have
    a place of their own on the array is one, since of two some would share theirs.
    """
    from scipy.spatial import cKDTree

    if not NAMES_SLIDES.fullmatch(str(name)):
        return None
    parts, slot = pd.factorize(adata.obs[name])[0], spatial_slot(adata)
    if not 1 < parts.max() + 1 <= adata.n_obs / LEAST_SPOTS:
        return None
    doubtful = [slide for slide in np.unique(slides) if not _has_places(adata, slides == slide)]
    if slot not in adata.obsm:
        return str(doubtful[0]) if doubtful and column not in adata.obs else None
    places = np.asarray(adata.obsm[slot], dtype=np.float64)[:, :2]
    for slide in doubtful:
        rows = np.flatnonzero((slides == slide) & np.isfinite(places).all(axis=1))
        if len(np.unique(parts[rows])) < 2:
            continue
        some = rows[:: max(1, len(rows) // LOOKED_AT)]
        near = rows[cKDTree(places[rows]).query(places[some], k=2)[1]]
        nearest = np.where(near[:, 0] == some, near[:, 1], near[:, 0])
        if np.mean(parts[nearest] != parts[some]) > INTERLEAVED:
            return str(slide)
    return None


def _has_places(adata: AnnData, spots: NDArray[np.bool_]) -> bool:
    """Tell whether all of some spots have a place on the array."""
    names = [keys.ARRAY_ROW, keys.ARRAY_COL]
    return set(names) <= set(adata.obs) and not adata.obs.loc[spots, names].isna().any(axis=None)
