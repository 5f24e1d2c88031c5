from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.cells import cell_ids
from bleep_sc._adata.libraries import libraries, one_slide
from bleep_sc._output.messages import listed
from bleep_sc.tl._to_anndata import to_anndata

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

ELEMENT = "element"
"""Column of the table that names what it annotates."""


def to_table(
    adata: AnnData,
    sdata: SpatialData,
    region: str,
    *,
    layer: str = "bleep",
    table_name: str | None = None,
    library_id: str | None = None,
    library_key: str | None = None,
) -> None:
    """Write predictions for cells into the SpatialData that the cells are of, as a table that annotates them.

    Parameters
    ----------
    adata
        Cells with a predicted layer: :func:`bleep_sc.pp.tile_slide` with ``cells=sdata.shapes[region]``, or labels.
    sdata
        The object; a table is added to it, in memory.
    region
        The shapes or labels that the cells were read from.
    layer
        The predicted layer; :func:`bleep_sc.tl.to_anndata` makes the table of it.
    table_name
        What the table is called; None is ``layer``.
    library_id
        The slide; needed where there are several.
    library_key
        Column of ``obs`` that names the slide; None is what an earlier call was told, else ``library_id``.

    Returns
    -------
    None. ``sdata.tables[table_name]`` annotates ``region`` by ``obs["cell_id"]``; an earlier prediction of that name is
    replaced.

    Raises
    ------
    KeyError
        When the element, the layer or the slide is not there, cells are not of the element, or spots are no cells.
    ValueError
        When a table of that name is there that is no prediction.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> sdata = bs.tl.to_spatialdata(adata_query)  # stands for one with segmented cells
    >>> image = adata_query.uns["spatial"]["slice3"]["images"]["hires"]
    >>> mpp = adata_query.uns["patches"]["slice3"]["mpp"]
    >>> named = {"library_id": "slice3", "show_progress_bar": False}
    >>> cells = bs.pp.tile_slide(image, ref=adata_ref, cells=sdata.shapes["slice3"], mpp=mpp, **named)
    >>> bs.tl.impute(cells, ref=adata_ref)
    >>> bs.tl.to_table(cells, sdata, "slice3")
    >>> sdata.tables["bleep"].n_obs == len(sdata.shapes["slice3"])
    True
    """
    from spatialdata import get_element_instances
    from spatialdata.models import TableModel

    name = layer if table_name is None else table_name
    elements = {**sdata.shapes, **sdata.labels}
    if region not in elements:
        raise KeyError(f"region={region!r} not found. Pass one of the shapes and labels: {listed(elements)}.")
    earlier = sdata.tables.get(name)
    if earlier is not None and not (keys.IMPUTED in earlier.var and earlier.var[keys.IMPUTED].all()):
        raise ValueError(f"tables[{name!r}] exists and is no prediction; it would be lost. Pass another table_name=.")
    _, rows = one_slide(libraries(adata, library_key), library_id)
    table = to_anndata(adata[rows], layer)
    ids = cell_ids(table, np.arange(table.n_obs))
    unknown = ~pd.Index(ids).isin(get_element_instances(elements[region]))
    if unknown.any():
        raise KeyError(
            f"region={region!r} lacks {int(unknown.sum())} of the {len(ids)} cells, such as {ids[unknown][0]!r}. Pass "
            "the shapes or labels that bleep_sc.pp.tile_slide(cells=...) was given."
        )
    table.obs[ELEMENT] = pd.Categorical([region] * table.n_obs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that anndata changes types
        sdata.tables[name] = TableModel.parse(
            table, region=region, region_key=ELEMENT, instance_key=keys.CELL_ID, overwrite_metadata=True
        )
