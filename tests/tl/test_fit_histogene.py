from dataclasses import replace

import anndata as ad
import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc.tl import HisToGeneConfig

QUICK = HisToGeneConfig(n_dims=16, n_layers=1, n_heads=2, max_epochs=2)


@pytest.fixture
def _coarse(toy):
    """Patches of 28 px: every second pixel."""
    toy.obsm["patches"] = np.ascontiguousarray(toy.obsm["patches"][:, ::2, ::2])


@pytest.fixture
def reference(_coarse, toy):
    ref = toy[toy.obs["library_id"] != "slice3"].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    return ref


@pytest.fixture
def query(_coarse, toy):
    return toy[toy.obs["library_id"] == "slice3"].copy()


def fit(adata, config=QUICK, **kwargs):
    return bs.tl.fit_histogene(adata, config=config, show_progress_bar=False, **kwargs)


def snapshot(adata):
    return set(adata.obsm), set(adata.uns), set(adata.layers), set(adata.var), set(adata.obs)


def test_it_finds_zonation_on_a_section_that_it_never_saw(reference, query):
    """From pixels and two sections: r is .43 to .49 over seeds; .3 is four and a half standard errors of 230 spots.

    The place alone cannot reach it, since every section has lobules of its own: with the patches of other spots there
    is nothing left.
    """
    fit(reference, HisToGeneConfig(n_dims=128, learning_rate=2e-3))
    bs.tl.predict(query, ref=reference, key="histogene")
    bs.tl.score(query, "histogene")
    assert query.var.loc["CYP3A4", "histogene_pearson"] > 0.3
    assert query.uns["histogene_imputed"]["method"] == "histogene"
    assert query.uns["histogene_imputed"]["target_sum"] == 10000.0
    elsewhere = np.random.default_rng(0).permutation(query.n_obs)
    query.obsm["patches"] = query.obsm["patches"][elsewhere]
    bs.tl.predict(query, ref=reference, key="histogene")
    bs.tl.score(query, "histogene")
    assert abs(query.var.loc["CYP3A4", "histogene_pearson"]) < 0.2


@pytest.mark.filterwarnings("ignore:Slide .* is in the query and in the reference:UserWarning")
@pytest.mark.parametrize("max_spots", [None, 60])
def test_the_order_of_the_spots_does_not_matter(reference, toy, max_spots):
    fit(reference, HisToGeneConfig(n_dims=16, n_layers=1, n_heads=2, max_epochs=2, max_spots=max_spots))
    bs.tl.predict(toy, ref=reference, key="histogene")  # three sections at once
    order = np.random.default_rng(0).permutation(toy.n_obs)
    shuffled = toy[order].copy()
    bs.tl.predict(shuffled, ref=reference, key="histogene")
    np.testing.assert_allclose(shuffled.layers["histogene"], toy.layers["histogene"][order], atol=1e-5)
    alone = toy[toy.obs["library_id"] == "slice2"].copy()
    before = alone.layers.pop("histogene")
    bs.tl.predict(alone, ref=reference, key="histogene")
    np.testing.assert_allclose(alone.layers["histogene"], before, atol=1e-5)


def test_positions_are_read_and_rounded(reference, query):
    fit(reference)
    expected = bs.tl.predict(query, ref=reference, key="histogene", copy=True).layers["histogene"]
    query.obs["array_row"] = query.obs["array_row"] + 0.3  # as original ST has them
    rounded = bs.tl.predict(query, ref=reference, key="histogene", copy=True).layers["histogene"]
    np.testing.assert_array_equal(rounded, expected)
    query.obs["array_row"] = query.obs["array_row"] + 1
    moved = bs.tl.predict(query, ref=reference, key="histogene", copy=True).layers["histogene"]
    assert not np.allclose(moved, expected, atol=1e-3)


def test_a_file_gives_the_same_predictions(reference, query, tmp_path):
    fit(reference)
    reference.write_h5ad(tmp_path / "ref.h5ad")
    results = [
        bs.tl.predict(query, ref=ref, key="histogene", copy=True).layers["histogene"]
        for ref in (reference, ad.read_h5ad(tmp_path / "ref.h5ad"))
    ]
    np.testing.assert_array_equal(*results)
    model = bs.tl.load_model(reference, "histogene")
    bs.tl.save_model(reference, tmp_path / "mine", "histogene")
    assert bs.tl.load_model(tmp_path / "mine").description == model.description


def test_the_tables_grow_with_the_array_and_end_there(reference, query):
    reference.obs["array_col"] += 90
    fit(reference)
    architecture = bs.tl.load_model(reference, "histogene").description.architecture
    assert architecture["n_positions"] == reference.obs["array_col"].max() + 1 > 100
    query.obs["array_col"] += 95
    last = query.obs["array_col"].max()
    message = rf"obs\['array_col'\] up to {last}, but the model .* HisToGeneConfig\(n_positions={last + 1}\)"
    with pytest.raises(ValueError, match=message):
        bs.tl.predict(query, ref=reference, key="histogene")
    assert "histogene" not in query.layers


def test_other_patches_are_refused(reference, query):
    fit(reference)
    query.obsm["patches"] = query.obsm["patches"][:, :20, :20]
    with pytest.raises(ValueError, match="The patches are 20 px wide, but the model was trained on 28 px"):
        bs.tl.predict(query, ref=reference, key="histogene")
    del query.obs["array_row"]
    with pytest.raises(KeyError, match=r"obs\['array_row'\] not found .*Number the rows and columns"):
        bs.tl.predict(query, ref=reference, key="histogene")


def test_copy_and_key_added(reference):
    before = snapshot(reference)
    fitted = fit(reference, key_added="mine", copy=True)
    assert snapshot(reference) == before
    assert set(fitted.uns) - set(reference.uns) == {"mine"}


@pytest.mark.parametrize(
    ("change", "kwargs", "error", "message"),
    [
        (lambda a: a.obsm.pop("patches"), {}, KeyError, r"obsm\['patches'\] not found .*extract_patches"),
        (lambda a: a.obs.pop("array_col"), {}, KeyError, r"obs\['array_col'\] not found .*Number the rows"),
        (lambda a: a.obs.insert(0, "array_row", a.obs.pop("array_row") - 5), {}, ValueError, r"least: -[1-5].*from 0"),
        (
            lambda a: a.obs.insert(0, "array_row", a.obs.pop("array_row") / np.nan),
            {},
            ValueError,
            "missing or negative",
        ),
        (lambda a: None, {"layer": "counts"}, ValueError, "looks like counts"),
        (lambda a: None, {"target_rep": "X_harmony"}, KeyError, r"obsm\['X_harmony'\] not found"),
        (lambda a: None, {"library_key": "slide"}, KeyError, r"obs\['slide'\] not found"),
        (lambda a: None, {"config": replace(QUICK, learning_rate=1e30)}, ValueError, "pass a smaller one"),
    ],
)
def test_bad_input_leaves_the_adata_as_it_was(reference, change, kwargs, error, message):
    change(reference)
    before = snapshot(reference)
    with pytest.raises(error, match=message):
        fit(reference, **kwargs)
    assert snapshot(reference) == before
