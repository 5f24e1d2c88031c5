"""Sets of genes on predicted expression, and what a reference promises of them."""

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import stats

import bleep_sc as bs
from bleep_sc.tl._gene_sets.given import read_gene_sets
from bleep_sc.training.calibration import predictability

PROGRAMS = ("pericentral", "periportal", "bile_duct", "stroma")
HOW = {"min_genes": 2, "n_permutations": 499}


def programs(adata, panel=None):
    """The programs that the toy tissue follows, and sets that follow nothing."""
    program = adata.var["program"] if panel is None else adata.var.loc[panel, "program"]
    sets = {name: program.index[program == name].tolist() for name in PROGRAMS}
    none = program.index[program == "none"].tolist()
    return sets | {f"nothing {i}": none[3 * i : 3 * i + 3] for i in range(3)}


def number(values):
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)


@pytest.fixture(scope="module")
def _pair(_toy):
    """A reference of all genes, and the query."""
    is_query = _toy.obs["library_id"] == "slice3"
    ref, query = _toy[~is_query].copy(), _toy[is_query].copy()
    bs.tl.fit(ref, use_rep="X_stain_stats", config=bs.tl.FitConfig(max_epochs=30), show_progress_bar=False)
    bs.tl.impute(query, ref=ref)
    return ref, query


@pytest.fixture
def ref(_pair):
    return _pair[0].copy()


@pytest.fixture
def imputed(_pair):
    return _pair[1].copy()


def table_of(query, layer="bleep"):
    return query.uns[f"{layer}_gene_sets"].set_index("gene_set")


def test_programs_that_the_image_shows_are_promised_and_the_promise_is_kept(ref, imputed):
    sets = programs(imputed)
    bs.tl.score_gene_sets(imputed, sets, ref=ref, **HOW)
    bs.tl.score_gene_sets(imputed, sets, ref=ref, layer=None, **HOW)
    table, scores = table_of(imputed), imputed.obsm["bleep_gene_sets"]
    assert scores.shape == (imputed.n_obs, len(sets))
    assert (scores.dtypes == np.float32).all()
    assert list(scores.columns) == list(table.index) == list(sets)
    assert (table["basis"] == "slides").all()
    assert (table["note"] == "").all()
    shown = table.loc[list(PROGRAMS)]
    assert shown["qvalue"].max() < 0.05
    assert shown["predictability"].min() > 0.25
    assert table["predictability"].iloc[len(PROGRAMS) :].max() < shown["predictability"].min()
    reached = bs.metrics.pearson(scores.to_numpy(), imputed.obsm["measured_gene_sets"].to_numpy())
    np.testing.assert_allclose(shown["predictability"], reached[: len(PROGRAMS)], atol=0.2)
    of_genes = [imputed.var.loc[sets[name], "bleep_predictability"].mean() for name in PROGRAMS]
    assert (shown["predictability"] > of_genes).all()  # which is why sets are scored
    measured = table_of(imputed, "measured")
    assert measured["predictability"].isna().all()
    assert (measured["basis"] == "measured").all()


def test_scores_are_those_of_scanpy(imputed):
    sets = programs(imputed)
    bs.tl.score_gene_sets(imputed, sets, min_genes=2, random_state=3)
    plain = ad.AnnData(number(imputed.layers["bleep"]), var=imputed.var[[]])
    for name, genes in sets.items():
        sc.tl.score_genes(plain, genes, score_name=name, ctrl_as_ref=False, random_state=3)
        np.testing.assert_allclose(imputed.obsm["bleep_gene_sets"][name], plain.obs[name], atol=1e-5)
    assert table_of(imputed)[["predictability", "pvalue", "qvalue"]].isna().all(axis=None)
    assert (table_of(imputed)["basis"] == "no reference was given").all()


def test_the_mean_of_standardised_genes_equals_its_definition(ref, imputed):
    network = pd.DataFrame(
        {"source": ["zone"] * 3 + ["duct"] * 2, "target": ["CYP3A4", "FABP1", "HAL", "KRT7", "SOX9"]}
    ).assign(weight=[1.0, -2.0, -1.0, 1.0, 1.0])
    bs.tl.score_gene_sets(imputed, network, ref=ref, method="mean", **HOW)
    genes = network["target"].tolist()
    measured = pd.DataFrame(number(ref[:, genes].X), columns=genes)
    z = (pd.DataFrame(number(imputed[:, genes].layers["bleep"]), columns=genes) - measured.mean()) / measured.std(
        ddof=0
    )
    expected = (z["CYP3A4"] - 2 * z["FABP1"] - z["HAL"]) / 4
    np.testing.assert_allclose(imputed.obsm["bleep_gene_sets"]["zone"], expected, atol=1e-4)
    np.testing.assert_allclose(imputed.obsm["bleep_gene_sets"]["duct"], (z["KRT7"] + z["SOX9"]) / 2, atol=1e-4)
    with pytest.raises(ValueError, match=r"weighs the genes of 'zone'.* Pass method='mean'"):
        bs.tl.score_gene_sets(imputed, network, min_genes=2)


def test_predictability_is_of_held_out_predictions_and_measurements_scored_alike(ref, imputed):
    sets = programs(imputed)
    bs.tl.score_gene_sets(imputed, sets, ref=ref, method="mean", **HOW)
    held_out, measured = ref.obsm["bleep_held_out"], number(ref.X)
    assert np.isfinite(held_out).all()  # of a few hundred spots, all are
    std = measured.std(axis=0)
    sides = []
    for values in (held_out, measured):
        columns = [ref.var_names.get_indexer(genes) for genes in sets.values()]
        sides.append(np.stack([(values[:, own] / std[own]).mean(axis=1) for own in columns], axis=1))
    slides = ref.obs["library_id"].to_numpy().astype(str)
    slow = predictability(*(side.astype(np.float32) for side in sides), slides, slides)
    np.testing.assert_allclose(table_of(imputed)["predictability"], slow, atol=1e-4)
    table = table_of(imputed)
    np.testing.assert_allclose(table["qvalue"], stats.false_discovery_control(table["pvalue"]))


def test_held_out_predictions_know_nothing_of_their_slide(toy):
    ref = toy[toy.obs["library_id"] != "slice3"].copy()
    # How far to move towards a regression is learnt on other slides, and over how much tissue to average on all of them.
    config = bs.tl.FitConfig(max_epochs=3, regression=False, smoothing_um=0.0)
    how = {"use_rep": "X_stain_stats", "config": config, "show_progress_bar": False}
    bs.tl.fit(ref, **how)
    one = (ref.obs["library_id"] == "slice1").to_numpy()
    changed = ref.copy()
    values = number(changed.X)
    values[one] = np.random.default_rng(0).permutation(values[one])
    changed.X = values.astype(np.float32)
    bs.tl.fit(changed, **how)
    before, after = (each.obsm["bleep_held_out"] for each in (ref, changed))
    np.testing.assert_array_equal(before[one], after[one])
    assert not np.allclose(before[~one], after[~one])  # slice 2 is predicted from slice 1
    alone = ref[one].copy()
    bs.tl.fit(alone, **how)
    assert "bleep_held_out" not in alone.obsm  # what an earlier model left is gone


@pytest.mark.parametrize("form", ["network", "gmt", "Path"])
def test_sets_are_given_in_three_ways(imputed, tmp_path, form):
    sets = programs(imputed)
    path = tmp_path / "sets.gmt"
    path.write_text("".join("\t".join([name, "https://example.org", *genes]) + "\n" for name, genes in sets.items()))
    edges = [(name, gene) for name, genes in sets.items() for gene in genes]
    given = {"network": pd.DataFrame(edges, columns=["source", "target"]), "gmt": str(path), "Path": path}[form]
    assert read_gene_sets(given) == read_gene_sets(sets)
    bs.tl.score_gene_sets(imputed, sets, min_genes=2)
    other = bs.tl.score_gene_sets(imputed, given, min_genes=2, copy=True)
    pd.testing.assert_frame_equal(other.obsm["bleep_gene_sets"], imputed.obsm["bleep_gene_sets"])


WRONG_SETS = [
    ({}, r"gene_sets= is empty"),
    ({"a": "CYP3A4"}, r"gene_sets='a' must be a list of names"),
    ({"a/b": ["CYP3A4"] * 5}, r"cannot be columns of a file: \"'a/b'\""),
    ({"a": ["cyp3a4", "hal"]}, r"No set of gene_sets= can be scored \(of 'a': 0 of its 2 genes at hand"),
    (pd.DataFrame({"set": ["a"], "target": ["HAL"]}), r"has no column 'source'"),
    (pd.DataFrame({"source": ["a"], "target": [None]}), r"lacks a name"),
    (pd.DataFrame({"source": ["a"] * 2, "target": ["HAL"] * 2, "weight": [1, 2]}), r"several weights of one gene"),
]


@pytest.mark.parametrize(("sets", "message"), WRONG_SETS)
def test_sets_that_cannot_be_scored_are_refused_and_nothing_is_written(imputed, sets, message):
    with pytest.raises(ValueError, match=message):
        bs.tl.score_gene_sets(imputed, sets)
    assert "bleep_gene_sets" not in imputed.obsm
    assert "bleep_gene_sets" not in imputed.uns


def test_files_that_are_no_sets_are_told_by_their_line(imputed, tmp_path):
    (tmp_path / "a.gmt").write_text("one\tsource\tHAL\nHAL, CYP3A4\n")
    with pytest.raises(ValueError, match=r"line 2 \('HAL, CYP3A4'\) is not a name, a description and genes"):
        bs.tl.score_gene_sets(imputed, tmp_path / "a.gmt")
    (tmp_path / "b.gmt").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ValueError, match="is no text"):
        bs.tl.score_gene_sets(imputed, tmp_path / "b.gmt")
    with pytest.raises(FileNotFoundError, match=r"No file with sets of genes at gene_sets='.*c\.gmt'"):
        bs.tl.score_gene_sets(imputed, tmp_path / "c.gmt")


def test_sets_with_too_few_genes_are_kept_without_a_score(ref, imputed, caplog):
    sets = {"zone": ["CYP3A4", "CYP2E1", "CYP1A2"], "few": ["HAL", "ALB", "NONE1", "NONE2"], "empty": []}
    with caplog.at_level("INFO", "bleep_sc"):
        bs.tl.score_gene_sets(imputed, sets, ref=ref, min_genes=3, n_permutations=99)
    table = table_of(imputed)
    assert table["n_genes"].tolist() == [3, 4, 0]
    assert table["n_used"].tolist() == [3, 2, 0]
    assert table["note"].tolist() == ["", "2 of its 4 genes at hand", "0 of its 0 genes at hand"]
    assert imputed.obsm["bleep_gene_sets"].isna().all().tolist() == [False, True, True]
    assert table[["predictability", "pvalue", "qvalue"]].isna().all(axis=1).tolist() == [False, True, True]
    assert "2 of 3 sets are not scored" in caplog.text


def test_only_genes_that_were_held_out_are_scored(fitted, query):
    """With a panel of 40 genes all others are predicted too, but nothing is known of them."""
    bs.tl.impute(query, ref=fitted)
    panel = fitted.var_names[fitted.var["highly_variable"]]
    sets = {"zone": [*panel[:4], *fitted.var_names.difference(panel)[:6]]}
    bs.tl.score_gene_sets(query, sets, ref=fitted, n_permutations=99, min_genes=4)
    assert table_of(query)["n_used"].tolist() == [4]
    bs.tl.score_gene_sets(query, sets)
    assert table_of(query)["n_used"].tolist() == [10]


def test_what_is_not_promised_of_genes_is_not_promised_of_sets(ref, imputed):
    sets = programs(imputed)
    imputed.var["bleep_predictability"] = np.float32(np.nan)
    bs.tl.score_gene_sets(imputed, sets, ref=ref, **HOW)
    table = table_of(imputed)
    assert table[["predictability", "pvalue", "qvalue"]].isna().all(axis=None)
    assert (table["basis"] == "of none of these genes anything was learnt").all()
    assert imputed.obsm["bleep_gene_sets"].notna().all(axis=None)
    imputed.uns["bleep_imputed"]["predictability_of"] = "the query is of another donor"
    bs.tl.score_gene_sets(imputed, sets, ref=ref, **HOW)
    assert (table_of(imputed)["basis"] == "the query is of another donor").all()


@pytest.fixture(scope="module")
def slices():
    """Four slices of toy tissue: two of one donor, one of another, and a query."""
    adata = bs.datasets.toy(n_slices=4)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=24, size_um=112)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    whose = {"slice1": "Ada", "slice2": "Ada", "slice3": "Bea", "slice4": "Cleo"}
    adata.obs["patient"] = adata.obs["library_id"].map(whose).astype("category")
    return adata


def of_donors(slices, *names):
    """A reference of the slices of these names, the query, and sets of which chance is told."""
    ref, query = (slices[slices.obs["library_id"].isin(each)].copy() for each in (names, ["slice4"]))
    config = bs.tl.FitConfig(max_epochs=5, n_dims=16, views=("scaled",), n_neighbors=20)
    bs.tl.fit(ref, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    bs.tl.impute(query, ref=ref)
    return ref, query, {f"set {i}": query.var_names[i::20].tolist() for i in range(20)}


def test_donors_are_what_was_held_out_where_there_are_several(slices):
    ref, query, sets = of_donors(slices, "slice1", "slice2", "slice3")
    bs.tl.score_gene_sets(query, sets, ref=ref, method="mean", n_permutations=99)
    assert (table_of(query)["basis"] == "donors").all()
    measured = number(ref.X)
    std = measured.std(axis=0)
    columns = [ref.var_names.get_indexer(genes) for genes in sets.values()]
    sides = [
        np.stack([(values[:, own] / std[own]).mean(axis=1) for own in columns], axis=1).astype(np.float32)
        for values in (ref.obsm["bleep_held_out"], measured)
    ]
    slides, donors = (ref.obs[name].to_numpy().astype(str) for name in ("library_id", "patient"))
    slow, by_slide = (predictability(*sides, slides, units) for units in (donors, slides))
    np.testing.assert_allclose(table_of(query)["predictability"], slow, atol=1e-4)
    assert not np.allclose(slow, by_slide, atol=1e-3)
    ref.obs["library_id"] = "new " + ref.obs["library_id"].astype(str)
    with pytest.raises(ValueError, match=r"called 'new slice1'.* on 'slice1', 'slice2', 'slice3'\. Name them"):
        bs.tl.score_gene_sets(query, sets, ref=ref)


def test_a_reference_of_one_donor_promises_nothing_of_another(slices):
    ref, query, sets = of_donors(slices, "slice1", "slice2")
    bs.tl.score_gene_sets(query, sets, ref=ref, n_permutations=99)
    table = table_of(query)
    assert table[["predictability", "pvalue", "qvalue"]].isna().all(axis=None)
    assert table["basis"].str.startswith("the reference is of one donor, 'Ada', and the query is of 'Cleo'").all()
    query.obs["patient"] = "Ada"
    bs.tl.impute(query, ref=ref)
    bs.tl.score_gene_sets(query, sets, ref=ref, n_permutations=99)
    table = table_of(query)
    assert table[["predictability", "pvalue", "qvalue"]].notna().all(axis=None)
    assert (table["basis"] == "slides of one donor").all()


def test_chance_is_told_by_donors():
    """Slides of a donor that agree with each other say no more of the next donor than one of them."""
    rng = np.random.default_rng(0)
    slides = np.repeat([f"{donor}{i}" for donor in "abc" for i in range(3)], 30)
    truth = rng.normal(size=(270, 40)).astype(np.float32)
    sign = np.repeat(rng.normal(size=(3, 40)), 90, axis=0)
    predicted = (sign * truth + rng.normal(size=truth.shape)).astype(np.float32)
    by_slide = predictability(predicted, truth, slides, slides)
    by_donor = predictability(predicted, truth, slides, np.array([name[0] for name in slides]))
    assert np.abs(by_donor).mean() < 0.8 * np.abs(by_slide).mean()


READERS = {
    "h5ad": lambda path: ad.read_h5ad(path / "ref.h5ad"),
    "zarr": lambda path: ad.read_zarr(path / "ref.zarr"),
    "backed": lambda path: ad.read_h5ad(path / "ref.h5ad", backed="r"),
    "lazy": lambda path: ad.experimental.read_lazy(path / "ref.h5ad"),
    "lazy zarr": lambda path: ad.experimental.read_lazy(path / "ref.zarr"),
}


@pytest.fixture(scope="module")
def folder(_pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    ref = _pair[0].copy()
    del ref.obsm["patches"]
    ref.write_h5ad(folder / "ref.h5ad")
    ref.write_zarr(folder / "ref.zarr")
    bs.tl.share_reference(ref, folder / "shared")
    return folder


@pytest.mark.filterwarnings("ignore:Did not read zarr as consolidated")
@pytest.mark.parametrize("reader", READERS)
def test_a_reference_in_a_file_promises_the_same(ref, imputed, folder, reader):
    sets = programs(imputed)
    bs.tl.score_gene_sets(imputed, sets, ref=ref, **HOW)
    other = bs.tl.score_gene_sets(imputed, sets, ref=READERS[reader](folder), copy=True, **HOW)
    pd.testing.assert_frame_equal(other.uns["bleep_gene_sets"], imputed.uns["bleep_gene_sets"])
    pd.testing.assert_frame_equal(other.obsm["bleep_gene_sets"], imputed.obsm["bleep_gene_sets"])


def test_a_shared_reference_promises_the_same_without_places(ref, imputed, folder):
    sets = programs(imputed)
    bs.tl.score_gene_sets(imputed, sets, ref=ref, **HOW)
    shared = bs.tl.load_reference(folder / "shared")
    other = bs.tl.score_gene_sets(imputed, sets, ref=shared, copy=True, **HOW)
    np.testing.assert_allclose(table_of(other)["predictability"], table_of(imputed)["predictability"], atol=1e-6)
    assert table_of(other)[["pvalue", "qvalue"]].isna().all(axis=None)


def test_parts_and_spots_that_were_not_held_out(ref, imputed):
    sets = programs(imputed)
    ref.obsm["bleep_held_out"][::3] = np.nan
    kept = ref[np.arange(ref.n_obs) % 3 != 0].copy()
    bs.tl.score_gene_sets(imputed, sets, ref=ref, **HOW)
    parts = [kept[kept.obs["library_id"] == name] for name in ("slice2", "slice1")]
    joined = ad.concat(parts, uns_merge="first", merge="same")
    for again in (kept, joined):
        other = bs.tl.score_gene_sets(imputed, sets, ref=again, copy=True, **HOW)
        np.testing.assert_allclose(table_of(other)["predictability"], table_of(imputed)["predictability"], atol=1e-6)


def test_results_survive_files(ref, imputed, tmp_path):
    bs.tl.score_gene_sets(imputed, programs(imputed), ref=ref, **HOW)
    imputed.write_h5ad(tmp_path / "query.h5ad")
    again = ad.read_h5ad(tmp_path / "query.h5ad")
    pd.testing.assert_frame_equal(again.obsm["bleep_gene_sets"], imputed.obsm["bleep_gene_sets"])
    pd.testing.assert_frame_equal(again.uns["bleep_gene_sets"], imputed.uns["bleep_gene_sets"], check_dtype=False)


def test_a_layer_in_a_store_is_scored_in_parts(ref, imputed, tmp_path, monkeypatch):
    sets = programs(imputed)
    bs.tl.impute(imputed, ref=ref, store=tmp_path / "layer.zarr", key_added="stored")
    monkeypatch.setattr("bleep_sc.tl._gene_sets.scoring.SPOTS", 50)
    for layer in ("bleep", "stored"):
        bs.tl.score_gene_sets(imputed, sets, layer=layer, ref=ref, **HOW)
    one, other = (imputed.obsm[f"{layer}_gene_sets"] for layer in ("bleep", "stored"))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_generator_of_the_session_is_left_alone(imputed):
    before = np.random.get_state()[1].copy()
    verbosity = sc.settings.verbosity
    bs.tl.score_gene_sets(imputed, programs(imputed), min_genes=2)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert sc.settings.verbosity == verbosity


def without_held_out(ref):
    del ref.obsm["bleep_held_out"]


def of_another_width(ref):
    ref.obsm["bleep_held_out"] = ref.obsm["bleep_held_out"][:, :7]


def all_missing(ref):
    ref.obsm["bleep_held_out"][:] = np.nan


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (without_held_out, KeyError, r"obsm\['bleep_held_out'\] not found .* fit again, or leave out ref="),
        (of_another_width, ValueError, r"has shape \(\d+, 7\), but uns\['bleep'\] has 250 genes"),
        (all_missing, ValueError, "holds no spot that was held out"),
        (lambda ref: ref.uns.pop("bleep"), KeyError, "The reference holds no model"),
    ],
)
def test_references_that_cannot_judge_are_told(ref, imputed, change, error, message):
    change(ref)
    with pytest.raises(error, match=message):
        bs.tl.score_gene_sets(imputed, programs(imputed), ref=ref, min_genes=2)
    assert "bleep_gene_sets" not in imputed.obsm


def test_another_reference_cannot_judge(fitted, ref, imputed):
    with pytest.raises(ValueError, match=r"is not what layers\['bleep'\] was imputed from"):
        bs.tl.score_gene_sets(imputed, programs(imputed), ref=fitted, min_genes=2)
    bs.tl.restore_variance(imputed, ref)
    with pytest.raises(ValueError, match=r"layers\['bleep_restored'\] was made of layers\['bleep'\]"):
        bs.tl.score_gene_sets(imputed, programs(imputed), layer="bleep_restored", ref=ref, min_genes=2)
    params = json.loads(imputed.uns["bleep_imputed"]["params"])
    imputed.uns["bleep_imputed"]["params"] = json.dumps({**params, "layer": "counts"})
    with pytest.raises(ValueError, match=r"averages layer='counts'.* Impute that, or leave out ref="):
        bs.tl.score_gene_sets(imputed, programs(imputed), ref=ref, min_genes=2)


def test_a_prediction_is_not_called_measured(imputed):
    plain = bs.tl.to_anndata(imputed)
    with pytest.raises(ValueError, match=r"adata\.X is a prediction\. Pass the query itself, and layer="):
        bs.tl.score_gene_sets(plain, programs(imputed), layer=None, min_genes=2)


def test_real_tissue(data_folder):
    """What two sections of a bulb say of sets of genes holds in that of another animal, where it is asked for."""
    adata = bs.datasets.mob(["MOB1", "MOB2", "MOB3"])
    del adata.obs["animal"]  # or nothing would be promised
    sc.pp.filter_cells(adata, min_counts=100)
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    bs.pp.extract_patches(adata, size=32, size_um=280.32)
    bs.pp.image_features(adata, "stain_stats", show_progress_bar=False)
    is_query = adata.obs["library_id"] == "MOB3"
    ref, query = adata[~is_query].copy(), adata[is_query].copy()
    bs.pp.select_genes(ref, batch_key="library_id", n_top_genes=150)
    config = bs.tl.FitConfig(max_epochs=10, views=("scaled",))
    bs.tl.fit(ref, use_rep="X_stain_stats", config=config, show_progress_bar=False)
    bs.tl.impute(query, ref=ref)
    r = ref.var.loc[ref.var["highly_variable"], "bleep_predictability"].sort_values(ascending=False)
    sets = {"shown": r.index[:20].tolist(), "hidden": r.index[-20:].tolist()}
    for layer in ("bleep", None):
        bs.tl.score_gene_sets(query, sets, layer=layer, ref=ref, n_permutations=499, method="mean")
    table = table_of(query)
    reached = bs.metrics.pearson(query.obsm["bleep_gene_sets"].to_numpy(), query.obsm["measured_gene_sets"].to_numpy())
    assert table.loc["shown", "predictability"] > r.iloc[:20].mean() + 0.05
    assert table.loc["shown", "qvalue"] < 0.05
    assert reached[0] > reached[1]
    assert reached[0] == pytest.approx(table.loc["shown", "predictability"], abs=0.2)
