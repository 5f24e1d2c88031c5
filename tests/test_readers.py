"""Slides as the field's readers hand them over: patches are cut with nothing edited by hand, and µm are right."""

import json
import warnings

import numpy as np
import pytest
import squidpy as sq
from PIL import Image

import bleep_sc as bs

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages that warn of each other when they are imported
    import spatialdata_io

pytestmark = [  # what the readers do themselves
    pytest.mark.filterwarnings("ignore:Converting .region_key:UserWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning"),  # pandas 3.1
]

MPP = 1.25
BIN_UM = 16.0


def assert_patches(adata, library, image, centers, *, source, size_um=112.0, key="patches"):
    """The patches are those around the true centres, and a patch shows as many µm as were asked for."""
    record = adata.uns[key][library]
    assert record["mpp"] == pytest.approx(MPP, rel=1e-3)
    assert record["mpp_source"] == source
    side = round(size_um / MPP)
    assert record["side_px"] == side
    expected = bs.slides.cut_patches(bs.slides.open_slide(image), centers, side=side, size=32)
    np.testing.assert_array_equal(adata.obsm[key], expected)


def test_squidpy_reads_visium(space_ranger, tissue):
    adata = sq.read.visium(space_ranger, source_image_path=space_ranger / "scan.tif")
    bs.pp.extract_patches(adata, size=32, size_um=112)
    true = tissue[adata.obs_names]
    np.testing.assert_allclose(adata.obsm["spatial"], true.obsm["spatial"])
    assert_patches(adata, "toy", tissue.uns["image"], true.obsm["spatial"], source="lattice fit, Visium pitch 100 µm")
    assert (adata.X != true.X).nnz == 0


def test_the_hires_image_of_squidpy_is_not_taken_for_the_scan(space_ranger):
    adata = sq.read.visium(space_ranger)
    with pytest.raises(KeyError, match=r"The stored images \('hires', 'lowres'\) are scaled down and would blur"):
        bs.pp.extract_patches(adata, size=32, size_um=112)
    with pytest.raises(ValueError, match="Multiplied by tissue_hires_scalef"):
        bs.pp.extract_patches(adata, adata.uns["spatial"]["toy"]["images"]["hires"], size=32, size_um=112)


def test_squidpy_reads_a_real_visium_folder(data_folder, tmp_path):
    """The folder lacks the image that squidpy insists on; it is made from the smaller one."""
    source = data_folder / "visium_cytassist"
    for file in (source / "filtered_feature_bc_matrix").iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "spatial").mkdir()
    for file in (source / "spatial").iterdir():
        (tmp_path / "spatial" / file.name).symlink_to(file)
    small = Image.open(source / "spatial" / "tissue_lowres_image.png")
    small.resize((2000, 2000)).save(tmp_path / "spatial" / "tissue_hires_image.png")
    scan = tmp_path / "spatial" / "aligned_fiducials.jpg"
    adata = sq.read.visium(tmp_path, counts_file="matrix.mtx.gz", library_id="mouse", source_image_path=scan)
    assert adata.shape == (2898, 19465)
    bs.pp.extract_patches(adata, size=8, size_um=100)
    record = adata.uns["patches"]["mouse"]
    assert record["mpp"] == pytest.approx(105 / 22.447, rel=5e-3)  # by the fiducials; 55 µm a spot would say 3.68
    assert record["side_px"] == 21  # 100 µm
    assert adata.obsm["patches"].shape == (2898, 8, 8, 3)


def test_spatialdata_io_reads_visium(space_ranger, tissue):
    scan = space_ranger / "scan.tif"
    sdata = spatialdata_io.visium(space_ranger, dataset_id="toy", fullres_image_file=scan)
    table = sdata.tables["table"].copy()
    true = tissue[table.obs_names].obsm["spatial"]
    source = "lattice fit, Visium pitch 100 µm"
    bs.pp.extract_patches(table, scan, size=32, size_um=112)
    (library,) = table.uns["patches"]
    assert_patches(table, library, tissue.uns["image"], true, source=source)
    bs.pp.extract_patches(sdata, size=32, size_um=112)
    assert_patches(sdata.tables["table"], "toy", tissue.uns["image"], true, source=source)


def test_spatialdata_io_reads_visium_hd(visium_hd, tissue):
    sdata = spatialdata_io.visium_hd(visium_hd, load_segmentations_only=False)
    table = sdata.tables["square_016um"].copy()
    row, column = table.obs["array_row"], table.obs["array_col"]
    true = np.column_stack([200 + column * BIN_UM / MPP, 100 + (59 - row) * BIN_UM / MPP])
    scan = visium_hd / "microscope_image" / "scan.tif"
    given = "lattice fit, pitch 16 µm given"
    bs.pp.extract_patches(table, scan, size=32, size_um=112, pitch_um=BIN_UM)
    (library,) = table.uns["patches"]
    assert_patches(table, library, tissue.uns["image"], true, source=given)
    factors = json.loads((visium_hd / "binned_outputs/square_016um/spatial/scalefactors_json.json").read_text())
    table.uns["spatial"] = {"toy": {"images": {}, "scalefactors": factors, "metadata": {}}}
    bs.pp.extract_patches(table, scan, size=32, size_um=112)
    assert_patches(table, "toy", tissue.uns["image"], true, source="scale factors")
    bs.pp.extract_patches(sdata, size=32, size_um=112, table_key="square_016um", pitch_um=BIN_UM)
    assert_patches(sdata.tables["square_016um"], "toy_square_016um", tissue.uns["image"], true, source=given)
    bs.pp.extract_patches(sdata, size=32, size_um=112, table_key="square_016um")  # bins are named after their side
    assert_patches(sdata.tables["square_016um"], "toy_square_016um", tissue.uns["image"], true, source="scale factors")


def test_bins_of_visium_hd_are_not_taken_for_another_technology(visium_hd):
    sdata = spatialdata_io.visium_hd(visium_hd, load_segmentations_only=False)
    table = sdata.tables["square_016um"]
    with pytest.raises(ValueError, match=r"µm per px of slide .* are not known .*Pass mpp=, or pitch_um="):
        bs.pp.extract_patches(table, visium_hd / "microscope_image" / "scan.tif", size=32, size_um=112)


def test_original_spatial_transcriptomics(data_folder):
    adata = bs.datasets.her2st("C2")
    bs.pp.extract_patches(adata, size=16, size_um=112)
    record = adata.uns["patches"]["C2"]
    assert record["mpp"] == pytest.approx(0.686, abs=0.004)
    assert record["side_px"] == round(112 / record["mpp"])
    del adata.uns["spatial"]["C2"]["scalefactors"]["microns_per_pixel"]  # as other readers of the format leave it out
    with pytest.raises(ValueError, match=r"kind 'square', .*pass pitch_um= \(200 for original Spatial Transcriptomics"):
        bs.pp.extract_patches(adata, size=16, size_um=112, key_added="again")
    bs.pp.extract_patches(adata, size=16, size_um=112, pitch_um=200, key_added="again")
    assert adata.uns["again"]["C2"]["mpp_source"] == "lattice fit, pitch 200 µm given"
    np.testing.assert_array_equal(adata.obsm["again"], adata.obsm["patches"])
