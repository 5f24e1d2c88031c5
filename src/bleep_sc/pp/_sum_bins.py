from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from bleep_sc._adata import keys
from bleep_sc._adata.checks import off_tissue, require_layer, require_obs
from bleep_sc._adata.expression import holds_counts
from bleep_sc._adata.libraries import slide_to_sum
from bleep_sc._adata.places import bin_side, centers_px, microns_per_pixel
from bleep_sc._output.messages import logger
from bleep_sc.pp._bin_sizes import LEAST_CEILING, blocks_of, sides_to_try, signal_of_sizes, smallest_with_signal
from bleep_sc.slides._lattice import fit_lattice

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


def sum_bins(
    adata: AnnData,
    *,
    bin_um: float | None = None,
    mpp: float | None = None,
    min_tissue: float = 0.5,
    library_id: str | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
    random_state: int = 0,
) -> AnnData:
    """Sum the bins of a slide to larger squares, whose counts carry signal: Visium HD as a reference.

    Bins of 2 to 8 µm hold a few counts each, and what is learnt from them is mostly noise. By default the smallest of
    8, 16, 24, 32, 48, 64 and 96 µm is taken in which the 50 most variable genes have a median noise ceiling
    (:func:`bleep_sc.metrics.noise_ceiling`) of .5: with less, models learnt less on real tissue
    (``benchmarks/depth.py``). The log prints the table of the sizes. Where none is enough, it is the largest
    of which a slide has 200 squares.

    Bins are added as a product of sparse matrices, over the indices of the array: 2 µm bins are not made dense at any
    time, as an image of every gene would be. One slide a call: concatenate the results.

    Parameters
    ----------
    adata
        Bins of one size, with raw counts in ``X``, ``obs["array_row"]`` and ``obs["array_col"]``, and centres in
        ``obsm[spatial_key]``, full-resolution px: as Squidpy and spatialdata_io read Space Ranger's ``square_002um``.
    bin_um
        Side of the squares, µm, a multiple of that of the bins; None chooses it.
    mpp
        µm per full-resolution px; None is what ``uns["spatial"]`` says, else what the side of the bins does.
    min_tissue
        Least share of its bins that a square must have, on tissue.
    library_id
        The slide, where there are several; or what it is to be called, where nothing names it.
    library_key, spatial_key
        As for :func:`bleep_sc.pp.extract_patches`.
    random_state
        Of the squares and splits by which sizes are judged.

    Returns
    -------
    An AnnData of the squares:

    ``X`` : CSR, (n_obs, n_genes)
        Summed raw counts.
    ``obs`` : DataFrame
        ``library_id``, ``in_tissue``, ``array_row`` and ``array_col`` of the squares, and ``n_bins`` in each.
    ``obsm["spatial"]`` : float64, (n_obs, 2)
        Centres of the squares, full-resolution px.
    ``uns["spatial"]`` : dict
        That of the bins, with ``bin_size_um``, ``microns_per_pixel`` and ``spot_diameter_fullres`` of the squares.
    ``uns["bins"]`` : DataFrame
        ``bin_um``, ``n_bins``, ``median_counts`` and ``noise_ceiling`` of every size that was looked at, and which was
        ``chosen``.

    Raises
    ------
    KeyError
        Without places on the array, or coordinates.
    ValueError
        When ``X`` holds no raw counts, the side of the bins is not known, or does not go into ``bin_um``.

    Examples
    --------
    Toy spots, gathered in squares of 110 µm that are taken for bins:

    >>> bins = bs.pp.gather_cells(bs.datasets.toy(n_slices=1), spot_um=110, mpp=1.0)
    >>> squares = bs.pp.sum_bins(bins, bin_um=220)
    >>> squares.uns["bins"]["bin_um"].tolist()
    [220.0]
    """
    from anndata import AnnData

    matrix = require_layer(adata, None, "Put the counts of the bins into adata.X.")
    if not holds_counts(matrix):
        raise ValueError("adata.X holds no raw counts, which are what is summed. Put them there, such as from a layer.")
    name, rows = slide_to_sum(adata, library_key, library_id)
    rows = rows[~off_tissue(adata)[rows]]
    row, column = (_numbers(adata, key, rows) for key in (keys.ARRAY_ROW, keys.ARRAY_COL))
    centers = centers_px(adata, spatial_key)[rows]
    lattice = fit_lattice(column, row, centers)
    known_um, scale = _sizes(adata, rows, centers, name, mpp, lattice.pitch_px)
    counts = sparse.csr_matrix(matrix)
    counts = counts if len(rows) == adata.n_obs else counts[rows]
    sides = sides_to_try(known_um) if bin_um is None else [_side(bin_um, known_um)]
    table = signal_of_sizes(counts, row, column, sides, known_um, min_tissue, random_state)
    chosen = smallest_with_signal(table)
    table["chosen"] = np.arange(len(table)) == chosen
    side = sides[chosen]
    _tell(name, table, known_um, is_given=bin_um is not None)
    blocks = blocks_of(row, column, side)
    kept = blocks.n_bins >= min_tissue * side**2
    if not kept.any():
        raise ValueError(f"No square of slide {name!r} has min_tissue={min_tissue} of its bins. Pass less.")
    # A square lies where its middle is, whichever of its bins are there.
    off = np.column_stack([column % side, row % side]) - (side - 1) / 2
    middles = centers - off @ np.stack([lattice.column, lattice.row])
    total = np.column_stack([np.bincount(blocks.of_bin, weights=axis, minlength=len(kept)) for axis in middles.T])
    obs = pd.DataFrame(
        {
            keys.LIBRARY: pd.Categorical([name] * int(kept.sum())),
            keys.IN_TISSUE: 1,
            keys.ARRAY_ROW: blocks.row[kept],
            keys.ARRAY_COL: blocks.column[kept],
            keys.N_BINS: blocks.n_bins[kept],
        },
        index=[f"{name}_{r}x{c}" for r, c in zip(blocks.row[kept], blocks.column[kept], strict=True)],
    )
    squares = AnnData(blocks.sum(counts)[kept], obs=obs, var=adata.var.copy())
    squares.obsm[keys.SPATIAL] = (total / blocks.n_bins[:, None])[kept]
    squares.uns[keys.SPATIAL] = {name: _library(adata, name, side * known_um, scale)}
    squares.uns[keys.BINS] = table
    return squares


def _numbers(adata: AnnData, key: str, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    column = require_obs(adata, key, "Bins are numbered along their array there, as Space Ranger writes them.")
    values = pd.to_numeric(column.astype(object), errors="coerce").to_numpy(dtype=np.float64)[rows]
    if not (np.isfinite(values) & (values >= 0) & (values == np.floor(values))).all():
        raise ValueError(f"obs[{key!r}] must number the bins along their array: whole numbers from 0, for all of them.")
    return values.astype(np.int64)


def _sizes(
    adata: AnnData, rows: NDArray[np.intp], centers: NDArray[np.float64], name: str, mpp: float | None, pitch_px: float
) -> tuple[float, float]:
    """Return the side of the bins, µm, and µm per px."""
    side = bin_side(adata, rows, name)
    scale, source = microns_per_pixel(adata, rows, centers, name, mpp=mpp)
    if np.isnan(side) and np.isfinite(scale):
        side = pitch_px * scale
        side = float(round(side)) if abs(side - round(side)) < 0.01 * side else side
    if np.isnan(side):
        raise ValueError(f"The side of the bins of slide {name!r} is not known ({source}). Pass mpp=.")
    return side, scale if np.isfinite(scale) else side / pitch_px


def _side(bin_um: float, known_um: float) -> int:
    """Return how many bins are in a side."""
    side = round(bin_um / known_um)
    if side < 1 or abs(side * known_um / bin_um - 1) > 1e-6:
        raise ValueError(
            f"bin_um={bin_um:g} must be a multiple of the side of the bins, {known_um:g} µm, such as "
            f"{max(1, side) * known_um:g}."
        )
    return side


def _tell(name: str, table: pd.DataFrame, known_um: float, *, is_given: bool) -> None:
    (chosen,) = table[table["chosen"]].itertuples()
    rule = "given" if is_given else f"the smallest with a noise ceiling of {LEAST_CEILING:g}"
    if not is_given and chosen.noise_ceiling < LEAST_CEILING:
        rule = f"the largest; none has a noise ceiling of {LEAST_CEILING:g}, and little can be learnt from this slide"
    logger.info(
        "%s: bins of %g µm are summed to %g µm (%s).\n%s",
        *(name, known_um, chosen.bin_um, rule, table.round(2).to_string(index=False)),
    )


def _library(adata: AnnData, name: str, side_um: float, scale: float) -> dict[str, Any]:
    known = adata.uns.get(keys.SPATIAL, {}).get(name, {})
    factors = {**known.get("scalefactors", {}), keys.BIN_SIZE: side_um, "microns_per_pixel": scale}
    return {**known, "scalefactors": {**factors, "spot_diameter_fullres": side_um / scale}}
