from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._output.messages import listed
from bleep_sc.datasets._fetch import VARIABLE
from bleep_sc.datasets._original_st import join_sections, library

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

ABOUT = {"technology": "Visium", "source": "GSE240429; Xie et al., NeurIPS 2023"}
IMAGES = {"1": "A1", "2": "B1", "3": "C1", "4": "D1"}
PITCH_UM, SPOT_DIAMETER_UM = 100.0, 55.0
POSITION_COLUMNS = ["barcode", keys.IN_TISSUE, keys.ARRAY_ROW, keys.ARRAY_COL, "pixel_y", "pixel_x"]


def liver(path: str | Path | None = None, slices: str | Sequence[str] = ("1", "2", "3", "4")) -> AnnData:
    """Load the slices of human liver that the paper was written on (Visium, GSE240429), from where you have put them.

    Four consecutive slices of one donor; the paper holds out slice 3. Nothing is downloaded: the images are 2.4 GB
    each. The folder must hold, at any depth, the images as GEO names them (``..C73_A1_Merged.tif`` to ``..C73_D1..``)
    and the matrices as they come with the original repository: ``filtered_expression_matrices/1/matrix.mtx``,
    ``features.tsv`` and ``barcodes.tsv``, and ``tissue_positions_list_1.csv`` (each of them may be gzipped).

    Parameters
    ----------
    path
        The folder; None is ``liver`` below ``BLEEP_SC_DATA``.
    slices
        One slice or several.

    Returns
    -------
    Raw counts of the spots under tissue: ``X`` is CSR float32, (n_spots, n_genes). ``obs``: ``library_id`` (the slice:
    ``"1"`` to ``"4"``), ``array_row``, ``array_col``, ``in_tissue`` and ``patient``. ``var["gene_ids"]``: Ensembl ids.
    ``obsm["spatial"]`` and ``uns["spatial"]`` are as in :func:`bleep_sc.datasets.her2st`.

    Raises
    ------
    ValueError
        When a slice is not known, or its files do not belong together.
    FileNotFoundError
        When a file is missing.

    Examples
    --------
    >>> import bleep_sc as bs
    >>> adata = bs.datasets.liver("GSE240429_data")  # doctest: +SKIP
    """
    names = [slices] if isinstance(slices, str) else [str(name) for name in slices]
    unknown = [name for name in names if name not in IMAGES]
    if unknown or not names or len(set(names)) < len(names):
        raise ValueError(f"slices={names} must name slices of '1', '2', '3', '4', and none twice.")
    if path is None:
        if VARIABLE not in os.environ:
            raise FileNotFoundError(
                "The liver is not downloaded. Put the files of GSE240429 into a folder, and pass it (path=), or set "
                f"{VARIABLE} to the folder above one named liver."
            )
        path = Path(os.environ[VARIABLE]) / "liver"
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"path={str(path)!r} is no folder. Put the files of GSE240429 into one, and pass it.")
    return join_sections([_read_slice(root, name) for name in names])


def _read_slice(root: Path, name: str) -> AnnData:
    matrix = _find(root, f"{name}/matrix.mtx*")
    barcodes = pd.read_csv(_find(matrix.parent, "barcodes.tsv*"), sep="\t", header=None)[0].astype(str)
    features = pd.read_csv(_find(matrix.parent, "features.tsv*"), sep="\t", header=None, dtype=str)
    counts = sparse.csr_matrix(ad.io.read_mtx(matrix).X.T)  # the file is genes × spots
    if counts.shape != (len(barcodes), len(features)):
        raise ValueError(
            f"{str(matrix)!r} holds {counts.shape[0]} spots and {counts.shape[1]} genes, but the files beside it name "
            f"{len(barcodes)} and {len(features)}: they do not belong together."
        )
    positions = pd.read_csv(_find(root, f"tissue_positions_list_{name}.csv*"), header=None, names=POSITION_COLUMNS)
    positions = positions.set_index("barcode").reindex(barcodes)
    if positions["pixel_x"].isna().any():
        absent = int(positions["pixel_x"].isna().sum())
        raise ValueError(f"Slice {name}: {absent} barcodes of the matrix have no position: the files do not match.")
    kept = ((positions[keys.IN_TISSUE] == 1).to_numpy()) & (np.asarray(counts.sum(axis=1)).ravel() > 0)
    positions = positions[kept]
    obs = positions[[keys.IN_TISSUE, keys.ARRAY_ROW, keys.ARRAY_COL]].astype(int)
    obs.insert(0, keys.LIBRARY, pd.Categorical([name] * len(obs)))
    obs["patient"] = "C73"
    obs.index = pd.Index([f"{name}_{barcode}" for barcode in positions.index])
    symbols = ad.utils.make_index_unique(pd.Index(features[1].astype(str)))
    adata = ad.AnnData(counts[kept], obs=obs, var=pd.DataFrame({"gene_ids": features[0].to_numpy()}, index=symbols))
    adata.obsm[keys.SPATIAL] = positions[["pixel_x", "pixel_y"]].to_numpy(dtype=np.float64)
    image = _find(root, f"*C73_{IMAGES[name]}_Merged.tif*")
    adata.uns[keys.SPATIAL] = {name: library(image, adata, PITCH_UM, SPOT_DIAMETER_UM, ABOUT)}
    return adata


def _find(root: Path, pattern: str) -> Path:
    """Return the one file below a folder that a pattern names."""
    found = sorted(path for path in root.rglob(pattern) if path.is_file())
    if len(found) != 1:
        raise FileNotFoundError(
            f"{len(found)} files below {str(root)!r} are called {pattern!r}; one is expected"
            + (f" (found: {listed(found, 3)})." if found else ". GEO has the images of GSE240429, and the original ")
            + ("" if found else "repository of the paper the matrices and positions.")
        )
    return found[0]
