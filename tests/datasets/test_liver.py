import gzip

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse
from scipy.io import mmwrite

import bleep_sc as bs


@pytest.fixture
def folder(tmp_path):
    """A slice laid out as GEO and the original repository have it; positions of Visium, 20 px a column step."""
    matrices = tmp_path / "data" / "filtered_expression_matrices" / "3"
    matrices.mkdir(parents=True)
    row, col = (axis.ravel() for axis in np.mgrid[0:8, 0:16])
    hexagons = (row + col) % 2 == 0
    row, col = row[hexagons], col[hexagons]
    barcodes = [f"BC{i:03d}-1" for i in range(len(row))]
    positions = pd.DataFrame(
        {"b": barcodes, "t": 1, "r": row, "c": col, "y": 50 + row * 20 * np.sqrt(3), "x": 60 + col * 20.0}
    )
    positions.loc[2, "t"] = 0
    positions.sample(frac=1, random_state=0).to_csv(
        tmp_path / "data" / "tissue_positions_list_3.csv", header=False, index=False
    )
    counts = np.random.default_rng(0).poisson(3, (3, len(barcodes)))
    mmwrite(matrices / "matrix.mtx", sparse.coo_matrix(counts))
    with gzip.open(matrices / "features.tsv.gz", "wt") as file:
        file.write("ENSG1\tCYP3A4\tGene Expression\nENSG2\tHAL\tGene Expression\nENSG3\tHAL\tGene Expression\n")
    (matrices / "barcodes.tsv").write_text("\n".join(barcodes) + "\n")
    Image.new("RGB", (500, 400), "pink").save(tmp_path / "GSM1_GEX_C73_C1_Merged.tif")
    return tmp_path, counts, positions


def test_a_slice_is_read_by_barcode(folder):
    path, counts, positions = folder
    adata = bs.datasets.liver(path, "3")
    kept = (positions["t"] == 1).to_numpy()
    np.testing.assert_array_equal(adata.X.toarray(), counts.T[kept])
    np.testing.assert_allclose(adata.obsm["spatial"], positions.loc[kept, ["x", "y"]])
    assert adata.var_names.tolist() == ["CYP3A4", "HAL", "HAL-1"]
    assert adata.var["gene_ids"].tolist() == ["ENSG1", "ENSG2", "ENSG3"]
    assert adata.obs["library_id"].unique().tolist() == ["3"]
    factors = adata.uns["spatial"]["3"]["scalefactors"]
    assert factors["microns_per_pixel"] == pytest.approx(100 / 40, rel=1e-3)
    bs.pp.extract_patches(adata, size=32)
    assert adata.obsm["patches"].shape == (adata.n_obs, 32, 32, 3)


def test_the_folder_is_below_the_data_folder_or_is_asked_for(folder, monkeypatch):
    path, *_ = folder
    path.rename(path.parent / "liver")
    monkeypatch.setenv("BLEEP_SC_DATA", str(path.parent))
    assert bs.datasets.liver(slices="3").obs["library_id"].unique().tolist() == ["3"]
    monkeypatch.delenv("BLEEP_SC_DATA")
    with pytest.raises(FileNotFoundError, match=r"not downloaded.*pass it \(path=\), or set BLEEP_SC_DATA"):
        bs.datasets.liver()


def test_missing_and_mixed_up_files_are_named(folder):
    path, _, _ = folder
    with pytest.raises(FileNotFoundError, match=r"0 files below .* are called '1/matrix.mtx"):
        bs.datasets.liver(path)
    (path / "GSM1_GEX_C73_C1_Merged.tif").unlink()
    with pytest.raises(FileNotFoundError, match=r"0 files .*C73_C1_Merged.tif.*GEO has the images"):
        bs.datasets.liver(path, "3")
    (path / "data" / "filtered_expression_matrices" / "3" / "barcodes.tsv").write_text("A\nB\n")
    with pytest.raises(ValueError, match="do not belong together"):
        bs.datasets.liver(path, "3")
    with pytest.raises(ValueError, match="slices of '1', '2', '3', '4'"):
        bs.datasets.liver(path, "5")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        bs.datasets.liver(path / "none", "3")
