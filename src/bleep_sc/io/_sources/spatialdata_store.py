"""SpatialData stores, as spatialdata-io writes them of any instrument."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bleep_sc import slides
from bleep_sc._adata import keys
from bleep_sc._output.messages import listed
from bleep_sc.io._sources.h5ad import counts_of
from bleep_sc.io._sources.space_ranger import SUMMED, summed
from bleep_sc.pp._spatialdata import from_spatialdata

if TYPE_CHECKING:
    from anndata import AnnData
    from spatialdata import SpatialData

BINS = re.compile(r"square_0*(\d+)um$")
SCAN = "scan"
"""What the image is called that is in the store itself."""


def recognises(folder: Path) -> bool:
    """Tell whether a folder is a zarr store that SpatialData wrote."""
    return folder.suffix == ".zarr" and ((folder / "tables").is_dir() or (folder / "table").is_dir())


def read(folder: Path, *, name: str, image: Path | None = None, bin_um: float | str = "auto") -> AnnData:
    """Read the table of a store, with the centres of its shapes on the px of the scan.

    One region is called ``name``; several keep their names. A scan in the store is in ``uns`` as a slide that is open.
    Bins of HD are summed as those of Space Ranger's folders are.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # spatialdata's and zarr's, about themselves
        import spatialdata

        store = spatialdata.read_zarr(folder)
    table_key = _table(store, folder, bin_um)
    spots, images, region_key = from_spatialdata(store, None if image is None else str(image), table_key)
    table = store.tables[table_key]
    regions = spots.obs[region_key].astype(str).to_numpy()
    called = dict.fromkeys(images, name) if len(images) == 1 else {region: region for region in images}
    ids = table.var[[column for column in keys.GENE_IDENTIFIERS if column in table.var]]
    adata = type(table)(counts_of(table, str(folder)), obs=spots.obs.copy(), var=ids.copy(), obsm=dict(spots.obsm))
    adata.obs[keys.LIBRARY] = pd.Categorical([called[region] for region in regions])
    adata.uns[keys.SPATIAL] = {
        called[region]: _library(image_of, spots.uns.get(keys.SPATIAL, {}).get(region, {}))
        for region, image_of in images.items()
    }
    side = BINS.search(table_key) or BINS.search(next(iter(images)))
    if side is None or len(images) > 1 or float(side[1]) == bin_um:
        return adata
    adata.uns[keys.SPATIAL][name]["scalefactors"][keys.BIN_SIZE] = float(side[1])
    return summed(adata, name, bin_um)


def _table(store: SpatialData, folder: Path, bin_um: float | str) -> str:
    """Return the table of the spots, or of the bins of a side."""
    tables = [name for name, table in store.tables.items() if "spatialdata_attrs" in table.uns]
    if len(tables) == 1:
        return str(tables[0])
    binned = {int(found[1]): name for name in tables if (found := BINS.search(name))}
    sides = SUMMED if isinstance(bin_um, str) else (bin_um, *(side for side in SUMMED if bin_um % side == 0))
    chosen = next((binned[int(side)] for side in sides if side in binned), None)
    if chosen is None:
        raise ValueError(
            f"Which table of {str(folder)!r} holds the spots is not clear (tables: {listed(store.tables)}). Pass "
            "bin_um= (--bin) where they are bins of Visium HD; or write a store with the one, sdata.subset([...])."
        )
    return str(chosen)


def _library(image: Any, known: dict[str, Any]) -> dict[str, Any]:
    """Return what ``uns["spatial"]`` holds of a slide."""
    about = {"technology": "SpatialData"}
    factors = {**known.get("scalefactors", {})}
    if isinstance(image, str | Path):
        about["source_image_path"] = str(Path(image).resolve())
        return {"images": {}, "scalefactors": factors, "metadata": about}
    factors[f"tissue_{SCAN}_scalef"] = 1.0
    return {"images": {SCAN: slides.open_slide(image)}, "scalefactors": factors, "metadata": about}
