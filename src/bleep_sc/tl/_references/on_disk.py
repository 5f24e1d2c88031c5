"""References that stay on disk: what is small is read, expression and embeddings when they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_model, unread_layer
from bleep_sc._adata.libraries import library_column
from bleep_sc._arrays.blocks import dense, in_memory, require_whole, stored_values, together
from bleep_sc.tl._models.in_uns import read_description

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

LAYER = "Pass layer=, a layer of the reference."
N_SAMPLES, SAMPLE = 16, 64
"""Places of a reference from which so many spots each tell what its expression means."""


def opened(ref: AnnData, key: str) -> AnnData:
    """Return a reference with what a prediction needs of obs, var and uns in memory, and its arrays where they are.

    One that was read by ``anndata.experimental.read_lazy``, or opened with ``backed="r"``, has its arrays on disk; any
    other is returned itself.
    """
    from anndata import AnnData

    if isinstance(ref.obs, pd.DataFrame) and not ref.isbacked:
        return ref
    uns = {name: dict.fromkeys(part) if name == keys.SPATIAL else _read(part) for name, part in ref.uns.items()}
    held = SimpleNamespace(obs=ref.obs, uns=uns)
    of_model = [read_description(require_model(held, key), key).params["library_key"]] if key in uns else []
    columns = [library_column(held, None, *of_model), keys.checksum(key)]
    obs = ref.obs[[name for name in columns if name in ref.obs]]
    frames = {slot: _read(frame) for slot, frame in {"obs": obs, "var": ref.var}.items()}
    frames = {slot: frame.set_axis(frame.index.astype(str)) for slot, frame in frames.items()}
    arrays = {
        slot: {name: part for name, part in getattr(ref, slot).items() if name is not None and hasattr(part, "dtype")}
        for slot in ("obsm", "layers")
    }
    return AnnData(ref.X, uns=uns, **frames, **arrays)


def _read(part: Any) -> Any:
    """Return a part of ``uns``, ``obs`` or ``var`` in memory."""
    for read in ("compute", "to_memory"):  # of dask's arrays, and of anndata's frames
        if hasattr(part, read):
            return getattr(part, read)()
    return {name: _read(each) for name, each in part.items()} if isinstance(part, Mapping) else part


class Stored:
    """Rows of several arrays, one after another, that are read when they are asked for; (n, d).

    It is what :mod:`bleep_sc._arrays.blocks` reads. Some of the arrays may be in memory.
    """

    def __init__(
        self, arrays: Sequence[Any], columns: Sequence[NDArray[np.intp] | None], called: Sequence[str]
    ) -> None:
        for array, name in zip(arrays, called, strict=True):
            if getattr(getattr(array, "_meta", array), "format", "csr") != "csr" and not in_memory(array):
                raise ValueError(
                    f"{name} is stored by columns (CSC), so that spots cannot be read one after another. Store it by "
                    "rows (adata.X = adata.X.tocsr()), or load the reference: ref = ref.to_memory()."
                )
        self.arrays, self.called = arrays, called
        self.columns = [_but_for_all(each, array.shape[1]) for each, array in zip(columns, arrays, strict=True)]
        self.edges = np.cumsum([0, *(array.shape[0] for array in arrays)]).tolist()
        self.shape = (self.edges[-1], arrays[0].shape[1] if columns[0] is None else len(columns[0]))

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> Any:
        """Read rows, ``values[start:stop]``; or choose columns, ``values[:, columns]``, unread."""
        if isinstance(index, tuple):
            chosen = np.arange(self.shape[1])[index[1]]
            return Stored(self.arrays, [chosen if each is None else each[chosen] for each in self.columns], self.called)
        start, stop, _ = index.indices(len(self))
        parts = []
        for number, (first, end) in enumerate(pairwise(self.edges)):
            if max(start, first) < min(stop, end):
                rows = slice(max(start - first, 0), min(stop, end) - first)
                parts.append(self._checked(read_rows(self.arrays[number], rows, self.columns[number]), number))
        if all(map(sparse.issparse, parts)):
            return parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")
        return np.concatenate([dense(part) for part in parts])

    def _checked(self, part: Any, number: int) -> Any:
        if not np.isfinite(stored_values(part)).all():
            raise ValueError(f"{self.called[number]} holds NaN or infinite values, which would spread.")
        return part


def _but_for_all(columns: NDArray[np.intp] | None, n: int) -> NDArray[np.intp] | None:
    """Return the columns, or None where they are all there are in their order, and need not be chosen."""
    return None if columns is None or np.array_equal(columns, np.arange(n)) else columns


def read_rows(array: Any, rows: slice, columns: NDArray[np.intp] | None = None) -> Any:
    """Return some rows of an array as float32, (n, d), dense or CSR."""
    is_whole = in_memory(array) and rows == slice(0, array.shape[0])
    part = array if is_whole else _read(array[rows])
    require_whole(part, "What is on disk")
    part = sparse.csr_matrix(part) if sparse.issparse(part) else np.asarray(part)
    return (part if columns is None else part[:, columns]).astype(np.float32, copy=False)


def stacked(arrays: Sequence[Any], columns: Sequence[NDArray[np.intp] | None], called: Sequence[str]) -> Any:
    """Return columns of arrays, one after another, (n, d); all stay where they are if one of them is on disk."""
    values = Stored(arrays, columns, called)
    return values[0 : len(values)] if all(map(in_memory, arrays)) else values


def has_layer(ref: AnnData, layer: str | None) -> bool:
    """Tell whether there is such expression."""
    return ref.X is not None if layer is None else layer in ref.layers


def take_rows(array: Any, rows: NDArray[np.intp]) -> Any:
    """Return some rows of an array, in their order, as float32; (n, d), dense or CSR."""
    if in_memory(array):
        return read_rows(array[rows], slice(0, len(rows)))
    runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
    return together([read_rows(array, slice(int(run[0]), int(run[-1]) + 1)) for run in runs if len(run)])


def sampled(ref: AnnData, layer: str | None, target_rep: str | None = None) -> AnnData:
    """Return some spots of a reference with the expression that is to be averaged, in memory and evenly spread.

    A reference whose expression is in memory is returned itself.
    """
    values = ref.obsm.get(target_rep) if target_rep is not None else unread_layer(ref, layer, LAYER)
    if values is None or in_memory(values):
        return ref
    starts = np.unique(np.linspace(0, max(0, ref.n_obs - SAMPLE), N_SAMPLES, dtype=int))
    rows = np.unique((starts[:, None] + np.arange(min(SAMPLE, ref.n_obs))).ravel())
    return some_spots(ref, rows, layer, target_rep)


def some_spots(ref: AnnData, rows: NDArray[np.intp], layer: str | None, target_rep: str | None = None) -> AnnData:
    """Return these spots of a reference with the expression that is to be averaged, in memory."""
    from anndata import AnnData

    if target_rep is not None:
        return AnnData(obsm={target_rep: take_rows(ref.obsm[target_rep], rows)}, var=ref.var, uns=ref.uns)
    some = take_rows(unread_layer(ref, layer, LAYER), rows)
    named = {"X": some} if layer is None else {"layers": {layer: some}}
    return AnnData(**named, var=ref.var, uns=ref.uns)
