from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from bleep_sc._adata import keys, logs
from bleep_sc._adata.checks import require_layer
from bleep_sc._adata.expression import units
from bleep_sc._adata.spots import Spots
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import listed, logger
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
    from numpy.typing import NDArray


def conserve(
    adata: AnnData,
    ref: AnnData,
    layer: str = "bleep",
    *,
    truth: str | None = None,
    interpolate: bool = True,
    key_added: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Let tiles of a measured slide add up to what its spots measured: a map finer than the spots.

    A slide whose spots were measured is tiled more finely than they stand (:func:`bleep_sc.pp.tile_slide` with a
    smaller ``spacing_um``), and predicted by a reference, which may be the slide itself. Here the tiles of every spot
    are scaled, gene by gene, until together they are what it measured (:func:`bleep_sc.models.conserve.conserve`): what
    is known comes from the spot, and only how it is shared out among its tiles from the image.

    A tile is part of the spot whose centre is nearest, if it is not further away than half of what spots are apart. A
    tile between spots takes the factor of the nearest one with tiles, and is part of no sum; further than one pitch
    from all of them it stays as predicted. Where nothing was predicted of a gene in a spot that has some, it is spread
    evenly; where none was measured, all tiles are zero.

    **Tiles are not measured by that.** On tissue whose spots were summed into larger ones the result was as near to the
    spots as interpolation without an image (see the page *Finer than spots*).

    Parameters
    ----------
    adata
        Tiles that :func:`bleep_sc.tl.impute` or :func:`bleep_sc.tl.predict` wrote to, in px of the measured slide,
        which is called as it is in ``ref`` (``library_id=`` of :func:`bleep_sc.pp.tile_slide`).
    ref
        The measured slide, or several.
    layer
        The predicted layer, logarithms.
    truth
        Layer of ``ref`` that was measured; None is ``X``. Of logarithms of rates, as the prediction holds them, the
        **mean of the rates** (of what the logarithm was taken of) over the tiles of a spot is the rate of the spot. Of
        counts their **sum** over the tiles is the count of the spot: every tile is taken to have the same share of its
        depth.
    interpolate
        Let what a spot adds to the prediction change gradually towards its neighbours (a Gaussian of half of what spots
        are apart) before the tiles of every spot are scaled; False is the same factor for all tiles of a spot.
    key_added
        Name of the result; None is ``"{layer}_conserved"``.
    copy
        Return a changed copy instead of changing ``adata``.

    Returns
    -------
    None, or the changed copy with ``copy=True``. Written are:

    ``layers[key_added]`` : float32, (n_obs, n_vars)
        Predictions that are conserved, in the units of ``truth``; NaN for genes that were not predicted.
    ``obs["{key_added}_spot"]`` : categorical
        The spot that every tile is part of, by its name; missing for none.
    ``var["{key_added}_predicted"]`` : bool
        Which genes were.
    ``uns["{key_added}_imputed"]`` : dict
        The record of ``layer``, with ``transform`` and ``target_sum`` of ``truth``, and ``conserved_from``, its name.

    Raises
    ------
    KeyError
        Without the layers, or when a slide of the tiles is not in ``ref``.
    ValueError
        When the prediction holds no logarithms, ``truth`` neither counts nor such logarithms, or no tile is part of a
        spot.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`, whose query was measured, read it four times as finely:

    >>> image = adata_query.uns["spatial"]["slice3"]["images"]["hires"]
    >>> mpp = adata_query.uns["patches"]["slice3"]["mpp"]
    >>> named = {"library_id": "slice3", "show_progress_bar": False}
    >>> tiles = bs.pp.tile_slide(image, ref=adata_ref, spacing_um=50, mpp=mpp, **named)
    >>> bs.tl.impute(tiles, ref=adata_ref)
    >>> bs.tl.conserve(tiles, adata_query)
    >>> tiles.layers["bleep_conserved"].shape == tiles.shape
    True
    """
    from bleep_sc.models.conserve import conserve as scaled

    values, genes, record = require_prediction(adata, layer)
    name = keys.conserved(layer) if key_added is None else key_added
    check_layer_is_free(adata, name)
    if not ref.obs_names.is_unique:
        raise ValueError("obs_names of ref are not unique, and would not name spots. Run ref.obs_names_make_unique().")
    base = _base(record, layer)
    measured_units = _units(ref, truth, record, layer)
    is_counts = measured_units["transform"] == "counts"
    params = params_of(record, layer)
    tiles, spots = Spots.of(adata, params), Spots.of(ref, params)
    inside, nearest = _places(tiles, spots)
    gene_key = None if record["gene_key"] == "var_names" else record["gene_key"]
    columns = match_genes(adata, ref, adata.var_names[genes].tolist(), gene_key)[genes]
    measured = dense(require_layer(ref, truth, "Pass truth=, the layer that was measured.")[:, columns])
    result = scaled(
        np.expm1(dense(values[:, np.flatnonzero(genes)]).astype(np.float64) * math.log(base)),
        inside,
        nearest,
        measured if is_counts else np.expm1(measured.astype(np.float64) * math.log(base)),
        summed=is_counts,
        around=_around(tiles, spots) if interpolate else None,
    )
    if not is_counts:
        result = (np.log1p(result) / math.log(base)).astype(np.float32)
    parts = {
        "layers": {name: among_all(result, genes)},
        "obs": {keys.spot(name): pd.Categorical.from_codes(inside, ref.obs_names)},
    }
    adata = adata.copy() if copy else adata
    write_prediction(adata, name, {**record, **measured_units, "conserved_from": layer}, genes, parts)
    return adata if copy else None


def _base(record: dict[str, Any], layer: str) -> float:
    base = logs.base_of(record["transform"])
    if base is None or record["corrected"]:
        raise ValueError(
            f"layers[{layer!r}] holds {logs.named(record)}, which have no sum. Impute from a layer of the reference "
            "that holds logarithms (target_rep=None)."
        )
    return base


def _units(ref: AnnData, truth: str | None, record: dict[str, Any], layer: str) -> dict[str, Any]:
    """Return the units of what was measured: counts, or the logarithms that the prediction holds."""
    measured = units(ref, truth, presumed=record["transform"])
    if measured["transform"] != "counts" and not logs.are_alike(measured, record):
        place = "ref.X" if truth is None else f"ref.layers[{truth!r}]"
        raise ValueError(
            f"{place} holds {logs.named(measured)}, but layers[{layer!r}] {logs.named(record)}. Pass truth=, a layer "
            "with counts, or with logarithms as the prediction has them."
        )
    return measured


def _places(tiles: Spots, spots: Spots) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return which spot every tile is part of, and which is nearest to it, slide by slide."""
    from bleep_sc.models.conserve import tiles_of_spots

    absent = sorted(set(tiles.slides.tolist()) - set(spots.slides.tolist()))
    if absent:
        raise KeyError(
            f"Slide {listed(absent)} of adata is not in ref (it has: {listed(np.unique(spots.slides))}). Tile it under "
            "its name there: bleep_sc.pp.tile_slide(..., library_id=)."
        )
    inside, nearest = (np.full(len(tiles.slides), -1, dtype=np.intp) for _ in range(2))
    for slide in np.unique(tiles.slides):
        rows, own = np.flatnonzero(tiles.slides == slide), np.flatnonzero(spots.slides == slide)
        if len(own) < 2:
            raise ValueError(f"Slide {str(slide)!r} has {len(own)} spot in ref: how far spots are apart is not known.")
        for result, found in zip(
            (inside, nearest), tiles_of_spots(tiles.centers[rows], spots.centers[own]), strict=True
        ):
            result[rows] = np.where(found >= 0, own[found], -1)
    n_spots, part = len(np.unique(inside[inside >= 0])), float((inside >= 0).mean())
    if not n_spots:
        raise ValueError(
            "No tile lies within a spot of ref: tiles and spots must be in px of one image. Tile the image that "
            "the spots were measured on."
        )
    logger.info(
        "%d of %d spots have tiles; %.0f %% of the tiles are part of one.", n_spots, len(spots.slides), 100 * part
    )
    return inside, nearest


def _around(tiles: Spots, spots: Spots) -> Any:
    """Return the weights of the spots around every tile on its slide, CSR (n_tiles, n_spots)."""
    from scipy import sparse

    from bleep_sc.models.conserve import weights_around

    parts = []
    for slide in np.unique(tiles.slides):
        rows, own = np.flatnonzero(tiles.slides == slide), np.flatnonzero(spots.slides == slide)
        near = weights_around(tiles.centers[rows], spots.centers[own]).tocoo()
        parts.append((near.data, rows[near.row], own[near.col]))
    weights, row, column = (np.concatenate(each) for each in zip(*parts, strict=True))
    return sparse.csr_matrix((weights, (row, column)), shape=(len(tiles.slides), len(spots.slides)))
