import json

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad

import bleep_sc as bs

PITCH = 200.0
CONFIG = bs.tl.FitConfig(n_dims=16, views=("scaled",), max_epochs=25, smoothing_um=0.0)
N_BY_PLACE, N_BY_MORPHOLOGY, N_NOISE = 8, 8, 4


def section(name, seed, *, angle=0.0, outline=0.3):
    """A section of one piece of tissue: some genes go by place, some by what a patch shows, some by nothing."""
    rng = np.random.default_rng(seed)
    x, y = (axis.ravel() * PITCH for axis in np.meshgrid(np.arange(14), np.arange(12)))
    kept = ((x - 1300) / 1300) ** 2 + ((y - 1100) / 1100) ** 2 < 1 + outline * np.sin(x / 500)
    place = np.stack([x, y], axis=1)[kept]
    n = len(place)
    hidden = np.stack([np.sin(place[:, 0] / 800), np.cos(place[:, 1] / 700)], axis=1)  # and no patch shows it
    shown = rng.normal(size=(n, 2))  # anew in every section
    rates = np.concatenate(
        [hidden @ rng_of_genes(N_BY_PLACE, 0), shown @ rng_of_genes(N_BY_MORPHOLOGY, 1), np.zeros((n, N_NOISE))], axis=1
    )
    values = np.maximum(3 + rates + rng.normal(0, 0.5, rates.shape), 0).astype(np.float32)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    colors = 128 + 60 * np.stack([np.sin(place[:, 0] / 700), np.cos(place[:, 1] / 900), np.sin(place[:, 1] / 600)], 1)
    colors += rng.normal(0, 8, colors.shape)
    patches = np.broadcast_to(np.clip(colors, 0, 255).astype(np.uint8)[:, None, None], (n, 4, 4, 3)).copy()
    adata = AnnData(
        values,
        obs=pd.DataFrame({"library_id": name, "donor": "one"}, index=[f"{name}-{i}" for i in range(n)]),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(values.shape[1])]),
        obsm={
            "spatial": (place + rng.normal(0, 20, place.shape)) @ turn.T + 5000,
            "X_shown": np.concatenate([shown, rng.normal(size=(n, 4))], axis=1).astype(np.float32),
            "patches": patches,
        },
    )
    adata.uns["spatial"] = {name: {"images": {}, "scalefactors": {"microns_per_pixel": 1.0}}}
    return adata


def rng_of_genes(n, seed):
    return np.random.default_rng(100 + seed).normal(0, 1, (2, n))


def joined(*sections):
    from anndata import concat

    adata = concat(sections, uns_merge=None)
    adata.uns["spatial"] = {key: value for each in sections for key, value in each.uns["spatial"].items()}
    return adata


def imputed(ref, query, **how):
    bs.tl.fit(ref, use_rep="X_shown", config=CONFIG, show_progress_bar=False)
    bs.tl.impute(query, ref, **how)


@pytest.fixture(scope="module")
def _sides():
    ref = joined(section("s1", 1), section("s2", 2, angle=0.7))
    query = section("s4", 4, angle=-1.2)
    truth = query.X.copy()
    query.X = None
    imputed(ref, query)
    return ref, query, truth


@pytest.fixture
def sides(_sides):
    ref, query, truth = _sides
    return ref.copy(), query.copy(), truth


def test_each_gene_takes_as_much_of_the_place_as_held_out_sections_say(sides):
    ref, query, truth = sides
    bs.tl.blend_place(query, ref)
    share = query.var["bleep_place_share"].to_numpy()
    assert share[:N_BY_PLACE].mean() > 0.7
    assert share[N_BY_PLACE : N_BY_PLACE + N_BY_MORPHOLOGY].mean() < 0.25
    of_place = slice(0, N_BY_PLACE)
    r = {
        layer: bs.metrics.pearson(query.layers[layer], truth)
        for layer in ("bleep", "bleep_place", "bleep_place_retrieved")
    }
    assert r["bleep"][of_place].mean() < 0.3 < 0.7 < r["bleep_place"][of_place].mean()
    shown = slice(N_BY_PLACE, N_BY_PLACE + N_BY_MORPHOLOGY)
    assert r["bleep_place_retrieved"][shown].mean() < 0.2 < 0.6 < r["bleep_place"][shown].mean()


def test_what_it_is_made_of(sides):
    ref, query, _ = sides
    bs.tl.blend_place(query, ref)
    weights, share = query.obsm["bleep_place_weights"], query.var["bleep_place_share"].to_numpy()
    np.testing.assert_allclose(np.asarray(weights.sum(axis=1)).ravel(), 1, atol=1e-5)
    place = weights @ ref.X
    np.testing.assert_allclose(query.layers["bleep_place_retrieved"], place, atol=1e-5)
    expected = (1 - share) * query.layers["bleep"] + share * place
    np.testing.assert_allclose(query.layers["bleep_place"], expected, atol=1e-5)
    record = query.uns["bleep_place_imputed"]
    assert record["blended_from"] == "bleep"
    assert "neighbouring sections" in record["caution"]
    how = json.loads(record["place"])
    assert set(how["matches"]["s4"]) == {"s1", "s2"}
    assert how["morphology_held_out"] == "slides of one donor"
    assert all(match["overlap"] > 0.9 for match in how["matches"]["s4"].values())
    shares = json.loads(record["shares"])
    slides = ref.obs["library_id"].to_numpy()
    assert shares["s1"] == pytest.approx(weights.sum(axis=0).A1[slides == "s1"].sum() / weights.sum(), abs=1e-5)


def test_what_is_promised_is_reached(sides):
    ref, query, truth = sides
    bs.tl.blend_place(query, ref, interval=0.8)
    promised = query.var["bleep_place_predictability"].to_numpy()
    reached = np.nan_to_num(bs.metrics.pearson(query.layers["bleep_place"], truth))
    assert np.abs(promised - reached)[:-N_NOISE].mean() < 0.1
    assert query.uns["bleep_place_imputed"]["predictability_of"] == "slides of one donor"
    lower, upper = (query.layers[f"bleep_place_{end}"] for end in ("lower", "upper"))
    assert 0.72 < ((truth >= lower) & (truth <= upper)).mean() < 0.92
    assert query.uns["bleep_place_imputed"]["interval"] == 0.8


def test_confidence_is_for_spots_judged_by_all_genes_that_judge(sides):
    ref, query, _ = sides
    bs.tl.blend_place(query, ref)
    confidence = query.obs["bleep_place_confidence"].to_numpy()
    assert confidence.min() >= 0
    assert confidence.max() <= 1
    assert 0.2 < np.median(confidence) < 0.8  # a rank among spots of the same kind
    bs.tl.impute(query, ref, genes=query.var_names[:5].tolist())
    bs.tl.blend_place(query, ref)
    assert "bleep_place_confidence" not in query.obs
    assert query.var["bleep_place_predicted"].sum() == 5


def test_neither_the_order_of_the_spots_nor_their_expression_changes_anything(sides):
    ref, query, truth = sides
    order = np.random.default_rng(0).permutation(query.n_obs)
    shuffled = query[order].copy()
    shuffled.X = truth.copy()
    bs.tl.blend_place(query, ref)
    bs.tl.blend_place(shuffled, ref)
    np.testing.assert_allclose(shuffled.layers["bleep_place"], query.layers["bleep_place"][order], atol=0.05)


def test_it_travels_and_is_a_prediction_to_every_other_function(sides, tmp_path):
    ref, query, _ = sides
    changed = bs.tl.blend_place(query, ref, key_added="both", copy=True)
    assert "both" not in query.layers
    changed.write_h5ad(tmp_path / "query.h5ad")
    ref.write_h5ad(tmp_path / "ref.h5ad")
    again = read_h5ad(tmp_path / "query.h5ad")
    np.testing.assert_array_equal(again.layers["both"], changed.layers["both"])
    bs.tl.blend_place(again, read_h5ad(tmp_path / "ref.h5ad"))
    np.testing.assert_array_equal(again.layers["bleep_place"], changed.layers["both"])
    assert bs.tl.to_anndata(again, "both").n_vars == query.n_vars
    bs.tl.restore_variance(again, ref, "both")
    bs.tl.impute(again, ref, key_added="both")  # replaces all of it
    assert "both_share" not in again.var


def test_a_query_of_another_donor_is_promised_nothing(sides, caplog):
    ref, query, _ = sides
    query.obs["donor"] = "two"
    bs.tl.impute(query, ref)
    bs.tl.blend_place(query, ref)
    assert query.var["bleep_place_predictability"].isna().all()
    assert "the query is of 'two'" in query.uns["bleep_place_imputed"]["predictability_of"]
    assert "copies places of neighbouring sections" in caplog.text


def test_sections_of_other_tissue_are_refused(sides):
    ref, query, _ = sides
    thin = query[np.abs(query.obsm["spatial"][:, 0] - query.obsm["spatial"][:, 0].mean()) < 500].copy()
    with pytest.raises(ValueError, match=r"No section of the reference lies on slide 's4' .*needed: overlap"):
        bs.tl.blend_place(thin, ref)


def test_what_cannot_be_blended(sides):
    ref, query, _ = sides
    with pytest.raises(KeyError, match="Run bleep_sc"):
        bs.tl.blend_place(query, ref, "absent")
    bare = query.copy()
    del bare.obsm["patches"]
    with pytest.raises(KeyError, match="extract_patches"):
        bs.tl.blend_place(bare, ref)
    same = query.copy()
    same.obs["library_id"] = "s1"
    with pytest.raises(ValueError, match=r"Slide 's1' is in the query and in the reference: it would be copied"):
        bs.tl.blend_place(same, ref)
    with pytest.raises(ValueError, match="predicted from another reference than ref="):
        bs.tl.blend_place(query, ref[::-1].copy())
    bs.tl.restore_variance(query, ref)
    with pytest.raises(
        ValueError, match=r"layers\['bleep_restored'\] was made of layers\['bleep'\], which is what ref="
    ):
        bs.tl.blend_place(query, ref, "bleep_restored")
    with pytest.raises(ValueError, match=r"interval=1\.5"):
        bs.tl.blend_place(query, ref, interval=1.5)


@pytest.mark.parametrize("otherwise", [{"neighbor_weights": "anchors"}, {"n_neighbors": 3}])
def test_what_was_read_off_otherwise_than_held_out_sections_is_not_blended(sides, otherwise):
    """Shares were learnt on sections that were read off as the model was configured."""
    ref, query, _ = sides
    bs.tl.impute(query, ref, key_added="other", **otherwise)
    (name,) = otherwise
    with pytest.raises(ValueError, match=rf"imputed with {name}=.* Impute without {name}=, or fit with FitConfig"):
        bs.tl.blend_place(query, ref, "other")
    assert "other_place" not in query.layers


def test_one_section_teaches_nothing():
    ref, query = section("s1", 1), section("s4", 4)
    imputed(ref, query)
    with pytest.raises(KeyError, match="two sections or more"):
        bs.tl.blend_place(query, ref)


def test_sections_that_do_not_match_teach_nothing():
    other = section("s2", 2)
    other = other[(other.obsm["spatial"][:, 0] - 5000) < 900].copy()
    ref, query = joined(section("s1", 1), other), section("s4", 4)
    imputed(ref, query)
    with pytest.raises(ValueError, match="learnt on sections of the reference that lie on each other"):
        bs.tl.blend_place(query, ref)
