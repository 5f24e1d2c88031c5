"""``bleep-sc prepare``, and on from there: ``fit`` and ``impute``, by the command line alone."""

import json
import logging
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from bleep_sc import cli
from bleep_sc._output.locks import held

pytestmark = pytest.mark.filterwarnings("ignore")  # what spatialdata, dask and zarr say of each other


def run(*arguments):
    return CliRunner().invoke(cli.main, list(map(str, arguments)))


@pytest.fixture
def slides(visium_slides):
    """The three slides, with every third spot under the tissue."""
    for name in ("A1", "B1", "C1"):
        path = visium_slides / name / "outs" / "spatial" / "tissue_positions.csv"
        table = pd.read_csv(path)
        table["in_tissue"] = table["in_tissue"].where(table["array_row"] % 4 == 0, 0)
        table.to_csv(path, index=False)
    return visium_slides


def prepare(*arguments):
    return run("prepare", *arguments, "--encoder", "stain_stats", "--n-top-genes", 40, "--min-spots", 3)


def test_genes_are_named_with_commas(slides):
    ref = slides / "ref.h5ad"
    result = prepare(slides / "A1", "--out", ref, "--genes", "none-such, CYP3A4")
    assert result.exit_code == 1
    assert "--genes names 'none-such', which no slide has." in result.output
    assert not ref.exists()
    chosen = ("--genes", "CYP3A4", "--n-top-genes", 0, "--min-spots", 3, "--encoder", "none")
    result = run("prepare", slides / "A1", "--out", ref, *chosen)
    assert result.exit_code == 0, result.output
    table = ad.read_h5ad(ref).var
    assert table.index[table["highly_variable"]].tolist() == ["CYP3A4"]


def test_from_the_folders_to_the_page(slides, caplog):
    """Nothing but commands: two slides are fitted, and a third is read off its image, and at its measured spots."""
    caplog.set_level(logging.INFO, logger="bleep_sc")
    ref, query = slides / "ref.h5ad", slides / "query.h5ad"
    result = prepare(slides / "A1", slides / "B1", "--out", ref, "--donor", "A1=P1", "--donor", "B1=P2")
    assert result.exit_code == 0, result.output
    assert caplog.text.count("lattice fit, Visium pitch 100 µm") == 2
    assert "ref.h5ad and " in result.output
    assert Image.open(slides / "ref.png").size[1] > 700
    assert ref.stat().st_size < 5e6  # patches are not in it
    result = run("fit", ref, "--set", "max_epochs=1", "--overwrite")
    assert result.exit_code == 0, result.output
    assert "Image features are those of obsm['X_stain_stats'], as prepared." in caplog.text
    assert "was not told" not in caplog.text
    assert "Predicted of other donors: median Pearson r" in result.output
    assert f"Next: bleep-sc impute SLIDE --ref {ref} --out slide.zarr" in result.output
    fitted = ad.read_h5ad(ref)
    assert json.loads(fitted.uns["bleep"]["params"])["donors"] == {"A1": "P1", "B1": "P2"}
    assert len(fitted.uns["bleep"]["genes"]) == fitted.var["highly_variable"].sum()
    scan = slides / "C1" / "scan.tif"
    result = run("impute", scan, "--ref", ref, "--mpp", 1.25, "--spacing", 300, "--out", slides / "image.zarr")
    assert result.exit_code == 0, result.output
    result = prepare(slides / "C1", "--out", query, "--min-counts", 0)
    assert result.exit_code == 0, result.output
    result = run("impute", query, "--ref", ref, "--out", slides / "spots.zarr")
    assert result.exit_code == 0, result.output
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spatialdata

        table = spatialdata.read_zarr(slides / "spots.zarr").tables["table"]
    spots = ad.read_h5ad(query)
    assert table.n_obs == spots.n_obs
    assert set(table.var_names) == set(fitted.uns["bleep"]["genes"])
    assert {"image.html", "spots.html", "spots.png"} <= {path.name for path in slides.iterdir()}
    # What was measured has no part in it.
    spots.X = spots.X * 0
    spots.layers["counts"] = spots.layers["counts"] * 0
    spots.write_h5ad(query)
    assert run("impute", query, "--ref", ref, "--out", slides / "again.zarr").exit_code == 0
    again = spatialdata.read_zarr(slides / "again.zarr").tables["table"]
    np.testing.assert_array_equal(again.X, table.X)


def test_a_sheet_of_folders(slides):
    (slides / "elsewhere").mkdir()
    (slides / "B1" / "scan.tif").rename(slides / "elsewhere" / "he.tif")
    lines = ["Folder;Name;Image;Donor;note", "A1;first;;P1;x", "B1/outs;;elsewhere/he.tif;P2;"]
    (slides / "sheet.csv").write_text("\n".join(lines), encoding="utf-8")
    result = run("prepare", "--sheet", slides / "sheet.csv", "--out", slides / "ref.h5ad", "--encoder", "none")
    assert result.exit_code == 0, result.output
    adata = ad.read_h5ad(slides / "ref.h5ad")
    assert adata.obs.groupby("library_id", observed=True)["donor"].first().to_dict() == {"first": "P1", "B1": "P2"}
    assert adata.uns["patches"]["B1"]["image"].endswith("he.tif")
    (slides / "sheet.csv").write_text("folder,image\nA1,nowhere.tif\n,\nX1,\n", encoding="utf-8")
    result = run("prepare", "--sheet", slides / "sheet.csv", "--out", slides / "other.h5ad")
    assert result.exit_code == 2
    assert "image 'nowhere.tif', which is not there (line 2)" in result.output
    assert "folder 'X1', which is not there" in result.output


def test_what_fails_writes_nothing(slides):
    (slides / "A1" / "scan.tif").unlink()
    before = {path.name for path in slides.iterdir()}
    result = prepare(slides / "A1", "--out", slides / "ref.h5ad")
    assert result.exit_code == 1
    assert "No full-resolution image of slide 'A1'" in result.output
    assert "--image A1=FILE" in result.output
    assert {path.name for path in slides.iterdir()} == before


def test_what_is_there_is_not_lost(slides):
    out = slides / "ref.h5ad"
    (slides / "ref.png").write_text("mine")
    assert "ref.png exists already. Pass another --out, or --overwrite" in prepare(slides / "A1", "--out", out).output
    out.write_text("mine")
    result = prepare(out, "--out", out, "--overwrite")
    assert "would replace" in result.output
    (slides / "ref.png").unlink()
    out.unlink()
    with held(out):
        result = prepare(slides / "A1", "--out", out)
    assert "is being written by" in result.output
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Pass folders, or a sheet of them"),
        (["A1", "B1", "--name", "one"], "1 names for 2 folders"),
        (["A1", "B1", "--name", "one", "--name", "one"], "several slides are called one"),
        (["A1", "--image", "nowhere.tif"], "there is no file 'nowhere.tif'"),
        (["A1", "B1", "--image", "A1=x", "--image", "y"], "'y' is no NAME=FILE"),
        (["A1", "--alignment", "nowhere.json"], "there is no file 'nowhere.json'"),
        (["A1", "--donor", "P1"], "'P1' is no NAME=DONOR"),
        (["A1", "--bin", "many"], "'many' is no number of µm, nor auto"),
    ],
)
def test_options_that_are_wrong(options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("A1", "B1"):
        Path(name).mkdir()
    result = run("prepare", *options, "--out", "ref.h5ad")
    assert result.exit_code == 2
    assert said in result.output
    assert not Path("ref.h5ad").exists()


def test_several_slides_are_no_query(slides):
    both = slides / "both.h5ad"
    assert run("prepare", slides / "A1", slides / "B1", "--out", both, "--encoder", "stain_stats").exit_code == 0
    assert run("fit", both, "--set", "max_epochs=1", "--set", "cross_fit=false", "--overwrite").exit_code == 0
    result = run("impute", both, "--ref", both, "--out", slides / "out.zarr")
    assert result.exit_code == 1
    assert "both.h5ad holds 2 slides ('A1', 'B1'), and one is predicted at a time" in result.output
