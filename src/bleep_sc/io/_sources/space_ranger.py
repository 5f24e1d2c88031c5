"""Space Ranger's folders, versions 1 to 4: Visium, CytAssist and Visium HD.

squidpy's reader insists on both small images and reads no parquet, and spatialdata-io's of HD on files that are not
always kept; both read matrices as scanpy does, and so does this.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc import pp, slides
from bleep_sc._adata import keys
from bleep_sc._output.messages import listed, logger
from bleep_sc.io._scan import find_scan, full_size, require_fitting

if TYPE_CHECKING:
    from anndata import AnnData

BINNED, FACTORS = "binned_outputs", "spatial/scalefactors_json.json"
MATRICES = ("filtered_feature_bc_matrix", "raw_feature_bc_matrix")
POSITIONS = ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv")
LEAST_UM = 8
"""The least side of bins that is learnt on."""
COLUMNS = ["barcode", keys.IN_TISSUE, keys.ARRAY_ROW, keys.ARRAY_COL, "pxl_row_in_fullres", "pxl_col_in_fullres"]
"""Of positions; version 1 wrote them without their names."""
SUMMED = (8, 16, 2)
"""Sides of the bins of HD that larger ones are summed of, µm, the first first."""


def recognises(folder: Path) -> bool:
    """Tell whether a folder is what Space Ranger wrote, or holds it as ``outs``."""
    return _outs(folder) is not None


def read(
    folder: Path,
    *,
    name: str,
    image: Path | None = None,
    bin_um: float | str = "auto",
    needs_scan: bool = True,
) -> AnnData:
    """Read the slide of a folder, with its raw counts, and find its scan where ``image`` names none.

    ``bin_um`` is the side of the bins of HD: one that is there, or a multiple, to which they are summed by
    :func:`bleep_sc.pp.sum_bins`; ``"auto"`` leaves the side to its rule. Without ``needs_scan`` none is looked for.
    """
    outs = _outs(folder)
    if outs is None:
        raise FileNotFoundError(f"{str(folder)!r} holds neither {FACTORS} nor {BINNED}.")
    part = _binned(outs, bin_um)
    factors = json.loads((part / FACTORS).read_text(encoding="utf-8"))
    adata = _placed(_counts(part), _positions(part / "spatial"), part)
    adata.obs[keys.LIBRARY] = pd.Categorical([name] * adata.n_obs)
    expected, within = full_size(_small_images(part, factors))
    centers = adata.obsm[keys.SPATIAL]
    if not needs_scan:
        image = None
    elif image is None:
        on_array = centers[(adata.obs[keys.IN_TISSUE] == 1).to_numpy()]
        image = find_scan(folder, name, on_array if len(on_array) else centers, expected, within)
    else:
        require_fitting(image, name, centers, expected, within)
    about = {
        "technology": _technology(outs, factors),
        "source_image_path": "" if image is None else str(image.resolve()),
    }
    numbers = {key: value for key, value in factors.items() if isinstance(value, int | float)}
    adata.uns[keys.SPATIAL] = {name: {"images": {}, "scalefactors": numbers, "metadata": about}}
    return summed(adata, name, bin_um) if keys.BIN_SIZE in factors and factors[keys.BIN_SIZE] != bin_um else adata


def summed(adata: AnnData, name: str, bin_um: float | str) -> AnnData:
    """Return bins of a slide summed to a side, µm, or by the rule of :func:`bleep_sc.pp.sum_bins`."""
    squares = pp.sum_bins(adata, bin_um=None if isinstance(bin_um, str) else bin_um)
    library = squares.uns[keys.SPATIAL][name]
    side = library["scalefactors"][keys.BIN_SIZE]
    library["metadata"] = {**library["metadata"], "technology": f"Visium HD, {side:g} µm"}
    return squares


def _outs(folder: Path) -> Path | None:
    for each in (folder, folder / "outs"):
        if (each / BINNED).is_dir() or (each / FACTORS).is_file():
            return each
    return None


def _binned(outs: Path, bin_um: float | str) -> Path:
    """Return the folder of the bins of HD, or the folder itself where it is not binned."""
    if not (outs / BINNED).is_dir():
        return outs
    there = sorted(int(path.name[7:-2]) for path in (outs / BINNED).glob("square_*um") if path.name[7:-2].isdigit())
    if not isinstance(bin_um, str) and bin_um < LEAST_UM:
        raise ValueError(
            f"bin_um={bin_um:g}: squares of 2 µm hold hardly a transcript, and nothing is learnt of them. Pass 8 or "
            "more, or 'auto' (--bin)."
        )
    fitting = [side for side in SUMMED if side in there and (isinstance(bin_um, str) or bin_um % side == 0)]
    if not fitting:
        raise FileNotFoundError(
            f"{str(outs)!r} has bins of {listed(there)} µm, and none of which squares of {bin_um!s} µm are made. Pass "
            "a multiple of their side as bin_um= (--bin)."
        )
    own = int(bin_um) if not isinstance(bin_um, str) and bin_um in there else fitting[0]
    return outs / BINNED / f"square_{own:03d}um"


def _counts(part: Path) -> AnnData:
    """Return spots or bins by genes, of the filtered matrix where it is there."""
    import scanpy as sc

    for matrix in MATRICES:
        if (part / f"{matrix}.h5").is_file():
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Variable names are not unique")  # they are made so below
                adata = sc.read_10x_h5(part / f"{matrix}.h5")
        elif (part / matrix / "matrix.mtx.gz").is_file() or (part / matrix / "matrix.mtx").is_file():
            adata = sc.read_10x_mtx(part / matrix)
        else:
            continue
        adata.var_names_make_unique()
        return adata
    raise FileNotFoundError(
        f"{str(part)!r} has no counts: neither {' nor '.join(f'{each}(.h5)' for each in MATRICES)}."
    )


def _positions(spatial: Path) -> pd.DataFrame:
    """Return where spots are, by their barcodes."""
    there = [spatial / file for file in POSITIONS if (spatial / file).is_file()]
    if not there:
        raise FileNotFoundError(f"{str(spatial)!r} has no positions of the spots: none of {listed(POSITIONS)}.")
    if there[0].suffix == ".parquet":
        table = pd.read_parquet(there[0])
    else:
        with there[0].open(encoding="utf-8") as file:
            has_header = file.readline().startswith("barcode")
        table = pd.read_csv(there[0], header=0 if has_header else None, names=None if has_header else COLUMNS)
    if absent := [column for column in COLUMNS if column not in table]:
        raise ValueError(f"{str(there[0])!r} lacks the columns {listed(absent)} (it has: {listed(table.columns)}).")
    return table.set_index("barcode")


def _placed(adata: AnnData, positions: pd.DataFrame, part: Path) -> AnnData:
    """Return the spots that have a place, which is written to ``obs`` and ``obsm``."""
    found = adata.obs_names.isin(positions.index)
    if not found.any():
        raise ValueError(
            f"The barcodes of the counts in {str(part)!r} ({listed(adata.obs_names, 2)}) are not those of the "
            f"positions ({listed(positions.index, 2)}): they are of different slides."
        )
    if not found.all():
        logger.warning(
            "%s of %s barcodes have no position, and are left out.", f"{(~found).sum():,}", f"{len(found):,}"
        )
    adata = adata[found].copy()
    own = positions.loc[adata.obs_names]
    for column in COLUMNS[1:4]:
        adata.obs[column] = own[column].to_numpy()
    adata.obsm[keys.SPATIAL] = own[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(dtype=np.float64)
    return adata


def _small_images(part: Path, factors: dict[str, Any]) -> list[tuple[tuple[int, int], float]]:
    """Return width and height of the small images that are there, px, and their factors."""
    found = []
    for kind in ("hires", "lowres"):
        path = part / "spatial" / f"tissue_{kind}_image.png"
        if path.is_file() and f"tissue_{kind}_scalef" in factors:
            with slides.open_slide(path) as slide:
                found.append(((slide.width, slide.height), float(factors[f"tissue_{kind}_scalef"])))
    return found


def _technology(outs: Path, factors: dict[str, Any]) -> str:
    if keys.BIN_SIZE in factors:
        return f"Visium HD, {factors[keys.BIN_SIZE]:g} µm"
    taken = "regist_target_img_scalef" in factors or any((outs / "spatial").glob("cytassist_image*"))
    return "Visium, CytAssist" if taken else "Visium"
