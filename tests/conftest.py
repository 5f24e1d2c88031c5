"""Fixtures: toy tissue, prepared once and as Space Ranger would write it, and real tissue where it is at hand."""

import json
import os
import shutil
from functools import wraps
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["BLEEP_SC_REFERENCES"] = "http://127.0.0.1:9"  # where nothing answers
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")  # numba, in scanpy, sets torch's threads to its own

import h5py
import matplotlib as mpl
import matplotlib.pyplot as plt
import numba
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import tifffile
import torch
import zarr
from anndata import AnnData
from PIL import Image
from scipy import sparse
from scipy.spatial import cKDTree

import bleep_sc as bs
from bleep_sc.datasets import _original_st
from bleep_sc.datasets import _toy as toy_tissue

SHARED = Path(__file__).parents[2] / "shared" / "data"
if "BLEEP_SC_DATA" not in os.environ and SHARED.is_dir():
    os.environ["BLEEP_SC_DATA"] = str(SHARED)

numba.config.reload_config()  # plugins of pytest import it before this file is read
mpl.use("agg")
torch.set_num_threads(1)  # small tensors, and a machine that is shared


def once(draw):
    """A slice of toy tissue is drawn once a process: its seed decides everything. Every call gets a copy."""
    drawn = {}

    @wraps(draw)
    def drawn_once(name, program, level, rng):
        seed = rng.bit_generator.seed_seq
        key = (name, seed.entropy, seed.spawn_key)
        if key not in drawn:
            drawn[key] = draw(name, program, level, rng)
        return drawn[key].copy()

    return drawn_once


toy_tissue._slice = once(toy_tissue._slice)


def read_once(read):
    """So is a section of real tissue, of the same files, read."""
    sections = {}

    @wraps(read)
    def kept(counts, spots, image, section, **how):
        files = tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in (counts, spots, image))
        key = (files, section, *how.values())
        if key not in sections:
            sections[key] = read(counts, spots, image, section, **how)
        return sections[key].copy()

    return kept


_original_st.read_section = read_once(_original_st.read_section)


@pytest.fixture(autouse=True)
def _figures():
    """Every test finds no figure, and leaves none."""
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with real tissue; tests that need it are skipped without."""
    folder = os.environ.get("BLEEP_SC_DATA")
    if folder is None or not Path(folder).is_dir():
        pytest.skip("real tissue not found: set BLEEP_SC_DATA to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def _toy() -> AnnData:
    adata = bs.datasets.toy(n_slices=3)
    adata.layers["counts"] = adata.X.copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=56, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    return adata


@pytest.fixture
def toy(_toy: AnnData) -> AnnData:
    """Three slices of toy tissue: log-normalised, with counts, patches and stain statistics."""
    return _toy.copy()


@pytest.fixture
def reference(toy: AnnData) -> AnnData:
    """The first two slices, with genes chosen on them."""
    ref = toy[toy.obs["library_id"] != "slice3"].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    return ref


@pytest.fixture
def query(toy: AnnData) -> AnnData:
    """The third slice."""
    return toy[toy.obs["library_id"] == "slice3"].copy()


@pytest.fixture(scope="session")
def _fitted(_toy: AnnData) -> AnnData:
    ref = _toy[_toy.obs["library_id"] != "slice3"].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    bs.tl.fit(ref, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=60), show_progress_bar=False)
    return ref


@pytest.fixture
def fitted(_fitted: AnnData) -> AnnData:
    """The reference, with a trained model."""
    return _fitted.copy()


SCAN_MPP, BIN_UM = 1.25, 16.0
"""µm per px of the scans below, and side of the bins of Visium HD."""


def scanned(adata: AnnData) -> AnnData:
    """One slice of toy tissue, scanned at 1.25 µm per px: the scan is ``uns["image"]``."""
    (library,) = adata.uns["spatial"].values()
    pixels = library["images"]["hires"]
    size = (round(pixels.shape[1] / SCAN_MPP), round(pixels.shape[0] / SCAN_MPP))
    adata.uns["image"] = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    adata.obsm["spatial"] = adata.obsm["spatial"] / SCAN_MPP
    adata.obs_names = [f"ACGT{i:08d}-1" for i in range(adata.n_obs)]
    return adata


def write_counts(path: Path, counts, barcodes, genes) -> None:
    """A feature-barcode matrix as Space Ranger writes it."""
    counts = sparse.csr_matrix(counts).astype(np.int32)
    with h5py.File(path, "w") as file:
        file.attrs.update({"chemistry_description": "Visium V1 Slide", "library_ids": [b"toy"]})
        matrix = file.create_group("matrix")
        matrix["barcodes"] = np.array(barcodes, dtype="S")
        for name in ("data", "indices", "indptr"):
            matrix[name] = getattr(counts, name)
        matrix["shape"] = np.array(counts.shape[::-1], dtype=np.int32)
        for name, values in (
            ("id", [f"ENSG{i:011d}" for i in range(len(genes))]),
            ("name", genes),
            ("feature_type", ["Gene Expression"] * len(genes)),
            ("genome", ["toy"] * len(genes)),
        ):
            matrix[f"features/{name}"] = np.array(values, dtype="S")


def write_images(folder: Path, image) -> dict[str, float]:
    """The small images beside the positions, and their scale factors."""
    for name, share in (("hires", 0.5), ("lowres", 0.1)):
        size = (int(image.shape[1] * share), int(image.shape[0] * share))
        Image.fromarray(image).resize(size, Image.Resampling.BOX).save(folder / f"tissue_{name}_image.png")
    return {"tissue_hires_scalef": 0.5, "tissue_lowres_scalef": 0.1}


def write_space_ranger(folder: Path, tissue: AnnData) -> Path:
    """What Space Ranger leaves of a Visium slide, with more spots than are in the tissue; and the scan beside it."""
    (folder / "spatial").mkdir(parents=True)
    write_counts(folder / "filtered_feature_bc_matrix.h5", tissue.X, tissue.obs_names, tissue.var_names)
    positions = pd.DataFrame(
        {
            "barcode": [*tissue.obs_names, "TTTTTTTTTTTT-1"],
            "in_tissue": [*tissue.obs["in_tissue"], 0],
            "array_row": [*tissue.obs["array_row"], 77],
            "array_col": [*tissue.obs["array_col"], 127],
            "pxl_row_in_fullres": [*tissue.obsm["spatial"][:, 1], 5.0],
            "pxl_col_in_fullres": [*tissue.obsm["spatial"][:, 0], 5.0],
        }
    )
    positions.sample(frac=1, random_state=0).to_csv(folder / "spatial" / "tissue_positions.csv", index=False)
    factors = write_images(folder / "spatial", tissue.uns["image"])
    factors |= {
        "spot_diameter_fullres": 65 / SCAN_MPP,
        "fiducial_diameter_fullres": 105 / SCAN_MPP,
    }  # as version 1 wrote
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    tifffile.imwrite(folder / "scan.tif", tissue.uns["image"], photometric="rgb")
    return folder


def write_visium_hd(folder: Path, tissue: AnnData) -> Path:
    """What Space Ranger leaves of a Visium HD slide with bins of 16 µm; counts are those of the nearest spot."""
    image, binned = tissue.uns["image"], folder / "binned_outputs" / "square_016um"
    (binned / "spatial").mkdir(parents=True)
    (folder / "microscope_image").mkdir()
    row, column = (axis.ravel() for axis in np.mgrid[0:60, 0:70])
    barcodes = [f"s_016um_{r:05d}_{c:05d}-1" for r, c in zip(row, column, strict=True)]
    step = BIN_UM / SCAN_MPP
    positions = pd.DataFrame(
        {
            "barcode": barcodes,
            "in_tissue": 1,
            "array_row": row,
            "array_col": column,
            "pxl_row_in_fullres": 100 + (59 - row) * step,  # mirrored, as real slides are
            "pxl_col_in_fullres": 200 + column * step,
        }
    )
    positions.to_parquet(binned / "spatial" / "tissue_positions.parquet", index=False)
    places = positions[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy()
    counts = tissue.X[cKDTree(tissue.obsm["spatial"]).query(places)[1]]
    write_counts(binned / "filtered_feature_bc_matrix.h5", counts, barcodes, tissue.var_names)
    factors = write_images(binned / "spatial", image)
    factors |= {"spot_diameter_fullres": step, "bin_size_um": BIN_UM, "microns_per_pixel": SCAN_MPP}
    (binned / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    tifffile.imwrite(folder / "microscope_image" / "scan.tif", image, photometric="rgb")
    with h5py.File(folder / "toy_feature_slice.h5", "w") as file:
        file.attrs["metadata_json"] = json.dumps({"hd_layout_json": json.dumps({"file_format": "1.0"})})
    return folder


def write_cells_zarr(path: Path, n_cells: int) -> list[str]:
    """What spatialdata_io asks for in a Xenium folder, as version 2 writes it; give the names of the cells."""
    numbers = np.column_stack([np.arange(n_cells) * 7 + 5, np.ones(n_cells)]).astype(np.uint32)
    with zarr.storage.ZipStore(path, mode="w") as store:
        group = zarr.open_group(store, mode="w", zarr_format=2)
        group.create_array("cell_id", data=numbers)
        group.create_group("polygon_sets")
        for i in (0, 1):
            group.create_array(f"polygon_sets/{i}/cell_index", data=np.arange(n_cells, dtype=np.uint32))
        names = {"column_names": ["z_level", "nucleus_count"]}
        group.create_array("cell_summary", data=np.zeros((n_cells, 2)), attributes=names)
    letters = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
    return [f"{number:08x}".translate(letters) + "-1" for number in numbers[:, 0]]


PIXEL_UM, TURN = 0.2125, np.deg2rad(88.5)
"""µm per px of Xenium's morphology image, and by how much the H&E is turned against it."""


def write_xenium(folder: Path, tissue: AnnData, n_cells: int = 2000) -> Path:
    """What Xenium leaves of a slide, and the H&E with its alignment; cells have the profile of the nearest spot.

    Places on the H&E, px, and counts of all that is to be summed are in ``truth.npz``.
    """
    random, image, outs = np.random.default_rng(0), tissue.uns["image"], folder / "outs"
    outs.mkdir(parents=True)
    scale = SCAN_MPP / PIXEL_UM
    turned = np.array([[np.cos(TURN), np.sin(TURN)], [-np.sin(TURN), np.cos(TURN)]])
    alignment = np.eye(3)
    alignment[:2, :2], alignment[:2, 2] = scale * turned, (150.0, scale * image.shape[1])
    home = tissue.obsm["spatial"][random.integers(0, tissue.n_obs, n_cells)]
    cells = home + random.uniform(-40, 40, (n_cells, 2))
    nearest = cKDTree(tissue.obsm["spatial"]).query(cells)[1]
    counts = random.poisson(np.asarray(tissue.X[nearest].todense()) / 120)
    ids = write_cells_zarr(outs / "cells.zarr.zip", n_cells)
    genes = tissue.var_names.tolist()
    cell, gene = np.nonzero(counts)
    repeats = counts[cell, gene]
    of_cell, of_gene = np.repeat(cell, repeats), np.repeat(gene, repeats)
    molecules = cells[of_cell] + random.normal(0, 3, (len(of_cell), 2))

    def um(places):
        return (places @ alignment[:2, :2].T + alignment[:2, 2]) * PIXEL_UM

    controls = random.uniform(100, 900, (500, 2))
    table = pd.DataFrame(um(np.vstack([molecules, molecules[:400], controls])), columns=["x_location", "y_location"])
    table["z_location"] = 10.0
    names = [*np.array(genes)[of_gene], *np.array(genes)[of_gene[:400]], *["NegControlProbe_00042"] * 500]
    table["feature_name"] = names
    table["cell_id"] = [*np.array(ids)[of_cell], *["UNASSIGNED"] * 900]
    table["qv"] = np.float32([*np.full(len(molecules), 40.0), *np.full(400, 12.0), *np.full(500, 40.0)])
    table["overlaps_nucleus"] = np.uint8(0)
    table.sample(frac=1, random_state=0).to_parquet(outs / "transcripts.parquet", index=False)
    centers = pd.DataFrame(um(cells), columns=["x_centroid", "y_centroid"])
    centers.insert(0, "cell_id", ids)
    centers["cell_area"], centers["nucleus_area"] = 60.0, 25.0
    centers.to_parquet(outs / "cells.parquet", index=False)
    write_counts(outs / "cell_feature_matrix.h5", counts, ids, genes)
    about = {"run_name": "toy", "region_name": "toy_lobe", "panel_name": "toy panel", "pixel_size": PIXEL_UM}
    about["analysis_sw_version"] = "xenium-2.0.0.10"
    (outs / "experiment.xenium").write_text(json.dumps(about))
    tifffile.imwrite(outs / "toy_he_image.ome.tif", image, photometric="rgb", metadata={"axes": "YXS"})
    np.savetxt(outs / "toy_he_imagealignment.csv", alignment, delimiter=",")
    truth = {"cells": cells, "counts": counts, "molecules": molecules, "of_gene": of_gene}
    np.savez(folder / "truth.npz", **truth)
    return folder


@pytest.fixture(scope="session")
def tissue() -> AnnData:
    """A slice of toy tissue, scanned at 1.25 µm per px."""
    return scanned(bs.datasets.toy(n_slices=1))


@pytest.fixture(scope="session")
def _space_ranger(tissue: AnnData, tmp_path_factory) -> Path:
    return write_space_ranger(tmp_path_factory.mktemp("visium") / "outs", tissue)


@pytest.fixture
def space_ranger(_space_ranger: Path, tmp_path: Path) -> Path:
    """A Visium folder of Space Ranger."""
    return shutil.copytree(_space_ranger, tmp_path / "outs")


@pytest.fixture(scope="session")
def _visium_hd(tissue: AnnData, tmp_path_factory) -> Path:
    return write_visium_hd(tmp_path_factory.mktemp("visium_hd") / "hd", tissue)


@pytest.fixture
def visium_hd(_visium_hd: Path, tmp_path: Path) -> Path:
    """A Visium HD folder of Space Ranger."""
    return shutil.copytree(_visium_hd, tmp_path / "hd")


@pytest.fixture(scope="session")
def xenium(tissue: AnnData, tmp_path_factory) -> Path:
    """A Xenium folder, ``outs``, with its H&E and the alignment of that beside it."""
    return write_xenium(tmp_path_factory.mktemp("xenium") / "lobe", tissue)


@pytest.fixture(scope="session")
def _visium_slides(tmp_path_factory) -> Path:
    folder, toy = tmp_path_factory.mktemp("visium_slides"), bs.datasets.toy(n_slices=3)
    for name, library in zip(("A1", "B1", "C1"), ("slice1", "slice2", "slice3"), strict=True):
        part = toy[toy.obs["library_id"] == library][::2].copy()
        part.uns["spatial"] = {library: part.uns["spatial"][library]}
        write_space_ranger(folder / name / "outs", scanned(part))
        (folder / name / "outs" / "scan.tif").rename(folder / name / "scan.tif")
    return folder


@pytest.fixture
def visium_slides(_visium_slides: Path, tmp_path: Path) -> Path:
    """A folder with the Visium slides A1, B1 and C1, each as Space Ranger leaves it, with its scan beside it."""
    return shutil.copytree(_visium_slides, tmp_path, dirs_exist_ok=True)
