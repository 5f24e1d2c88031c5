"""A folder of Xenium becomes spots whose sums are those of a slow count, whatever way its H&E lies."""

import shutil

import numpy as np
import pandas as pd
import pytest

import bleep_sc as bs
from bleep_sc.io._sources import xenium as source


def slow(places, weights, spots, side):
    """Sum what lies in every square, one after the other."""
    result = np.zeros((spots.n_obs, weights.shape[1]))
    for i, (x, y) in enumerate(spots.obsm["spatial"]):
        inside = (np.abs(places[:, 0] - x) <= side / 2) & (np.abs(places[:, 1] - y) <= side / 2)
        result[i] = weights[inside].sum(axis=0)
    return result


@pytest.fixture
def folder(xenium, tmp_path):
    return shutil.copytree(xenium, tmp_path / "lobe")


def test_transcripts_are_summed_as_a_slow_count_does(xenium):
    spots, truth = source.read(xenium), np.load(xenium / "truth.npz")
    side = spots.uns["spatial"]["toy_lobe"]["scalefactors"]["spot_diameter_fullres"]
    assert side == pytest.approx(55 / 1.25)
    one_hot = np.eye(spots.n_vars)[truth["of_gene"]]
    np.testing.assert_array_equal(spots.X.toarray(), slow(truth["molecules"], one_hot, spots, side))
    n_cells = slow(truth["cells"], np.ones((len(truth["cells"]), 1)), spots, side).ravel()
    np.testing.assert_array_equal(spots.obs["n_cells"], n_cells)
    assert spots.n_obs > 200
    assert spots.X.sum(axis=1).min() >= 50


def test_cells_are_summed_where_there_are_no_transcripts(folder):
    (folder / "outs" / "transcripts.parquet").unlink()
    spots, truth = source.read(folder, spot_um=100.0), np.load(folder / "truth.npz")
    side = spots.uns["spatial"]["toy_lobe"]["scalefactors"]["spot_diameter_fullres"]
    np.testing.assert_array_equal(spots.X.toarray(), slow(truth["cells"], truth["counts"], spots, side))


def test_scale_and_place_of_the_image_are_those_of_the_alignment(xenium):
    spots = source.read(xenium)
    library = spots.uns["spatial"]["toy_lobe"]
    assert library["scalefactors"]["microns_per_pixel"] == pytest.approx(1.25)
    assert library["metadata"]["source_image_path"] == str((xenium / "outs" / "toy_he_image.ome.tif").resolve())
    assert library["metadata"]["technology"] == "Xenium, toy panel"
    bs.pp.extract_patches(spots, size=16, size_um=112)
    assert spots.uns["patches"]["toy_lobe"]["mpp"] == pytest.approx(1.25)
    assert source.recognises(xenium)
    assert source.recognises(xenium / "outs")
    assert not source.recognises(xenium.parent)


def test_order_and_bytes_of_version_1_change_nothing(folder):
    before = source.read(folder)
    path = folder / "outs" / "transcripts.parquet"
    table = pd.read_parquet(path).sample(frac=1, random_state=5)
    for column in ("feature_name", "cell_id"):
        table[column] = table[column].str.encode("utf-8")
    table.to_parquet(path, index=False)
    cells = pd.read_parquet(folder / "outs" / "cells.parquet").sample(frac=1, random_state=5)
    (folder / "outs" / "cells.parquet").unlink()
    cells.to_csv(folder / "outs" / "cells.csv.gz", index=False)
    after = source.read(folder)
    np.testing.assert_array_equal(before.X.toarray(), after.X.toarray())
    assert before.obs.equals(after.obs)


def test_without_alignment_or_he_it_stops_and_says_what_to_do(folder):
    shutil.move(folder / "outs" / "toy_he_imagealignment.csv", folder.parent / "elsewhere.csv")
    with pytest.raises(FileNotFoundError, match=r"Align it in Xenium Explorer.*toy_he_imagealignment\.csv"):
        source.read(folder)
    np.savetxt(folder / "outs" / "toy_he_imagealignment.csv", np.eye(2), delimiter=",")
    with pytest.raises(ValueError, match="2 × 2 numbers; an alignment has 3 × 3"):
        source.read(folder)
    shutil.move(folder / "outs" / "toy_he_image.ome.tif", folder.parent / "scan.tif")
    with pytest.raises(FileNotFoundError, match=r"No H&E of slide 'toy_lobe'.*--image toy_lobe=FILE"):
        source.read(folder)


def test_an_image_that_is_given_takes_the_alignment_of_the_folder(folder):
    before = source.read(folder)
    scan = shutil.move(folder / "outs" / "toy_he_image.ome.tif", folder.parent / "scan.tif")
    after = source.read(folder, name="A1", image=scan)
    np.testing.assert_array_equal(before.X.toarray(), after.X.toarray())
    assert after.obs["library_id"].unique().tolist() == ["A1"]


def test_an_alignment_that_is_of_another_image_is_told(folder):
    stretched = np.loadtxt(folder / "outs" / "toy_he_imagealignment.csv", delimiter=",") @ np.diag([1.0, 1.1, 1.0])
    np.savetxt(folder / "outs" / "toy_he_imagealignment.csv", stretched, delimiter=",")
    with pytest.warns(UserWarning, match="stretches the H&E by 1.100 one way"):
        source.read(folder)
