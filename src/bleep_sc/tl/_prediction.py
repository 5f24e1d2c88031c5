"""The output contract of predictions: a layer, the genes that it holds, and a record of what its numbers mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc import _keys
from bleep_sc._version import __version__

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def check_layer_is_free(adata: AnnData, name: str) -> None:
    """Refuse to write a prediction over a layer that is none."""
    if name in adata.layers and _keys.imputed(name) not in adata.uns:
        raise ValueError(f"layers[{name!r}] exists and is no prediction; it would be lost. Pass another key_added=.")


def write_prediction(
    adata: AnnData, name: str, predicted: NDArray[np.float32], genes: NDArray[np.bool_], record: dict[str, Any]
) -> None:
    """Write predicted expression (n_obs, n_predicted) and its record."""
    values = np.full(adata.shape, np.nan, dtype=np.float32)
    values[:, genes] = predicted
    adata.layers[name] = values
    adata.var[_keys.predicted(name)] = genes
    adata.uns[_keys.imputed(name)] = {**record, "version": __version__}
