import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc.models.fitted import some


def lines(model):
    head, *facts = repr(model).splitlines()
    assert head == "FittedModel"
    return dict(line.strip().split(": ", 1) for line in facts)


def test_what_fit_left_behind_can_be_read(fitted):
    facts = lines(bs.tl.load_model(fitted))
    r = fitted.var["bleep_predictability"].dropna()
    counts = fitted.obs["library_id"].value_counts()
    assert facts["method"] == "BLEEP"
    assert facts["settings"] == "FitConfig() with max_epochs=60"
    assert facts["images"] == "X_stain_stats (stain_stats, frozen, on patches of 56 px showing 112 µm)"
    assert facts["expression"] == "X, log1p of counts per 10,000"
    assert facts["slides"] == f"2 with {fitted.n_obs} spots: slice1 ({counts['slice1']}), slice2 ({counts['slice2']})"
    assert facts["genes"].startswith(f"{len(r)}: ")
    assert facts["held out"].startswith(
        "other slides; whose they are was not told: "
        f"median Pearson r {r.median():.2f} over {len(r)} genes; best {r.idxmax()} ("
    )
    assert facts["fitted"] == f"with bleep_sc {bs.__version__}"


def test_notebooks_see_a_table(fitted):
    page = bs.tl.load_model(fitted)._repr_html_()
    assert "<th>settings</th><td>FitConfig() with max_epochs=60</td>" in page


def test_it_survives_a_folder_and_a_file(fitted, tmp_path):
    model = bs.tl.load_model(fitted)
    bs.tl.save_model(fitted, tmp_path / "model")
    assert repr(bs.tl.load_model(tmp_path / "model")) == repr(model)
    import anndata as ad

    fitted.write_h5ad(tmp_path / "ref.h5ad")
    assert repr(bs.tl.load_model(ad.read_h5ad(tmp_path / "ref.h5ad"))) == repr(model)


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_every_method_has_one(toy):
    one = toy[toy.obs["library_id"] == "slice1"].copy()
    bs.tl.fit_ridge(one, use_rep="X_stain_stats")
    bs.tl.fit_stnet(
        one,
        use_rep="X_stain_stats",
        config=bs.tl.StNetConfig(learning_rates=(1e-3,), max_epochs=1),
        show_progress_bar=False,
    )
    bs.tl.fit_histogene(one, config=bs.tl.HisToGeneConfig(n_dims=16, max_epochs=1), show_progress_bar=False)
    bs.tl.fit(one, encoder="stain_stats", config=bs.tl.FitConfig(max_epochs=1), show_progress_bar=False)
    facts = {key: lines(bs.tl.load_model(one, key)) for key in ("ridge", "stnet", "histogene", "bleep")}
    assert "settings" not in facts["ridge"]
    assert facts["stnet"]["settings"] == "StNetConfig() with learning_rates=(0.001,), max_epochs=1"
    assert facts["histogene"]["images"] == "pixels of patches of 56 px showing 112 µm"
    assert facts["bleep"]["images"] == "stain_stats, frozen, on patches of 56 px showing 112 µm"
    assert facts["bleep"]["held out"].startswith("other parts of the same slide")
    assert {each["slides"] for each in facts.values()} == {f"1 with {one.n_obs} spots: slice1 ({one.n_obs})"}


def test_features_of_other_software_and_trained_encoders_are_named(reference):
    reference.obsm["X_uni"] = np.random.default_rng(0).normal(size=(reference.n_obs, 8)).astype(np.float32)
    quick = bs.tl.FitConfig(max_epochs=1, cross_fit=False)
    bs.tl.fit(reference, use_rep=["X_uni", "X_stain_stats"], config=quick, show_progress_bar=False)
    assert lines(bs.tl.load_model(reference))["images"].startswith(
        "X_uni (made elsewhere); X_stain_stats (stain_stats, "
    )
    architecture = {"encoder": "resnet50"}
    recipe = {"patches_key": "patches", "size": 224, "size_um": float("nan"), "encoder": "resnet50", "fingerprint": ""}
    from bleep_sc.models.fitted import Description, images_of

    trained = Description("bleep", architecture, ["A"], recipe)
    assert images_of(trained) == "resnet50, trained with the model, on patches of 224 px"


def test_lists_are_cut_short():
    assert some(list("ABCDE")) == "A, B, C, D, E"
    assert some(list("ABCDEFG")) == "A, B, C, D, E and 2 more"
