"""How far spots are off after registration: another scan of a section, by itself and by landmarks; the next section.

Sections of her2st are scanned again by a known map (turned, scaled, mirrored, stained otherwise), so that the truth is
known. Of the next section it is not: spots are compared with the expression of the other section where they lie.

    python benchmarks/registration.py [--sections]
"""

import argparse
import time
import warnings
from itertools import combinations, pairwise

import numpy as np
import scanpy as sc
from scipy.spatial import cKDTree
from skimage.transform import warp

import bleep_sc as bs
from bleep_sc.slides import transform_points
from bleep_sc.slides._align import align

LONGEST = 4000
"""Of the scans that are made, px."""
SCANS = {
    "turned by 37°, half the px": (37, 0.5, False, 1.0),
    "turned by 200°, mirrored": (200, 1.0, True, 1.0),
    "turned by 90°, paler, bluer": (90, 0.8, False, 0.7),
    "turned by 10°, darker, a fifth of the px": (10, 0.2, False, 1.4),
}
SIGMAS_UM, N_LANDMARKS, DRAWS = (10, 30, 100), (3, 5, 8), 100
ON_C4 = [[466, 4473], [5887, 1825], [6734, 5074], [4673, 6539], [1407, 5018]]
ON_C5 = [[368, 4013], [5717, 1312], [6594, 4518], [4578, 5976], [1190, 4565]]
"""Corners of the tissue on two sections, set by eye, full-resolution px."""
STAINS = np.array([[0.92, 0.04, 0.04], [0.0, 0.93, 0.07], [0.08, 0.0, 0.88]])


def one_section(adata, name):
    """Return the spots of one section."""
    part = adata[adata.obs["library_id"] == name].copy()
    part.uns["spatial"] = {name: adata.uns["spatial"][name]}
    return part


def picture(section, name, longest):
    """Return a picture of a slide, and its px per full-resolution px."""
    with bs.slides.open_slide(section.uns["spatial"][name]["metadata"]["source_image_path"]) as slide:
        small = slide.thumbnail(longest)
        return small, np.array([small.shape[1] / slide.width, small.shape[0] / slide.height])


def scanned_again(image, degrees, scale, mirrored, gamma):
    """Return the image turned about its middle, and the map of px that did it; first px span 0 to 1."""
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    height, width = image.shape[:2]
    corners = transform_points([[0, 0], [width, 0], [width, height], [0, height]], matrix)
    matrix[:2, 2] = -corners.min(axis=0)
    center = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    shape = np.ceil(np.ptp(corners, axis=0)).astype(int)[::-1]
    moved = warp(image, np.linalg.inv(center) @ np.linalg.inv(matrix) @ center, output_shape=shape, cval=0.93)
    stained = moved if gamma == 1 else np.clip(moved**gamma @ STAINS.T, 0, 1)
    return (255 * stained).astype(np.uint8), matrix


def another_scan(adata, name):
    """Print how far spots are off after another scan was registered."""
    section = one_section(adata, name)
    image, share = picture(section, name, LONGEST)
    for said, arguments in SCANS.items():
        scan, onto = scanned_again(image, *arguments)
        matrix = onto @ np.diag([*share, 1.0])
        begin = time.perf_counter()
        found = bs.pp.register_scan(section, scan, copy=True)
        seconds = time.perf_counter() - begin
        entry = found.uns["registration"][name]
        off = np.linalg.norm(found.obsm["spatial"] - transform_points(section.obsm["spatial"], matrix), axis=1)
        um = off * entry["mpp"]
        known = f"{entry['n_landmarks']:4d} matches {seconds:4.0f} s"
        print(f"{name}  {said:42s} {um.mean():5.1f} {um.max():5.1f} µm  {known}", flush=True)


def by_landmarks(adata, name):
    """Print how far spots are off by landmarks at the rim of the tissue that were set with an error on both images."""
    section = one_section(adata, name)
    mpp = section.uns["spatial"][name]["scalefactors"]["microns_per_pixel"]
    spots = section.obsm["spatial"] * mpp
    rng = np.random.default_rng(0)
    sine, cosine = np.sin(0.6), np.cos(0.6)
    matrix = np.array([[cosine, -sine, 100], [sine, cosine, 3000], [0, 0, 1]])
    angle = np.arctan2(*(spots - spots.mean(axis=0)).T)
    distance = np.linalg.norm(spots - spots.mean(axis=0), axis=1)
    for n in N_LANDMARKS:
        sectors = np.linspace(-np.pi, np.pi, n + 1)
        rim = [max(np.flatnonzero((angle >= a) & (angle < b)), key=lambda i: distance[i]) for a, b in pairwise(sectors)]
        for sigma in SIGMAS_UM:
            for model in ("similarity", "affine"):
                off, said, residual, left_out = [], [], [], []
                for _ in range(DRAWS):
                    source = spots[rim] + rng.normal(0, sigma / np.sqrt(2), (n, 2))
                    target = transform_points(spots[rim], matrix) + rng.normal(0, sigma / np.sqrt(2), (n, 2))
                    fit = bs.slides.fit_landmarks(source, target, model=model)
                    true = transform_points(spots, matrix)
                    off.append(np.linalg.norm(transform_points(spots, fit.matrix) - true, axis=1).mean())
                    said.append(fit.standard_error(spots).mean())
                    residual.append(np.sqrt((fit.residual_px**2).mean()))
                    left_out.append(np.sqrt((fit.left_out_px**2).mean()))
                means = [np.mean(each) for each in (off, said, residual, left_out)]
                print(
                    f"{name}  {n} landmarks, {sigma:3d} µm, {model:10s} " + " ".join(f"{mean:8.1f}" for mean in means)
                )


def agreement(one, other, places, pitch):
    """Return the mean correlation over genes of spots with those of the other section there, and how many have some."""
    distance, nearest = cKDTree(other.obsm["spatial"]).query(places, k=4)
    near = distance[:, 0] < pitch
    weights = np.exp(-0.5 * (distance[near] / (0.5 * pitch)) ** 2)
    theirs = np.einsum("nk,nkg->ng", weights / weights.sum(axis=1, keepdims=True), other.X[nearest[near]])
    return np.nanmean(bs.metrics.pearson(one.X[near], theirs)), near.mean()


def under_spots(section, small, share):
    """Return the mean colours of the tissue under every spot."""
    half = 6
    x, y = (section.obsm["spatial"] * share).astype(int).T
    return np.array(
        [
            small[max(0, b - half) : b + half, max(0, a - half) : a + half].mean((0, 1))
            for a, b in zip(x, y, strict=True)
        ]
    )


def next_section(adata, names):
    """Print how the expression of sections agrees after one was laid on the other."""
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    sc.pp.highly_variable_genes(adata, n_top_genes=200, batch_key="library_id")
    adata = adata[:, adata.var["highly_variable"]].copy()
    adata.X = adata.X.toarray()
    sections = {name: one_section(adata, name) for name in names}
    pictures = {name: picture(section, name, 1000) for name, section in sections.items()}
    for name, other in combinations(names, 2):
        one, two = sections[name], sections[other]
        mpp = two.uns["spatial"][other]["scalefactors"]["microns_per_pixel"]
        pitch = float(np.median(cKDTree(two.obsm["spatial"]).query(two.obsm["spatial"], k=2)[0][:, 1]))
        begin = time.perf_counter()
        path = two.uns["spatial"][other]["metadata"]["source_image_path"]
        found = bs.pp.register_section(one, path, mpp=mpp, copy=True)
        seconds = time.perf_counter() - begin
        entry = found.uns["registration"][name]
        spots = align(
            one.obsm["spatial"],
            under_spots(one, *pictures[name]),
            two.obsm["spatial"],
            under_spots(two, *pictures[other]),
        )
        both = bs.pp.register_section(one, path, mpp=mpp, reflection=None, copy=True).obsm["spatial"]
        laid = {
            "as scanned": one.obsm["spatial"],
            "section": found.obsm["spatial"],
            "either side": both,
            "location copy": spots,
        }
        if (name, other) == ("C4", "C5"):
            for model in ("similarity", "affine"):
                fit = bs.slides.fit_landmarks(ON_C4, ON_C5, model=model)
                laid[f"5 landmarks by eye, {model}"] = transform_points(one.obsm["spatial"], fit.matrix)
        scores = "  ".join(f"{said} {agreement(one, two, places, pitch)[0]:.3f}" for said, places in laid.items())
        print(f"{name} on {other}: {scores}  (overlap {entry['overlap']:.2f}, {seconds:.0f} s)")


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sections", action="store_true", help="the next section alone")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*comes to lie on tissue|.*lie outside the new image")
    her2st, mob = bs.datasets.her2st(), bs.datasets.mob()
    if not arguments.sections:
        of_one_section(her2st)
    print("\nThe next section: mean correlation of 200 genes with the spots there")
    next_section(her2st, ["C2", "C3", "C4", "C5"])
    next_section(mob, ["MOB1", "MOB2", "MOB3"])


def of_one_section(her2st):
    """Print both tables of which the truth is known."""
    print("Another scan, without landmarks: mean and largest error of a spot")
    for name in ("C2", "C4"):
        another_scan(her2st, name)
    section = one_section(her2st, "C2")
    for other in ("C3", "C4", "C5"):
        try:
            bs.pp.register_scan(section, her2st.uns["spatial"][other]["metadata"]["source_image_path"], copy=True)
            print(f"C2 was taken for a scan of {other}")
        except ValueError:
            print(f"C2 is no scan of {other}: refused")
    print("\nLandmarks at the rim, set with an error: error of a spot, standard error said, residual, left out, µm")
    by_landmarks(her2st, "C2")


if __name__ == "__main__":
    main()
