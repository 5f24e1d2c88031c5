import warnings
from dataclasses import replace

import anndata as ad
import numpy as np
import pytest

import bleep_sc as bs
from bleep_sc.tl import Hist2STConfig

QUICK = Hist2STConfig(
    n_channels=8, n_mixers=1, n_layers=1, n_graph_layers=2, n_heads=1, distillation_weight=0, max_epochs=2
)


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
    return bs.tl.fit_hist2st(adata, config=config, show_progress_bar=False, **kwargs)


def predicted(adata, ref):
    return bs.tl.predict(adata, ref=ref, key="hist2st", copy=True).layers["hist2st"]


def weights(ref):
    return bs.tl.load_model(ref, "hist2st").to_bytes()


def snapshot(adata):
    return set(adata.obsm), set(adata.uns), set(adata.layers), set(adata.var), set(adata.obs)


@pytest.mark.filterwarnings("ignore:Slide .* is in the query and in the reference:UserWarning")
@pytest.mark.parametrize("max_spots", [None, 60])
def test_the_order_of_the_spots_does_not_matter(reference, toy, max_spots):
    fit(reference, replace(QUICK, max_spots=max_spots))
    expected = predicted(toy, reference)  # three sections at once
    order = np.random.default_rng(0).permutation(toy.n_obs)
    np.testing.assert_allclose(predicted(toy[order].copy(), reference), expected[order], atol=1e-5)
    alone = (toy.obs["library_id"] == "slice2").to_numpy()
    np.testing.assert_allclose(predicted(toy[alone].copy(), reference), expected[alone], atol=1e-5)


def test_it_is_trained_on_the_counts_of_its_genes(reference):
    """On those alone, gene by gene, and says whether it was."""
    fit(reference)
    with_counts = weights(reference)
    assert bs.tl.load_model(reference, "hist2st").description.params["zinb"] is True
    fit(reference, replace(QUICK, zinb_weight=0))
    without = weights(reference)
    assert bs.tl.load_model(reference, "hist2st").description.params["zinb"] is False
    assert with_counts != without
    own = reference.var["highly_variable"].to_numpy()
    counts = reference.layers["counts"].tolil()
    counts[:, ~own] = 3
    reference.layers["counts"] = counts.tocsr()
    fit(reference)
    assert weights(reference) == with_counts
    counts[:, own] = counts[:, own][:, ::-1]
    reference.layers["counts"] = counts.tocsr()
    fit(reference)
    assert weights(reference) != with_counts
    reference.layers["counts"] = reference.X.copy()  # none
    with pytest.warns(UserWarning, match=r"layers\['counts'\] does not hold those of its genes"):
        fit(reference)
    assert weights(reference) == without
    del reference.layers["counts"]
    with pytest.warns(UserWarning, match=r"layers\['counts'\] does not hold those of its genes"):
        fit(reference)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(reference, replace(QUICK, zinb_weight=0))
    assert weights(reference) == without


def test_corrected_expression_is_learnt_with_the_counts_of_its_genes(reference):
    own = reference.var["highly_variable"].to_numpy()
    reference.obsm["X_harmony"] = reference[:, own].X.toarray()
    reference.uns["X_harmony"] = {"var_names": reference.var_names[own].tolist()}
    fit(reference)
    expected = weights(reference)
    fit(reference, target_rep="X_harmony")
    assert weights(reference) == expected
    reference.uns["X_harmony"] = {}
    with pytest.warns(UserWarning, match="without the likelihood of raw counts"):
        fit(reference, target_rep="X_harmony")


def test_a_file_gives_the_same_predictions(reference, query, tmp_path):
    fit(reference)
    reference.write_h5ad(tmp_path / "ref.h5ad")
    results = [predicted(query, ref) for ref in (reference, ad.read_h5ad(tmp_path / "ref.h5ad"))]
    np.testing.assert_array_equal(*results)
    model = bs.tl.load_model(reference, "hist2st")
    bs.tl.save_model(reference, tmp_path / "mine", "hist2st")
    again = bs.tl.load_model(tmp_path / "mine")
    assert again.description == model.description
    assert again.to_bytes() == model.to_bytes()


def test_the_tables_grow_with_the_array_and_end_there(reference, query):
    reference.obs["array_col"] += 90
    fit(reference)
    architecture = bs.tl.load_model(reference, "hist2st").description.architecture
    assert architecture["n_positions"] == reference.obs["array_col"].max() + 1 > 100
    query.obs["array_col"] += 95
    last = query.obs["array_col"].max()
    message = rf"obs\['array_col'\] up to {last}, but the model .* Hist2STConfig\(n_positions={last + 1}\)"
    with pytest.raises(ValueError, match=message):
        bs.tl.predict(query, ref=reference, key="hist2st")


def test_a_query_needs_places_and_patches_like_those(reference, query):
    fit(reference)
    small = query.copy()
    small.obsm["patches"] = small.obsm["patches"][:, :20, :20]
    with pytest.raises(ValueError, match="The patches are 20 px wide, but the model was trained on 28 px"):
        bs.tl.predict(small, ref=reference, key="hist2st")
    del query.obsm["spatial"]
    with pytest.raises(KeyError, match=r"obsm\['spatial'\] not found"):
        bs.tl.predict(query, ref=reference, key="hist2st")
    assert "hist2st" not in query.layers


def test_copy_and_key_added(reference):
    before = snapshot(reference)
    fitted = fit(reference, key_added="mine", copy=True)
    assert snapshot(reference) == before
    assert set(fitted.uns) - set(reference.uns) == {"mine"}


@pytest.mark.parametrize(
    ("change", "kwargs", "error", "message"),
    [
        (lambda a: a.obsm.pop("patches"), {}, KeyError, r"obsm\['patches'\] not found .*extract_patches"),
        (lambda a: a.obsm.pop("spatial"), {}, KeyError, r"obsm\['spatial'\] not found"),
        (lambda a: a.obs.pop("array_col"), {}, KeyError, r"obs\['array_col'\] not found .*Number the rows"),
        (lambda a: None, {"layer": "counts"}, ValueError, "looks like counts"),
        (lambda a: None, {"library_key": "slide"}, KeyError, r"obs\['slide'\] not found"),
        (lambda a: None, {"config": replace(QUICK, tile_size=29)}, ValueError, "tile_size=29 is more than the 28 px"),
        (lambda a: None, {"config": replace(QUICK, learning_rate=1e30)}, ValueError, "pass a smaller one"),
    ],
)
def test_bad_input_leaves_the_adata_as_it_was(reference, change, kwargs, error, message):
    change(reference)
    before = snapshot(reference)
    with pytest.raises(error, match=message):
        fit(reference, **kwargs)
    assert snapshot(reference) == before
