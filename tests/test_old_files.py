"""What earlier versions left is read, and says what it said, or is refused with the call that makes it anew."""

import json
import shutil
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc.tl._models.in_uns import preset_of

ARCHIVES = sorted((Path(__file__).parent / "old").glob("*.tar.xz"))
VERSIONS = [path.name.removesuffix(".tar.xz") for path in ARCHIVES]
FOREIGN = "ignore:.* looks unlike the reference"  # of a few spots


@pytest.fixture(scope="module", params=VERSIONS)
def old(request, tmp_path_factory):
    """The folder that ``tests/old/write.py`` wrote with a version."""
    folder = tmp_path_factory.mktemp(request.param) / request.param
    shutil.unpack_archive(Path(__file__).parent / "old" / f"{request.param}.tar.xz", folder, filter="data")
    return folder


@pytest.fixture
def ref(old):
    return ad.read_h5ad(old / "reference.h5ad")


@pytest.fixture
def prediction(old):
    return ad.read_h5ad(old / "prediction.h5ad")


def bare(prediction):
    """The slide as it was before it was predicted."""
    slide = ad.AnnData(
        prediction.X, obs=prediction.obs[["library_id", "array_row", "array_col"]], var=prediction.var[[]]
    )
    for slot, names in {
        "obsm": ("X_stain_stats", "spatial"),
        "uns": ("X_stain_stats", "patches", "spatial", "log1p"),
    }.items():
        getattr(slide, slot).update({name: getattr(prediction, slot)[name] for name in names})
    return slide


def test_there_are_files_of_every_version():
    assert "0.1.0" in VERSIONS


@pytest.mark.filterwarnings(FOREIGN)
@pytest.mark.parametrize("kind", ["reference", "shared"])
def test_a_reference_predicts_what_it_predicted(old, ref, prediction, kind):
    given = ref if kind == "reference" else bs.tl.load_reference(old / "shared")
    query = bare(prediction)
    bs.tl.impute(query, ref=given, interval=0.9)
    for name in ("bleep_retrieved", "bleep", "bleep_lower", "bleep_upper"):
        np.testing.assert_allclose(query.layers[name], prediction.layers[name], atol=1e-4, err_msg=name)
    np.testing.assert_allclose(query.obs["bleep_confidence"], prediction.obs["bleep_confidence"], atol=1e-4)
    model = bs.tl.load_model(given)
    assert model.description.version == old.name
    assert old.name in repr(model)


def test_a_regression_predicts_what_it_predicted(ref, prediction):
    query = bare(prediction)
    bs.tl.predict(query, ref=ref, key="ridge")
    np.testing.assert_allclose(query.layers["ridge"], prediction.layers["ridge"], atol=1e-4)


def test_a_shared_folder_passes_the_check(old):
    table = bs.tl.check_reference(old / "shared")
    assert table.index[table["verdict"] == "bad"].tolist() == []


@pytest.mark.filterwarnings(FOREIGN, "ignore:.* find themselves")
def test_a_reference_can_be_shared_and_grow(ref, prediction, tmp_path):
    other = bare(prediction)
    bs.tl.embed(other, ref, expression=True)
    bs.tl.impute(bare(prediction), ref=[ref, other])
    bs.tl.share_reference(ref, tmp_path / "again")
    assert bs.tl.load_reference(tmp_path / "again").shape == ref.shape


def test_a_prediction_is_scored_drawn_and_taken_elsewhere(prediction, ref, tmp_path):
    bs.tl.score(prediction)
    bs.tl.gene_correlation(prediction)
    bs.tl.restore_variance(prediction, ref)
    bs.tl.pseudobulk(prediction, sample_key="library_id", min_predictability=None)
    bs.tl.to_geojson(prediction, tmp_path / "slide.geojson", genes=prediction.var_names[0])
    predicted = bs.tl.to_anndata(prediction)
    np.testing.assert_array_equal(predicted.X, prediction[:, predicted.var_names].layers["bleep"])
    bs.io.write_page(prediction, tmp_path / "slide.html")
    assert (tmp_path / "slide.html").stat().st_size > 100_000


def test_the_default_of_0_1_is_still_there(ref):
    """Field by field; random numbers are drawn in another order, so that models differ as those of two seeds."""
    model = bs.tl.load_model(ref).description
    if model.version != "0.1.0":
        pytest.skip("about 0.1.0")
    then, now = model.config, asdict(replace(bs.tl.FitConfig.v0_1(), n_dims=4, max_epochs=2))
    assert {name: value for name, value in then.items() if name in now} == {
        name: now[name] for name in then if name in now
    }
    gone = {name: value for name, value in then.items() if name not in now}
    assert gone == {"standardize": True, "weights": "uniform", "softmax_temperature": 0.1}
    since = {name: value for name, value in now.items() if name not in then}
    before = {"soft_targets": True, "validation_fraction": 0.0, "neighbor_weights": "uniform", "smoothing_um": 0.0}
    assert since == {"views": ("scaled",), **before}
    assert preset_of("bleep", asdict(bs.tl.FitConfig.v0_1())) == "FitConfig.v0_1()"


def test_other_weights_of_0_1_are_refused_with_what_to_do(ref, prediction):
    ref.uns["bleep"].pop("checksum", None)
    config = json.loads(ref.uns["bleep"]["config"])
    ref.uns["bleep"]["config"] = json.dumps({**config, "weights": "softmax", "softmax_temperature": 0.1})
    with warnings.catch_warnings(), pytest.raises(ValueError, match=r"[Ff]it .*again"):
        bs.tl.impute(bare(prediction), ref=ref)
