from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_layer, require_model
from bleep_sc._adata.libraries import libraries
from bleep_sc._arrays.blocks import dense, stored_values
from bleep_sc.tl._models.in_uns import read_description
from bleep_sc.tl._predictions.record import (
    among_all,
    check_layer_is_free,
    params_of,
    require_prediction,
    write_prediction,
)
from bleep_sc.tl._references.genes import match_genes

if TYPE_CHECKING:
    from anndata import AnnData

MAX_FACTOR = 5.0
"""What restores a gene that is predicted at r = 0.2, if its predictions vary as they should."""


def restore_variance(
    adata: AnnData, ref: AnnData, layer: str = "bleep", *, key_added: str | None = None, copy: bool = False
) -> AnnData | None:
    """Let predicted genes vary as much as measured ones do, for what looks at distributions.

    Means of neighbours vary less than measurements, so histograms, thresholds and dispersions of a prediction are not
    those of expression. Here the deviation of every gene from its mean over a slide is scaled until its variance there
    is that within the slides of the reference. Correlations within a slide stay as they were, but for values that
    fall below the lowest of the reference and are set to it.

    **It costs accuracy.** A prediction that correlates with the truth at r has the least squared error when its
    standard deviation is r times that of the truth, and not as large. Use the result where a distribution matters, and
    ``layers[layer]`` where values do; on her2st the error grew by a sixth. Nothing is added: what the image does not
    show is still not there, and what is there by mistake is larger.

    Parameters
    ----------
    adata
        A query that :func:`bleep_sc.tl.impute` or :func:`bleep_sc.tl.predict` wrote to.
    ref
        The reference that was fitted (the first of several), with expression in the layer that the prediction was made
        of.
    layer
        The predicted layer.
    key_added
        Name of the result; None is ``"{layer}_restored"``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``layers[key_added]`` : float32, (n_obs, n_vars)
        Predictions, each gene's deviations from its mean over a slide at most five times as large; a gene that does not
        vary stays as it is. NaN for genes that were not predicted.
    ``var["{key_added}_predicted"]`` : bool
        Which genes were.
    ``uns["{key_added}_imputed"]`` : dict
        The record of ``layer``, and ``restored_from``, its name.

    Raises
    ------
    KeyError
        Without the layer, or when the reference holds no model.
    ValueError
        When the layer was imputed from a representation, or ``key_added`` names a layer that is no prediction.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> bs.tl.restore_variance(adata_query, adata_ref)
    >>> float(adata_query.layers["bleep_restored"].var()) > float(adata_query.layers["bleep"].var())
    True
    """
    from bleep_sc.models import restored

    values, genes, record = require_prediction(adata, layer)
    name = keys.restored(layer) if key_added is None else key_added
    check_layer_is_free(adata, name)
    params = params_of(record, layer)
    if params.get("target_rep") is not None:
        raise ValueError(
            f"layers[{layer!r}] was imputed from obsm[{params['target_rep']!r}], whose variance is not that of "
            "measurements. Impute it from a layer of the reference (target_rep=None)."
        )
    of_model = read_description(require_model(ref, params["key"]), params["key"]).params
    averaged = params["layers"][0] if "layers" in params else of_model["layer"]
    measured = require_layer(ref, averaged, "Restore the layer that was averaged.")
    gene_key = None if record["gene_key"] == "var_names" else record["gene_key"]
    columns = match_genes(adata, ref, adata.var_names[genes].tolist(), gene_key)[genes]
    measured = measured[:, columns]
    result = restored.restore_variance(
        dense(values[:, np.flatnonzero(genes)]),
        libraries(adata, None, of_model["library_key"]),
        restored.variance_within(measured, libraries(ref, None, of_model["library_key"])),
        max_factor=MAX_FACTOR,
        lowest=float(min(0.0, stored_values(measured).min(initial=0.0))),
    )
    adata = adata.copy() if copy else adata
    layers = {name: among_all(result, genes)}
    write_prediction(adata, name, {**record, "restored_from": layer}, genes, {"layers": layers})
    return adata if copy else None
