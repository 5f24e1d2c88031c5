"""AnnData on disk, as other software leaves it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from bleep_sc._adata import keys
from bleep_sc._adata.checks import require_obsm
from bleep_sc._adata.expression import holds_counts
from bleep_sc._adata.h5ad import read_h5ad
from bleep_sc._adata.libraries import UNNAMED, libraries

if TYPE_CHECKING:
    from anndata import AnnData

COUNTS = "counts"


def recognises(folder: Path) -> bool:
    """Tell whether it is an h5ad file."""
    return folder.suffix == ".h5ad" and folder.is_file()


def read(folder: Path, *, name: str, image: Path | None = None) -> AnnData:
    """Read the slides of a file, from ``layers["counts"]`` or else X; one without a name is called ``name``."""
    adata = read_h5ad(folder)
    spatial = require_obsm(
        adata, keys.SPATIAL, "prepare needs (x, y) of every spot, in px of the full-resolution image."
    )
    slides = [name if each == UNNAMED else each for each in libraries(adata)]
    counts = counts_of(adata, str(folder))
    ids = adata.var[[column for column in keys.GENE_IDENTIFIERS if column in adata.var]]
    plain = type(adata)(counts, obs=adata.obs.copy(), var=ids.copy(), obsm={keys.SPATIAL: spatial})
    plain.obs[keys.LIBRARY] = pd.Categorical(slides)
    known: dict[str, Any] = adata.uns.get(keys.SPATIAL, {})
    plain.uns[keys.SPATIAL] = {slide: dict(known.get(slide, {})) for slide in dict.fromkeys(slides)}
    for slide, record in plain.uns[keys.SPATIAL].items():
        about = dict(record.get("metadata", {}))
        path = _moved(about.get("source_image_path"), folder) if image is None else image
        record["metadata"] = about | ({} if path is None else {"source_image_path": str(path.resolve())})
        record["metadata"].setdefault("technology", "h5ad")
        record.setdefault("scalefactors", {})
        record.setdefault("images", {})
        del slide
    return plain


def counts_of(adata: AnnData, where: str) -> Any:
    """Return raw counts, or say that there are none."""
    layer = adata.layers.get(COUNTS, adata.X)
    if layer is None or not holds_counts(layer):
        place = "layers['counts']" if COUNTS in adata.layers else "X"
        raise ValueError(
            f"{place} of {where!r} holds no counts, that is whole numbers from 0 on. Slides are normalised together, "
            "from raw counts: write them to layers['counts'], adata.layers['counts'] = ..., and call again."
        )
    return layer


def _moved(path: Any, file: Path) -> Path | None:
    """Return an image that is where it was, or that lies beside the file."""
    if not path:
        return None
    there = [each for each in (Path(path), file.parent / Path(path).name) if each.is_file()]
    return there[0] if there else Path(path)
