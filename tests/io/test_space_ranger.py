"""Space Ranger's folders, in the layouts of its versions: the same slide is read of each."""

import gzip
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import squidpy as sq
from scipy.io import mmwrite

import bleep_sc as bs
from bleep_sc.io._sources import space_ranger as source


def read(folder, **how):
    return source.read(folder, name="A1", **how)


def as_version_1(folder):
    """Positions without a header, all of the array, and under another name."""
    spatial = folder / "spatial"
    table = pd.read_csv(spatial / "tissue_positions.csv")
    table.to_csv(spatial / "tissue_positions_list.csv", header=False, index=False)
    (spatial / "tissue_positions.csv").unlink()


def as_parquet(folder):
    spatial = folder / "spatial"
    pd.read_csv(spatial / "tissue_positions.csv").to_parquet(spatial / "tissue_positions.parquet", index=False)
    (spatial / "tissue_positions.csv").unlink()


def as_mtx(folder):
    """The matrix as a folder of text, genes by spots."""
    import scanpy as sc

    adata = sc.read_10x_h5(folder / "filtered_feature_bc_matrix.h5")
    (folder / "filtered_feature_bc_matrix.h5").unlink()
    matrix = folder / "filtered_feature_bc_matrix"
    matrix.mkdir()
    mmwrite(matrix / "matrix.mtx", adata.X.T.astype(int))
    features = pd.DataFrame({"id": adata.var["gene_ids"], "name": adata.var_names, "kind": "Gene Expression"})
    with gzip.open(matrix / "matrix.mtx.gz", "wb") as file:
        file.write((matrix / "matrix.mtx").read_bytes())
    (matrix / "matrix.mtx").unlink()
    features.to_csv(matrix / "features.tsv.gz", sep="\t", header=False, index=False)
    pd.Series(adata.obs_names).to_csv(matrix / "barcodes.tsv.gz", sep="\t", header=False, index=False)


def without_hires(folder):
    (folder / "spatial" / "tissue_hires_image.png").unlink()


@pytest.mark.parametrize("change", [None, as_version_1, as_parquet, as_mtx, without_hires])
def test_every_version_is_read_as_squidpy_reads_the_third(space_ranger, change):
    expected = sq.read.visium(space_ranger, library_id="A1")
    expected.var_names_make_unique()
    if change is not None:
        change(space_ranger)
    adata = read(space_ranger)
    assert (adata.X != expected.X).nnz == 0
    assert adata.var_names.tolist() == expected.var_names.tolist()
    np.testing.assert_array_equal(adata.obsm["spatial"], expected.obsm["spatial"])
    for column in ("in_tissue", "array_row", "array_col"):
        np.testing.assert_array_equal(adata.obs[column], expected.obs[column])
    assert set(adata.obs["library_id"]) == {"A1"}
    about = adata.uns["spatial"]["A1"]["metadata"]
    assert about == {"technology": "Visium", "source_image_path": str((space_ranger / "scan.tif").resolve())}


def test_the_folder_around_outs_is_meant_too(space_ranger):
    scan = space_ranger.parent / "my scan.tif"
    (space_ranger / "scan.tif").rename(scan)
    for folder in (space_ranger, space_ranger.parent):
        assert source.recognises(folder)
        assert read(folder).uns["spatial"]["A1"]["metadata"]["source_image_path"] == str(scan.resolve())


def test_the_cytassist_is_recognised(space_ranger):
    factors = json.loads((space_ranger / "spatial" / "scalefactors_json.json").read_text())
    factors["regist_target_img_scalef"] = 0.3
    (space_ranger / "spatial" / "scalefactors_json.json").write_text(json.dumps(factors))
    assert read(space_ranger).uns["spatial"]["A1"]["metadata"]["technology"] == "Visium, CytAssist"


def test_bins_are_read_as_spatialdata_io_reads_them(visium_hd):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spatialdata_io

        expected = spatialdata_io.visium_hd(visium_hd, load_segmentations_only=False).tables["square_016um"]
    adata = read(visium_hd, bin_um=16)[expected.obs_names]
    assert (adata.X != expected.X).nnz == 0
    np.testing.assert_array_equal(adata.obs["array_row"], expected.obs["array_row"])
    factors = adata.uns["spatial"]["A1"]["scalefactors"]
    assert (factors["microns_per_pixel"], factors["bin_size_um"]) == (1.25, 16.0)
    assert adata.uns["spatial"]["A1"]["metadata"]["technology"] == "Visium HD, 16 µm"


def test_the_mirrored_array_of_real_bins_is_taken_as_it_is(data_folder):
    part = data_folder / "spaceranger/seurat_visium_hd/visium_hd/binned_outputs/square_016um"
    bins = source._placed(source._counts(part), source._positions(part / "spatial"), part)
    factors = json.loads((part / "spatial/scalefactors_json.json").read_text())
    bins.uns["spatial"] = {"A1": {"images": {}, "scalefactors": factors}}
    bins.obs["library_id"] = "A1"
    bins.obsm["spatial"] = bins.obsm["spatial"] / 10
    bins = bins[(bins.obsm["spatial"] > 0).all(axis=1) & (bins.obs["in_tissue"] == 1)].copy()
    assert np.polyfit(bins.obs["array_row"], bins.obsm["spatial"][:, 1], 1)[0] < -5  # px a row: they go up
    scan = np.full((2500, 2400, 3), 200, dtype=np.uint8)
    bs.pp.extract_patches(bins, scan, mpp=factors["microns_per_pixel"] * 10, size=16)
    del bins.uns["spatial"]["A1"]["scalefactors"]["bin_size_um"]
    bins.obs_names = [f"spot {i}" for i in range(bins.n_obs)]
    with pytest.warns(UserWarning, match="mirrored against"):
        bs.pp.extract_patches(bins, scan, mpp=factors["microns_per_pixel"] * 10, size=16)


def test_bins_are_summed(visium_hd):
    bins = read(visium_hd, bin_um=16)
    squares, expected = read(visium_hd, bin_um=48.0), bs.pp.sum_bins(bins, bin_um=48)
    assert (squares.X != expected.X).nnz == 0
    np.testing.assert_array_equal(squares.obsm["spatial"], expected.obsm["spatial"])
    about = squares.uns["spatial"]["A1"]["metadata"]
    assert about["technology"] == "Visium HD, 48 µm"
    assert about["source_image_path"] == str((visium_hd / "microscope_image" / "scan.tif").resolve())
    by_rule, ruled = read(visium_hd), bs.pp.sum_bins(bins)
    assert by_rule.shape == ruled.shape


def test_bins_that_are_not_there(visium_hd):
    with pytest.raises(FileNotFoundError, match="has bins of '16' µm, and none of which squares of 8 µm are made"):
        read(visium_hd, bin_um=8)
    with pytest.raises(ValueError, match=r"bin_um=2: squares of 2 µm hold hardly a transcript"):
        read(visium_hd, bin_um=2)


def test_counts_of_another_slide_are_refused(space_ranger):
    path = space_ranger / "spatial" / "tissue_positions.csv"
    table = pd.read_csv(path)
    table["barcode"] = [f"TTTT{i}-1" for i in range(len(table))]
    table.to_csv(path, index=False)
    with pytest.raises(ValueError, match=r"are not those of the positions .* of different slides"):
        read(space_ranger)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("filtered_feature_bc_matrix.h5", "has no counts: neither filtered_feature_bc_matrix"),
        ("spatial/tissue_positions.csv", "has no positions of the spots: none of 'tissue_positions.parquet'"),
    ],
)
def test_what_is_not_there_is_named(space_ranger, file, said):
    (space_ranger / file).unlink()
    with pytest.raises(FileNotFoundError, match=said):
        read(space_ranger)


@pytest.fixture
def scan_is_there(monkeypatch):
    """Large scans are not written in tests: whichever is looked for is found."""
    monkeypatch.setattr(source, "find_scan", lambda *_: Path("scan.tif"))


def test_scans_that_are_not_there_are_described(data_folder):
    """Real files of Seurat, with small images that are blank, and of VisiumIO, without large ones."""
    folder = data_folder / "spaceranger"
    for slide, size in (
        ("seurat_visium_hd/visium", "11620 × 11608"),
        ("visiumio_hd/10xVisium/section1", "11287 × 11757"),
        (data_folder / "visium_cytassist", "3000 × 3000"),
    ):
        with pytest.raises(FileNotFoundError, match=f"it is {size} px, as the small images tell.*--image A1=FILE"):
            read(folder / slide)
    with pytest.raises(FileNotFoundError, match="it is 23618 × 21945 px"):
        read(folder / "seurat_visium_hd/visium_hd", bin_um=8)


def test_the_folders_of_seurat(data_folder, scan_is_there, caplog):
    """Real files: version 1 of Visium, and HD with parquet, where the positions are those of some barcodes."""
    folder = data_folder / "spaceranger" / "seurat_visium_hd"
    visium = read(folder / "visium")
    assert visium.shape == (2695, 100)
    assert not caplog.text
    for bins in (8, 16):
        hd = read(folder / "visium_hd", bin_um=bins)
        places = pd.read_parquet(
            folder / f"visium_hd/binned_outputs/square_{bins:03d}um/spatial/tissue_positions.parquet"
        )
        assert set(hd.obs_names) == set(visium.obs_names) & set(places["barcode"])
        assert hd.uns["spatial"]["A1"]["scalefactors"]["bin_size_um"] == bins
    assert "of 2,695 barcodes have no position, and are left out" in caplog.text


def test_the_folders_of_visiumio(data_folder, scan_is_there):
    """Raw matrices alone, of which some spots are off tissue; and ten squares of 2 µm, without counts."""
    folder = data_folder / "spaceranger" / "visiumio_hd"
    adata = read(folder / "10xVisium" / "section1")
    assert adata.shape == (50, 49)
    assert set(adata.obs["in_tissue"]) == {0, 1}
    assert not source.recognises(folder / "10xVisium")
    with pytest.raises(ValueError, match="holds no raw counts"):
        read(folder)


def test_a_real_folder_of_the_cytassist(data_folder, scan_is_there):
    adata = read(data_folder / "visium_cytassist")
    assert adata.shape == (2898, 19465)
    assert adata.uns["spatial"]["A1"]["metadata"]["technology"] == "Visium, CytAssist"
