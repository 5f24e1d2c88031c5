"""The output contract of predictions: a layer, the genes that it holds, and a record of what its numbers mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.all_or_nothing import all_or_nothing
from bleep_sc._adata.checks import require_layer
from bleep_sc._output.damage import from_json
from bleep_sc._output.disk import appears, is_there
from bleep_sc._output.locks import held
from bleep_sc._output.messages import listed
from bleep_sc._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

SPOTS, GENES = 4096, 512
"""Chunks of a stored layer."""
MADE_OF = ("blended_from", "restored_from", "conserved_from", "corrected_by")
"""Fields that name the predicted layer which another was made of, in the record of the latter."""
OF_THE_LAYER_ALONE = (keys.PREDICTABILITY_OF, keys.INTERVAL_OF, keys.CONFIDENCE_OF, "interval", "recall")
"""Fields of the record of a layer that say nothing of what is made of it."""


def require_prediction(adata: AnnData, layer: str) -> tuple[Any, NDArray[np.bool_], dict[str, Any]]:
    """Return a predicted layer, the genes that it holds and its record, or raise an error that says what there is."""
    values = require_layer(adata, layer, "Run bleep_sc.tl.impute(adata, ref=adata_ref) first.")
    record, flag = keys.imputed(layer), keys.predicted(layer)
    if record not in adata.uns or flag not in adata.var:
        ending = keys.imputed("")
        done = [str(key).removesuffix(ending) for key in adata.uns if str(key).endswith(ending)]
        raise KeyError(f"layers[{layer!r}] is no prediction of bleep_sc (predicted layers: {listed(done)}).")
    return values, adata.var[flag].to_numpy(dtype=bool), adata.uns[record]


def require_as_predicted(record: Mapping[str, Any], layer: str) -> None:
    """Refuse a layer that was made of another: what a reference held out was predicted, and nothing made of it."""
    made_of = next((record[field] for field in MADE_OF if field in record), None)
    if made_of is not None:
        raise ValueError(
            f"layers[{layer!r}] was made of layers[{made_of!r}], which is what ref= held out. Pass {made_of!r} instead."
        )


def params_of(record: dict[str, Any], layer: str) -> dict[str, Any]:
    """Return the arguments that made a predicted layer, from its record."""
    return from_json(record["params"], f"uns[{keys.imputed(layer)!r}]", "params")


def check_layer_is_free(adata: AnnData, name: str) -> None:
    """Refuse to write a prediction over a layer that is none."""
    if name in adata.layers and keys.imputed(name) not in adata.uns:
        raise ValueError(f"layers[{name!r}] exists and is no prediction; it would be lost. Pass another key_added=.")


def write_prediction(
    adata: AnnData, name: str, record: dict[str, Any], genes: NDArray[np.bool_], parts: dict[str, dict[str, Any]]
) -> None:
    """Write a prediction instead of an earlier one of this name, which may have had what this one has not.

    The record says what its numbers mean and where they are from; ``genes`` were predicted, (n_vars,). ``parts`` are by
    slot and key: ``layers``, (n_obs, n_vars) each, and what else there is of ``keys.PREDICTION``.
    """
    parts = {"layers": {}, "obs": {}, "obsm": {}, **parts}
    parts["var"] = {keys.predicted(name): genes, **parts.get("var", {})}
    parts["uns"] = {keys.imputed(name): {**record, "version": __version__}}
    earlier = keys.PREDICTION if keys.imputed(name) in adata.uns else {}
    with all_or_nothing(adata):
        for slot, of_name in earlier.items():
            for key in (each(name) for each in of_name):
                if key in getattr(adata, slot):
                    del getattr(adata, slot)[key]
        for slot, values in parts.items():
            for key, value in values.items():
                getattr(adata, slot)[key] = value


def among_all(values: NDArray[np.floating], genes: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return values of predicted genes, (n_predicted,) or (n_obs, n_predicted), among all genes; NaN elsewhere."""
    result = np.full((*values.shape[:-1], len(genes)), np.nan, dtype=np.float32)
    result[..., genes] = values
    return result


def check_store_is_free(path: str | Path | None) -> None:
    """Refuse to write a layer where something is."""
    if path is not None and is_there(Path(path)):
        raise FileExistsError(f"store={str(path)!r} exists already. Pass another path, or remove it.")


def store_layer(
    path: str | Path,
    shape: tuple[int, int],
    genes: NDArray[np.bool_],
    blocks: Callable[[Sequence[int]], Iterator[tuple[slice, slice, NDArray[np.float32]]]],
) -> Any:
    """Write predicted expression to a zarr array (n_obs, n_vars), NaN where a gene is not predicted; return it as dask.

    ``blocks`` is called with the edges of blocks of predicted genes, and gives rows, columns among these, and values.
    The folder appears when it is complete; a call that was killed leaves what the next one removes.
    """
    import dask.array as da
    import zarr

    path = Path(path)
    columns = np.flatnonzero(genes)
    edges = np.searchsorted(columns, np.arange(0, shape[1] + GENES, GENES))  # of the genes in every chunk
    with held(path):
        check_store_is_free(path)  # by now, since another process may have written it
        with appears(path, replace=False) as draft:
            chunks = (min(SPOTS, shape[0]), min(GENES, shape[1]))
            array = zarr.create_array(draft, shape=shape, chunks=chunks, dtype=np.float32, fill_value=np.nan)
            for rows, of_block, mean in blocks(edges.tolist()):
                first = columns[of_block.start] // GENES * GENES
                whole = np.full((len(mean), min(GENES, shape[1] - first)), np.nan, dtype=np.float32)
                whole[:, columns[of_block] - first] = mean
                array[rows, first : first + whole.shape[1]] = whole
    return da.from_zarr(path)
