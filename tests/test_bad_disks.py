"""Disks that are full, and places where nothing may be written: refused with what to do, and nothing half-written."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from PIL import Image

import bleep_sc as bs
from bleep_sc import cli
from bleep_sc.slides import _store
from bleep_sc.tl._predictions import layers, record
from bleep_sc.training import features

pytestmark = pytest.mark.filterwarnings("ignore")  # what spatialdata, dask and zarr say of each other
CONFIG = bs.tl.FitConfig(max_epochs=3, views=("scaled",), n_dims=64, cross_fit=False)


@pytest.fixture
def disk(tmp_path):
    """A small disk, and a function that sets its size, or makes it read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
        return done.returncode == 0

    if not sys.platform.startswith("linux") or not mount("size=64k"):
        pytest.skip("a small disk cannot be mounted here: it takes Linux, and root")
    yield folder, lambda options: mount(f"remount,{options}")
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def _files(tmp_path_factory, _toy):
    folder = tmp_path_factory.mktemp("files")
    ref = _toy[_toy.obs["library_id"] == "slice1"].copy()
    bs.tl.fit(ref, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    del ref.obsm["patches"]
    ref.write_h5ad(folder / "ref.h5ad")
    query = _toy[_toy.obs["library_id"] == "slice3"][:160].copy()
    query.write_h5ad(folder / "query.h5ad")
    Image.fromarray(query.uns["spatial"]["slice3"]["images"]["hires"]).save(folder / "slide.png")
    (folder / "sheet.csv").write_text(f"slide,name\n{folder}/slide.png,a\n")
    return folder


@pytest.fixture
def files(_files, monkeypatch):
    """A reference, a query, its image and a sheet; what is written in parts is written in many."""
    for module, name, value in (
        (_store, "SHARD", 8),
        (features, "BLOCK", 8),
        (record, "SPOTS", 8),
        (layers, "SPOTS", 8),
        (record, "GENES", 60),
    ):
        monkeypatch.setattr(module, name, value)
    return _files


def extract(files, store):
    query = ad.read_h5ad(files / "query.h5ad")
    bs.pp.extract_patches(query, files / "slide.png", size=24, size_um=112, store=store)
    return np.asarray(query.obsm["patches"])


def describe(files, store):
    query = ad.read_h5ad(files / "query.h5ad")
    bs.pp.image_features(query, "stain_stats", store=store, show_progress_bar=False)
    return np.asarray(query.obsm["X_stain_stats"])


def predict(files, store):
    query = ad.read_h5ad(files / "query.h5ad")
    bs.tl.impute(query, ref=ad.read_h5ad(files / "ref.h5ad"), store=store)
    return np.asarray(query.layers["bleep"])


def fit(files, folder):
    ref = ad.read_h5ad(files / "ref.h5ad")
    bs.tl.fit(ref, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False, checkpoint_dir=folder)
    return ref.uns["bleep"]["model"]


def command(files, out):
    arguments = ["--sheet", files / "sheet.csv", "--ref", files / "ref.h5ad", "--out", out, "--genes", "HAL,GLUL"]
    result = CliRunner().invoke(cli.main, ["impute", *map(str, arguments), "--mpp", "2", "--spacing", "500"])
    if result.exit_code:
        raise OSError(result.output)
    return zarr.open_array(out / "a.zarr" / "tables" / "table" / "X", mode="r")[:]


WORKS = [extract, describe, predict, *(pytest.param(work, marks=pytest.mark.slow) for work in (fit, command))]


@pytest.mark.parametrize("n_sizes", [2, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("work", WORKS)
def test_a_full_disk_is_said_and_what_was_done_is_gone_on_from(files, disk, tmp_path, work, n_sizes):
    folder, change = disk
    expected = work(files, tmp_path / "elsewhere")
    needed = sum(path.stat().st_blocks * 512 for path in (tmp_path / "elsewhere").rglob("*"))
    n_refused = 0
    for number, size in enumerate(np.linspace(8192, 0.9 * needed, n_sizes, dtype=int)):
        assert change(f"size={size}")
        place, said = folder / f"place{number}", ""
        try:
            found = work(files, place)
        except OSError as error:
            said = str(error)
        if said:
            assert "The disk is full" in said
            assert "make room" in said.lower()
            assert not (place / "a.zarr" if work is command else place).exists() or work is fit
            assert change("size=1g")
            found = work(files, place)
            n_refused += 1
        np.testing.assert_array_equal(found, expected)
        assert change("size=1g")
        assert not [path.name for path in folder.rglob("*") if path.name.startswith(".bleep_sc")]
        subprocess.run(["rm", "-rf", place], check=True)
    assert n_refused >= n_sizes / 2


@pytest.mark.parametrize("work", WORKS)
def test_a_place_where_nothing_may_be_written_is_said(files, disk, work):
    folder, change = disk
    assert change("size=1g")
    if work in (extract, describe):
        expected = work(files, folder / "done")
    assert change("ro")
    with pytest.raises(OSError, match=r"cannot be written to \(Read-only file system\)\. Pass a path elsewhere"):
        work(files, folder / "place")
    if work in (extract, describe):
        np.testing.assert_array_equal(work(files, folder / "done"), expected)  # what is done is only read
    assert change("rw")
    assert [path.name for path in folder.iterdir()] in ([], ["done"])
