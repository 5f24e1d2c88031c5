"""How often tissue unlike the reference is recognised, spot by spot, and tissue like it taken for foreign.

her2st C2 to C5, one section left out after another, is the tissue that is like the reference (false alarms), and the
sections are shown otherwise: other stains, half and a quarter of the magnification, blur, the glass beside the tissue,
a compartment (a cluster of the measured expression) that was taken out of the reference, and the mouse olfactory bulb.
Features of EfficientNet-Lite0 at one field of view, averaged over the eight symmetries; they are kept in a folder.

    python benchmarks/foreign.py [--cache FOLDER] [--features-only]
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import scanpy as sc
from anndata import AnnData, concat, read_h5ad
from fields_of_view import FIELDS_UM, load
from lite0 import load_lite0
from scipy import ndimage
from sklearn.cluster import KMeans
from stain_jitter import restain

import bleep_sc as bs
from bleep_sc._arrays.around import average_around
from bleep_sc.models.known_tissue import FOREIGN, RADIUS_UM
from bleep_sc.pp._tile_slide import THUMBNAIL
from bleep_sc.pp._tissue import tissue_mask
from bleep_sc.slides._grid import covered
from bleep_sc.training.held_out_tissue import learn_typicality

SECTIONS = ("C3", "C4")
"""Sections that are shown otherwise."""
STAINS = {"H × .75, E × 1.3": (0.75, 1.3), "H × 1.3, E × .75": (1.3, 0.75), "H × .5, E × 1.5": (0.5, 1.5)}
BLURS_UM = (2.0, 4.0)
PX, MPP = 224, 200 / 291
"""Side of a patch, and µm per px of her2st: spots are 200 µm and 291 px apart."""
N_COMPARTMENTS, LEAST_SPOTS = 5, 6
REP = "X_0"


def shown_otherwise(section: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the patches (n, 224, 224, 3) of a section in every other way, and where they are, px."""
    adata = bs.datasets.her2st(section)
    sc.pp.filter_cells(adata, min_counts=100)
    side = FIELDS_UM["her2st"][0]
    bs.pp.extract_patches(adata, size=PX, size_um=side)
    patches, places = adata.obsm["patches"], adata.obsm["spatial"]
    ways = {name: (restain(patches, *amounts), places) for name, amounts in STAINS.items()}
    for blur in BLURS_UM:
        sigma = blur * PX / side
        blurred = ndimage.gaussian_filter(patches, (0, sigma, sigma, 0), truncate=3)
        ways[f"blur of {blur:g} µm"] = blurred, places
    ways["glass"] = glass(adata, section, side)
    return ways


def glass(adata: AnnData, section: str, side_um: float, n: int = 150) -> tuple[np.ndarray, np.ndarray]:
    """Return patches beside the tissue, and where they are, px."""
    library = adata.uns["spatial"][section]
    rng = np.random.default_rng(0)
    with bs.slides.open_slide(library["metadata"]["source_image_path"]) as slide:
        side = round(side_um / library["scalefactors"]["microns_per_pixel"])
        thumbnail = slide.thumbnail(THUMBNAIL)
        shrink = thumbnail.shape[1] / slide.width
        places = rng.uniform((side, side), (slide.width - side, slide.height - side), (20 * n, 2))
        share = covered(tissue_mask(thumbnail), places * shrink, side * shrink)
        places = places[share == 0][:n]
        return bs.slides.cut_patches(slide, places, side=side, size=PX), places


def load_otherwise(cache: Path) -> AnnData:
    """Load the features of everything that is shown otherwise; compute them where they are not in the cache."""
    file = cache / "foreign.h5ad"
    if file.exists():
        return read_h5ad(file)
    encoder, parts = load_lite0(), []
    for section in SECTIONS:
        for way, (patches, places) in shown_otherwise(section).items():
            names = [f"{section}, {way}, {i}" for i in range(len(patches))]
            part = AnnData(obs=pd.DataFrame({"section": section, "way": way}, index=names))
            part.obsm["patches"] = patches
            bs.pp.image_features(part, encoder, symmetries=True, key_added=REP)
            parts.append(AnnData(obs=part.obs, obsm={REP: part.obsm[REP], "spatial": places}))
    adata = concat(parts)
    adata.write_h5ad(file)
    return adata


def flagged(ref: AnnData, others: dict[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Return the share of spots that are foreign to a reference, of features (n, d) at places (n, 2), µm."""
    slides = ref.obs["library_id"].astype(str).to_numpy()
    places = ref.obsm["spatial"] * MPP

    def around_reference(values: np.ndarray) -> np.ndarray:
        result = np.empty_like(values)
        for name in np.unique(slides):
            rows = slides == name
            result[rows] = average_around(values[rows], places[rows], RADIUS_UM)
        return result

    known = learn_typicality(ref.obsm[REP], slides, around_reference)
    shares = {}
    for way, (features, places_um) in others.items():
        around = partial(average_around, centers=places_um, radius=RADIUS_UM)
        shares[way] = float((known.share_beyond(features, around) < FOREIGN).mean())
    return shares


def compartments(adata: AnnData) -> np.ndarray:
    """Return the cluster of every spot, of the measured expression."""
    log = adata.copy()
    sc.pp.normalize_total(log, target_sum=1e4)
    sc.pp.log1p(log)
    sc.pp.highly_variable_genes(log, n_top_genes=1000, batch_key="library_id")
    sc.pp.pca(log, n_comps=20, mask_var="highly_variable")
    return KMeans(N_COMPARTMENTS, n_init=5, random_state=0).fit_predict(log.obsm["X_pca"])


def section_row(adata: AnnData, otherwise: AnnData, bulb: AnnData, section: str) -> dict[str, float]:
    """Leave a section out, and show it to the reference of the others in every way."""
    is_query = (adata.obs["library_id"] == section).to_numpy()
    query = adata[is_query]
    places = query.obsm["spatial"] * MPP
    others = {
        "as it is (false alarms)": (query.obsm[REP], places),
        "half the magnification": (query.obsm["X_1"], places),
        "a quarter of the magnification": (query.obsm["X_2"], places),
    }
    for way in otherwise.obs["way"].unique():
        part = otherwise[(otherwise.obs["way"] == way) & (otherwise.obs["section"] == section)]
        if part.n_obs:
            others[way] = part.obsm[REP], part.obsm["spatial"] * MPP
    for name in bulb.obs["library_id"].unique():
        part = bulb[bulb.obs["library_id"] == name]
        mpp = bulb.uns["spatial"][name]["scalefactors"]["microns_per_pixel"]
        others[f"mouse olfactory bulb, {name}"] = part.obsm[REP], part.obsm["spatial"] * mpp
    row = flagged(adata[~is_query], others)
    for cluster in range(N_COMPARTMENTS):
        mine = is_query & (adata.obs["compartment"] == cluster).to_numpy()
        without = adata[~is_query & (adata.obs["compartment"] != cluster).to_numpy()]
        if mine.sum() >= LEAST_SPOTS:
            rest = adata[mine]
            lacking = {"x": (rest.obsm[REP], rest.obsm["spatial"] * MPP)}
            row[f"compartment {cluster + 1}, which the reference lacks"] = flagged(without, lacking)["x"]
    return row


def main() -> None:
    """Print the share of spots that are flagged, for every way of showing them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("bleep_sc_features"))
    parser.add_argument("--features-only", action="store_true")
    arguments = parser.parse_args()
    otherwise = load_otherwise(arguments.cache)
    if arguments.features_only:
        return
    adata, bulb = load("her2st", arguments.cache), load("mob", arguments.cache)
    adata.obs["compartment"] = compartments(adata)
    rows = {section: section_row(adata, otherwise, bulb, section) for section in adata.obs["library_id"].unique()}
    table = pd.DataFrame(rows)
    table["mean"] = table.mean(axis=1)
    print(table.to_string(float_format="{:.3f}".format, na_rep=""))


if __name__ == "__main__":
    main()
