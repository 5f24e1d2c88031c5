"""Parts of a reference that do not belong together are refused; whole references and honest parts of them are not."""

import json
import warnings

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import bleep_sc as bs

CONFIG = bs.tl.FitConfig(max_epochs=3, n_dims=32, views=("scaled",) * 2)
APART = r"is not what uns\['bleep'\] makes of"


@pytest.fixture(scope="module")
def _apart(_toy):
    """Two slides, each fitted alone on the same panel, and a query."""
    parts = [_toy[_toy.obs["library_id"] == f"slice{i}"].copy() for i in (1, 2, 3)]
    for seed, part in enumerate(parts[:2]):
        bs.pp.select_genes(part, genes=part.var_names[:40].tolist(), n_top_genes=0)
        bs.tl.fit(part, use_rep="X_stain_stats", config=CONFIG, random_state=seed, show_progress_bar=False)
    return parts


@pytest.fixture
def apart(_apart):
    return [part.copy() for part in _apart]


@pytest.fixture(scope="module")
def _quick(_toy):
    """Two slides in one reference, quickly fitted."""
    ref = _toy[_toy.obs["library_id"] != "slice3"].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=40)
    bs.tl.fit(ref, use_rep="X_stain_stats", config=CONFIG, show_progress_bar=False)
    return ref


@pytest.fixture
def quick(_quick):
    return _quick.copy()


def as_0_1(ref):
    """The reference as 0.1.0 wrote it, without any checksum."""
    del ref.uns["bleep"]["checksum"], ref.obs["bleep_checksum"]
    params = json.loads(ref.uns["bleep"]["params"])
    ref.uns["bleep"]["params"] = json.dumps({k: v for k, v in params.items() if "measured" not in k})
    return ref


def of_another_model(ref, other):
    ref.uns["bleep"] = other.uns["bleep"]


def x_in_another_order(ref, other):
    ref.X = ref.X[np.random.default_rng(0).permutation(ref.n_obs)]


def genes_reversed(ref, other):
    ref.var_names = ref.var_names[::-1]


def two_genes_swapped(ref, other):
    names = ref.var_names.to_numpy().copy()
    names[[0, 1]] = names[[1, 0]]
    ref.var_names = names


def expression_reversed(ref, other):
    ref.obsm["X_bleep_expression"] = ref.obsm["X_bleep_expression"][::-1].copy()


def images_reversed(ref, other):
    ref.obsm["X_bleep_image"] = ref.obsm["X_bleep_image"][::-1].copy()


def features_reversed(ref, other):
    ref.obsm["X_stain_stats"] = ref.obsm["X_stain_stats"][::-1].copy()


def slides_swapped(ref, other):
    ref.obsm["X_bleep_expression"] = np.roll(ref.obsm["X_bleep_expression"], 1, axis=0)


@pytest.mark.parametrize("version", ["now", "0.1"])
@pytest.mark.parametrize(
    "change",
    [
        of_another_model,
        x_in_another_order,
        genes_reversed,
        two_genes_swapped,
        expression_reversed,
        images_reversed,
        features_reversed,
        slides_swapped,
    ],
)
def test_parts_of_other_references_are_refused(apart, change, version):
    one, two, query = apart
    ref = as_0_1(one) if version == "0.1" else one
    change(ref, two)
    before = set(query.layers), set(query.obsm), set(query.uns)
    with pytest.raises(ValueError, match=APART):
        bs.tl.impute(query, ref=ref)
    assert (set(query.layers), set(query.obsm), set(query.uns)) == before


def test_two_fitted_references_are_none_when_concatenated(apart):
    one, two, query = apart
    both = ad.concat([one, two], uns_merge="first", merge="first")
    with pytest.raises(
        ValueError, match=rf"{APART} .* 32 of 64 spots \(on 'slice2'\).*remove uns\['bleep'\] of all but"
    ):
        bs.tl.impute(query, ref=both)
    del two.uns["bleep"]
    bs.tl.embed(two, one, expression=True)  # as the message says
    bs.tl.impute(query, ref=[one, two])
    apart_layer = query.layers["bleep"].copy()
    together = ad.concat([one, two], uns_merge="first", merge="first")
    bs.tl.impute(query, ref=together)
    np.testing.assert_allclose(query.layers["bleep"], apart_layer, atol=1e-5)


def test_the_second_of_several_references_is_looked_at_too(apart):
    one, two, query = apart
    del two.uns["bleep"]
    bs.tl.embed(two, one, expression=True)
    expression_reversed(two, one)
    with pytest.raises(ValueError, match=r"of reference 2 \(slides: 'slice2'\) is not what"):
        bs.tl.impute(query, ref=[one, two])


@pytest.mark.parametrize("version", ["now", "0.1"])
def test_honest_changes_pass(quick, query, version):
    """Subsets, other orders, other types and layouts, a device that computes a little differently."""
    ref = as_0_1(quick) if version == "0.1" else quick
    mask = np.random.default_rng(0).random(ref.n_obs) < 0.3
    near = ref.obsm["X_stain_stats"] * (
        1 + 1e-3 * np.random.default_rng(0).normal(size=ref.obsm["X_stain_stats"].shape)
    )
    outside = [*ref.var_names[ref.var["highly_variable"]], *ref.var_names[~ref.var["highly_variable"]][:9]]
    honest = {
        "spots": ref[mask].copy(),
        "six spots": ref[:60:10].copy(),
        "order": ref[::-1].copy(),
        "genes": ref[:, outside].copy(),
        "order of genes": ref[:, ref.var_names[::-1]].copy(),
        "a few genes of the panel": ref[:, ref.var_names[5:]].copy(),
        "halves": ad.concat([ref[::2], ref[1::2]], uns_merge="first", merge="first"),
        "dense": ref.copy(),
        "float64": ref.copy(),
        "columns": ref.copy(),
        "features of another device": ref.copy(),
        "no features": ref.copy(),
    }
    honest["dense"].X = ref.X.toarray()
    honest["float64"].X = ref.X.astype(np.float64)
    honest["columns"].X = sparse.csc_matrix(ref.X)
    honest["features of another device"].obsm["X_stain_stats"] = near.astype(np.float32)
    del honest["no features"].obsm["X_stain_stats"]
    if version == "0.1":  # checksums would call it a change
        noise = (1 + 1e-3 * np.random.default_rng(0).normal(size=ref.obsm["X_bleep_expression"].shape)).astype(
            np.float32
        )
        honest["embeddings of another device"] = ref.copy()
        honest["embeddings of another device"].obsm["X_bleep_expression"] *= noise
    for name, each in honest.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            bs.tl.impute(query, ref=each, n_neighbors=5, key_added=name.replace(" ", "_"))
    np.testing.assert_allclose(query.layers["order"], query.layers["dense"], atol=1e-4)


def test_renamed_genes_are_named(quick, query):
    some = quick.copy()
    some.var_names = [f"ENSG{i:011d}" for i in range(some.n_vars)]
    query.var["symbol"] = query.var_names
    some.var["symbol"] = quick.var_names
    with pytest.raises(
        ValueError, match=r"\d+ of the \d+ genes of uns\['bleep'\] are not in var_names of the reference"
    ):
        bs.tl.impute(query, ref=some, gene_key="symbol")
    outside = quick.copy()
    names = outside.var_names.to_numpy().copy()
    swapped = np.flatnonzero(~outside.var["highly_variable"])[:2]
    names[swapped] = names[swapped[::-1]]
    outside.var_names = names
    with pytest.warns(UserWarning, match=r"Expression or embedding of \d+ of 457 spots of the reference changed"):
        bs.tl.impute(query, ref=outside)
    names[swapped] = ["A gene", "another"]
    outside.var_names = names
    with pytest.warns(UserWarning, match="The var_names of the reference are other names than when it was written"):
        bs.tl.impute(query, ref=outside)


def test_one_bit_of_one_spot_is_warned_of_and_can_be_noted(quick, query, tmp_path):
    for change in ("X", "embedding"):
        ref = quick.copy()
        values = ref.X.data if change == "X" else ref.obsm["X_bleep_expression"][17]
        values.view(np.uint32)[1] ^= 1
        ref.write_h5ad(tmp_path / "ref.h5ad")
        ref = ad.read_h5ad(tmp_path / "ref.h5ad")
        with pytest.warns(UserWarning, match=r"of 1 of 457 spots of the reference changed .*obs\['bleep_checksum'\]"):
            bs.tl.impute(query, ref=ref)
    bs.tl.embed(ref, ref, expression=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bs.tl.impute(query, ref=ref)


def test_values_that_no_head_can_give_are_refused(quick, query):
    """The image side has no checksum: it may be made anew on another device."""
    del quick.obsm["X_stain_stats"]
    quick.obsm["X_bleep_image"][3, 4] = 1e30
    with pytest.raises(
        ValueError, match=r"obsm\['X_bleep_image'\] of the reference holds values that uns\['bleep'\] cannot"
    ):
        bs.tl.impute(query, ref=quick)
    quick.obsm["X_bleep_image"] = quick.obsm["X_bleep_image"][:, :-1]
    with pytest.raises(ValueError, match=r"has shape \(457, 63\), but uns\['bleep'\] embeds in 64 dimensions"):
        bs.tl.impute(query, ref=quick)


@pytest.mark.filterwarnings("ignore:Did not read zarr as consolidated")
@pytest.mark.parametrize("where", ["zarr", "shared"])
def test_references_on_disk_and_shared_ones_are_looked_at(quick, query, tmp_path, where):
    good, bad = quick.copy(), quick.copy()
    for each in (good, bad):
        del each.obsm["patches"], each.uns["spatial"]
    bad.X = bad.X[::-1]
    for name, each in (("good", good), ("bad", bad)):
        each.write_zarr(tmp_path / f"{name}.zarr")
        bs.tl.share_reference(each, tmp_path / name)

    def read(name):
        if where == "shared":
            return bs.tl.load_reference(tmp_path / name)
        return ad.experimental.read_lazy(tmp_path / f"{name}.zarr")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Did not read zarr as consolidated")
        bs.tl.impute(query, ref=read("good"))
    with pytest.raises(ValueError, match=APART):
        bs.tl.impute(query, ref=read("bad"))


def test_another_layer_may_be_averaged_when_x_is_replaced(apart):
    one, _, query = apart
    expected = bs.tl.impute(query, ref=one, copy=True).layers["bleep"]
    one.layers["logs"] = one.X.copy()
    for x in (None, one.layers["counts"].copy()):
        one.X = x
        bs.tl.impute(query, ref=one, layer="logs", key_added="logs")
        np.testing.assert_array_equal(query.layers["logs"], expected)
    one.X = None
    bs.tl.impute(query, ref=one, layer="logs", key_added="logs")
    assert "logs_confidence" not in query.obs  # which is judged by what the model was fitted on


def test_numbers_of_spots_are_the_same_whatever_is_read_at_once(quick, monkeypatch):
    from bleep_sc._arrays import blocks
    from bleep_sc.tl._references.checksums import spot_checksums

    stored = quick.obs["bleep_checksum"].to_numpy()
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * quick.n_vars * 50)
    for form in ("tocsr", "tocsc", "toarray"):
        other = quick.copy()
        other.X = getattr(quick.X, form)()
        np.testing.assert_array_equal(spot_checksums(other, None, other.obsm["X_bleep_expression"]), stored)
    assert spot_checksums(quick[:0], None, quick.obsm["X_bleep_expression"][:0]).shape == (0,)
