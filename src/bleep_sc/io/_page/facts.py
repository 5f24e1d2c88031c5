"""What is known of a slide, its tiles, its prediction and its reference, as names and what they are."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bleep_sc._adata import keys
from bleep_sc._adata.cells import has_cells
from bleep_sc._adata.gene_ranks import rank_genes
from bleep_sc._adata.libraries import libraries
from bleep_sc._adata.promise import why_not_promised
from bleep_sc._adata.worth import in_short, known_scores
from bleep_sc._version import __version__
from bleep_sc.tl._models.in_uns import read_description
from bleep_sc.tl._predictions.record import params_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

PACKAGES = ("anndata", "scanpy", "squidpy", "spatialdata", "torch", "tifffile", "bokeh")
NO_TISSUE = 0.05
"""Share of tissue around a cell below which it lies on glass."""
UNSURE = 0.1
"""Below this confidence lies a tenth of what the reference held out."""


def of_slide(adata: AnnData, name: str, size: tuple[int, int] | None = None) -> dict[str, Any]:
    """Return which image the slide is, its size and its resolution, as far as these are known.

    ``size`` is width and height of the scan, px; where it is not given, they follow from the small image, roughly.
    """
    library = adata.uns.get(keys.SPATIAL, {}).get(name, {})
    tiles = adata.uns.get(keys.TILES, {}).get(name, {})
    known: dict[str, Any] = {}
    if source := str(library.get("metadata", {}).get("source_image_path", "")):
        known["file"] = Path(source).name
    factors = library.get("scalefactors", {})
    if size is not None:
        known["size"] = f"{size[0]:,} × {size[1]:,} px"
    elif "hires" in library.get("images", {}) and "tissue_hires_scalef" in factors:
        height, width = library["images"]["hires"].shape[:2]
        scale = factors["tissue_hires_scalef"]
        known["size"] = f"about {width / scale:,.0f} × {height / scale:,.0f} px"
    if mpp := tiles.get("mpp", factors.get("microns_per_pixel")):
        known["µm per px"] = f"{mpp:.4g} ({tiles.get('mpp_source', 'scale factors')})"
    return known


def of_tiles(adata: AnnData, name: str, patches_key: str) -> dict[str, Any]:
    """Return how the tiles were laid and which were left out; of spots how many there are."""
    if name not in adata.uns.get(keys.TILES, {}):
        return {"spots": f"{adata.n_obs:,}"}
    record = adata.uns[keys.TILES][name]
    known = _of_cells(adata, record) if has_cells(adata, name) else _of_grid(adata, record)
    if patch := adata.uns.get(patches_key, {}).get(name):
        known["patch"] = f"{patch['size_um']:.0f} µm, {patch['size']} px"
    return known


def _of_cells(adata: AnnData, record: Mapping[str, Any]) -> dict[str, Any]:
    file = record.get("cells_file", "")
    known = {"cells": f"{adata.n_obs:,}" + (f" of {record['n_grid']:,} in {file}" if file else "")}
    if keys.CELL_CLASS in adata.obs:
        counts = adata.obs[keys.CELL_CLASS].value_counts()
        known["classes"] = ", ".join(f"{each} {n:,}" for each, n in counts[counts > 0].items()) or "none"
    if n_outside := int(record["n_outside_region"]):
        known["left out: outside the regions"] = f"{n_outside:,}"
    blank = int((adata.obs[keys.TISSUE] < NO_TISSUE).sum()) if keys.TISSUE in adata.obs else 0
    known["on no tissue"] = f"{blank:,}" + (" (look at the file: is it of this slide?)" if blank else "")
    return known


def _of_grid(adata: AnnData, record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "grid": f"{record['layout']}, {record['spacing_um']:g} µm apart, {record['n_grid']:,} tiles",
        "kept": f"{adata.n_obs:,}",
        "left out: too little tissue": f"{record['n_blank']:,} (of pale tissue, too: --min-tissue, or min_tissue=, "
        "keeps more)",
        "left out: out of focus": f"{record['n_blurred']:,}"
        + ("" if adata.obs[keys.SHARPNESS].notna().any() else " (not measured at this resolution)"),
        "left out: outside the regions": f"{record['n_outside_region']:,}",
    }


def of_prediction(adata: AnnData, layer: str, ref: AnnData | None, model_key: str) -> dict[str, Any]:
    """Return what was predicted, in which units, by which model, and how far it is to be trusted."""
    record = adata.uns[keys.imputed(layer)]
    n_genes = len(rank_genes(adata, layer))
    units = f"{record['transform']}, of counts per {record['target_sum']:,.0f}"
    known: dict[str, Any] = {
        "genes": f"{n_genes:,} predicted" + ("" if ref is None else f", of {ref.n_vars:,} that the reference measured"),
        "units": units if record["target_sum"] else record["transform"],
        "model": f"{record['model_hash']}",
    }
    if ref is not None:
        recipe = read_description(ref.uns[model_key], model_key).recipe
        features = ", ".join(recipe.get("use_rep", [])) or recipe.get("encoder") or "a module"
        known["model"] += f", on {features}; {params_of(record, layer)['n_neighbors']} neighbours"
    return {
        **known,
        "predictability": predictability(adata, layer),
        "confidence": confidence(adata, layer),
        "tissue unlike the reference": foreign(adata, layer),
    }


def predictability(adata: AnnData, layer: str) -> str:
    """Say how well genes can be expected to be predicted here, or why that is not known."""
    from bleep_sc.models.basis import BASES

    if why := why_not_promised(adata, layer):
        return f"not promised: {why}"
    known = known_scores(adata, layer)
    if known is None:
        return "not known: the reference was fitted without holding anything out"
    said = adata.uns[keys.imputed(layer)].get(keys.PREDICTABILITY_OF, "slides")  # what 0.1.0 held out, unsaid
    return f"{in_short(known)}; best {known.idxmax()} ({known.max():.2f}); learnt on {BASES[said]}"


def confidence(adata: AnnData, layer: str) -> str:
    """Say how far to trust the tiles, among spots that the reference held out."""
    if keys.confidence(layer) not in adata.obs:
        return "not known: the reference was fitted without holding anything out"
    values = adata.obs[keys.confidence(layer)].to_numpy()
    half, low = np.median(values), (values < UNSURE).mean()
    said = "; a rank, and not an error that can be expected here" if why_not_promised(adata, layer) else ""
    return (
        f"median {half:.2f}: half of the tiles have a smaller expected error than {half:.0%} of the reference's "
        f"own held-out spots; {low:.0%} of the tiles are below {UNSURE}{said}"
    )


def foreign_share(adata: AnnData, layer: str) -> float | None:
    """Return the share of tiles whose tissue the reference does not know, where that can be known."""
    from bleep_sc.models.known_tissue import FOREIGN

    if keys.typicality(layer) not in adata.obs:
        return None
    return float((adata.obs[keys.typicality(layer)].to_numpy() < FOREIGN).mean())


def foreign(adata: AnnData, layer: str) -> str:
    """Say how much of the tissue the reference does not know."""
    from bleep_sc.models.known_tissue import FOREIGN

    share = foreign_share(adata, layer)
    if share is None:
        return "not known: the reference has one slide, no places in µm, or an encoder that was trained"
    return f"{share:.0%} of the tiles; of slides like the reference's own {FOREIGN:.0%}"


def of_reference(adata: AnnData, layer: str, ref: AnnData, model_key: str) -> dict[str, Any]:
    """Return the reference, its slides, and how well its own held-out slides were predicted."""
    model = read_description(ref.uns[model_key], model_key)
    slides = sorted(set(libraries(ref, None, model.params["library_key"]).tolist()))
    known: dict[str, Any] = {"reference": f"{ref.n_obs:,} spots of {len(slides)} slides ({', '.join(slides)})"}
    if donors := set((model.params.get("donors") or {}).values()):
        known["donors"] = f"{len(donors)}: {', '.join(sorted(map(str, donors)))}"
    scores = known_scores(ref, model_key)
    known["its own held-out slides"] = (
        "not known: nothing was held out when it was fitted" if scores is None else in_short(scores)
    )
    return known


def of_software() -> dict[str, str]:
    """Return the versions of what made the page."""
    packages = {each: version(each) for each in PACKAGES}
    return {"bleep_sc": __version__, **packages, "Python": platform.python_version()}
