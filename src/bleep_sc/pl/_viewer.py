from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.cells import has_cells, median_diameter, polygons_of
from bleep_sc._adata.checks import require_layer
from bleep_sc._adata.expression import unit_label
from bleep_sc._adata.gene_ranks import WHY_NOT_KNOWN, rank_genes
from bleep_sc._adata.libraries import libraries, one_slide
from bleep_sc._adata.places import centers_px, microns_per_pixel, spot_diameter
from bleep_sc._adata.promise import LEAST, why_not_promised
from bleep_sc._arrays.blocks import dense
from bleep_sc._output.messages import did_you_mean, listed
from bleep_sc.pl import _viewer_controls as controls
from bleep_sc.pl._viewer_columns import N_BEHIND, behind, in_steps
from bleep_sc.pl._viewer_outlines import outlines
from bleep_sc.pl._viewer_picture import LEAST_BYTES, picture_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from anndata import AnnData
    from bokeh.models import LayoutDOM
    from numpy.typing import NDArray

N_GENES = 200
PAGE_BYTES, BESIDE_BYTES = 30_000_000, 8_000_000
"""Of a page with a view at most, and of it what is no map, no patch of the reference, and no picture of the slide."""


def viewer(
    adata: AnnData,
    layer: str = "bleep",
    *,
    genes: str | Sequence[str] | None = None,
    ref: AnnData | None = None,
    image: Any = None,
    model_key: str = "bleep",
    patches_key: str = keys.PATCHES,
    library_id: str | None = None,
    library_key: str | None = None,
    spatial_key: str | None = None,
) -> LayoutDOM:
    """Show a slide that pans and zooms, with a list of genes to search, to choose from and to lay over it.

    Genes are listed by how well they were predicted on held-out slides of the reference; those below r = .2, which are
    not to be read, are grey, and last. Where nothing is promised of the query, all are grey, and those that vary most
    are first. Confidence and likeness to the reference can be laid over the slide instead of a gene, red rims mark
    tissue that the reference does not know, and a place under the pointer says its value and shows the patches of the
    reference that it is read off from. Cells are drawn as their polygons, and as discs of their median size where they
    are so many that the page would be too large.

    Parameters
    ----------
    adata
        A query that :func:`bleep_sc.tl.impute` predicted.
    layer
        The predicted layer.
    genes
        Genes to list; None is the first 200.
    ref
        The reference that it was imputed from, with patches; None shows none.
    image
        Picture of the slide, whatever :func:`bleep_sc.slides.open_slide` takes; it is scaled down to 8000 px,
        or further, so that a page takes 30 MB at most. None is the small one in ``uns["spatial"]``.
    model_key
        Name of the model.
    patches_key
        Patches of the reference.
    library_id
        The slide; needed where there are several.
    library_key, spatial_key
        Column of ``obs`` that names the slide, and key of the coordinates in ``obsm``; None is what an earlier call was
        told, else ``library_id`` and ``spatial``.

    Returns
    -------
    A layout of Bokeh: ``bokeh.io.show`` shows it in a notebook, after ``bokeh.io.output_notebook()``, and
    :func:`bleep_sc.io.write_page` writes it into a page. Values are kept in 255 steps between the least and the largest
    of a gene.

    Raises
    ------
    KeyError
        When the layer, a gene or the slide is not there.
    ValueError
        When a gene was not predicted, there are several slides and none is named, or ``ref`` is not the reference that
        the layer was imputed from.

    Examples
    --------
    After the example of :func:`bleep_sc.tl.impute`:

    >>> view = bs.pl.viewer(adata_query, genes=["CYP3A4", "HAL"], ref=adata_ref)
    >>> type(view).__name__
    'Row'
    """
    from bokeh.layouts import column, row
    from bokeh.models import Paragraph

    predicted = require_layer(adata, layer, "Run bleep_sc.tl.impute(adata, ref=adata_ref) first.")
    ranked = _listed(adata, layer, genes)
    name, rows = one_slide(libraries(adata, library_key), library_id)
    centers = centers_px(adata, spatial_key)[rows]
    scale, _ = microns_per_pixel(adata, rows, centers, name)
    um = float(scale) if np.isfinite(scale) else 1.0
    values = dense(predicted[:, adata.var_names.get_indexer(ranked.index)])[rows]
    if unknown := ranked.index[~np.isfinite(values).all(axis=0)].tolist():
        raise ValueError(f"layers[{layer!r}] holds no prediction of {listed(unknown)}. Impute them, or leave them out.")
    places, overlays = _places(adata, layer, rows, centers * um)
    of_cells = has_cells(adata, name) and keys.CELL_ID in adata.obs
    side = median_diameter(adata, name, rows) if of_cells else spot_diameter(adata, name, centers)
    if of_cells:
        places |= outlines(polygons_of(adata, name, rows), um) or {}
    patches = None if ref is None else behind(adata[rows], ref, layer, model_key, patches_key)
    if patches is not None:
        places |= patches[0]
    why = why_not_promised(adata, layer) or WHY_NOT_KNOWN
    maps, table = _maps(values, ranked, unit_label(adata, layer), why)
    parts = controls.Parts(places, maps, table, overlays, patches[1] if patches else {})
    in_um, outline = bool(np.isfinite(scale)), (side * um, adata.uns.get(keys.TILES, {}).get(name, {}).get("layout"))
    picture = picture_of(adata, name, image, um, _room(values, parts))
    plot = controls.plot(parts, picture, outline, in_um=in_um, n_behind=N_BEHIND if patches else 0)
    below = [] if picture is None else [Paragraph(name="fineness", text=picture.says(in_um=in_um), disable_math=True)]
    shown = column(plot, *below, sizing_mode="stretch_width", styles={"flex": "2 1 340px", "min-width": "0"})
    return row(shown, controls.side(parts, plot), sizing_mode="stretch_width", styles={"flex-wrap": "wrap"})


def _listed(adata: AnnData, layer: str, genes: str | Sequence[str] | None) -> pd.DataFrame:
    """Return the genes to list, in their order, or refuse what was not predicted."""
    ranked = rank_genes(adata, layer)
    if genes is None:
        return ranked.iloc[:N_GENES]
    wanted = [genes] if isinstance(genes, str) else list(genes)
    if absent := [gene for gene in wanted if gene not in adata.var_names]:
        raise KeyError(
            f"genes={listed(absent)} are not in adata.var_names (it has: {listed(adata.var_names, 3)})."
            f"{did_you_mean(absent, adata.var_names)}"
        )
    if unknown := [gene for gene in wanted if gene not in ranked.index]:
        raise ValueError(f"layers[{layer!r}] holds no prediction of {listed(unknown)}. Impute them, or leave them out.")
    if not wanted:
        raise ValueError("genes=[] is empty. Pass names of genes, or leave it out for the first 200.")
    return ranked[ranked.index.isin(wanted)]


def _places(
    adata: AnnData, layer: str, rows: NDArray[np.intp], centers: NDArray[np.float64]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return columns of the places of a slide, and the maps that can be laid over it instead of a gene."""
    from bleep_sc.models.known_tissue import FOREIGN

    places: dict[str, Any] = {
        "place": adata.obs_names[rows].tolist(),
        **dict(zip("xy", centers.T.astype(np.float32), strict=True)),
    }
    overlays = []
    for key, label in ((keys.confidence(layer), controls.CONFIDENCE), (keys.typicality(layer), controls.ALIKE)):
        share = adata.obs[key].to_numpy(dtype=np.float32)[rows] if key in adata.obs else np.full(1, np.nan)
        if np.isfinite(share).all():
            places[label] = share
            overlays.append({"label": label, "values": share})
    if keys.typicality(layer) in adata.obs:
        places["foreign"] = adata.obs[keys.typicality(layer)].to_numpy()[rows] < FOREIGN
    if keys.REGION in adata.obs:
        places["region"] = adata.obs[keys.REGION].astype(object).fillna("").astype(str).to_numpy()[rows].tolist()
    return places, overlays


def _room(values: NDArray[np.floating], parts: controls.Parts) -> float:
    """Return how many bytes of a page are left for the picture of the slide, beside maps, outlines and patches."""
    outlines = 14 * sum(map(len, parts.columns.get("xs", [])))
    taken = BESIDE_BYTES + 4 / 3 * values.size + outlines + sum(map(len, parts.patch_columns.get("image", [])))
    return max(LEAST_BYTES, PAGE_BYTES - taken)


def _maps(
    values: NDArray[np.float32], ranked: pd.DataFrame, unit: str, why: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the maps of genes in steps, by ``gene0`` and so on, and the table that lists them."""
    steps, ends = zip(*map(in_steps, values.T), strict=True)
    maps = {f"gene{i}": each for i, each in enumerate(steps)}
    table: dict[str, Any] = {
        "gene": ranked.index.astype(str).tolist(),
        "map": list(maps),
        "r": ranked["r"].to_numpy(dtype=np.float64),
        "means": ranked["means"].tolist(),
        "says": [_says(str(gene), r, means, why) for gene, r, means in ranked[["r", "means"]].itertuples()],
        "title": [f"{gene}, {unit}" for gene in ranked.index],
        "ink": np.where(ranked["r"] >= LEAST, controls.TEXT, controls.GREY).tolist(),
    }
    table |= {end: np.array([each[end] for each in ends]) for end in ends[0]}
    return maps, table


def _says(gene: str, r: float, means: str, why: str) -> str:
    """Say what the map of a gene is worth; ``why`` it is not known."""
    return f"{gene}: {means} ({why if np.isnan(r) else f'r = {r:.2f} on held-out slides'})"
