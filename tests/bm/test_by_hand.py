"""A cross-validation with two slides in a group, each number against one computed here."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge

import bleep_sc as bs
from bleep_sc import metrics

REP, MARKERS = "X_stain_stats", ["CYP3A4", "HAL"]


def mine(train, query):
    panel = train.var["highly_variable"].to_numpy()
    return Ridge(1e2).fit(train.obsm[REP], train[:, panel].X.toarray()).predict(query.obsm[REP])


def location(train, query):
    """Stands for location copy: five random spots."""
    random = np.random.default_rng(0)
    columns = np.stack([random.choice(train.n_obs, 5, replace=False) for _ in range(query.n_obs)])
    rows = np.repeat(np.arange(query.n_obs), 5)
    return sparse.csr_matrix((np.full(rows.size, 0.2), (rows, columns.ravel())), shape=(query.n_obs, train.n_obs))


@pytest.fixture(scope="module")
def compared(_toy):
    adata = _toy.copy()
    adata.X = adata.layers.pop("counts")
    adata.obs["donor"] = adata.obs["library_id"].map({"slice1": "D1", "slice2": "D1", "slice3": "D2"})
    methods = {"location": location, "mine": mine, "mean": bs.bm.methods(["mean"])["mean"]}
    settings = {"group_key": "donor", "use_rep": REP, "n_top_genes": 120, "markers": MARKERS}
    table, predictions = bs.bm.cross_validate(adata, methods, **settings, return_predictions=True)
    return adata, table, predictions


@pytest.fixture(params=["slice1", "slice2"])
def held_out(compared, request):
    """One of the two slides of D1, measured by hand, what was said of it, and the training slide."""
    adata, table, predictions = compared
    rows = (adata.obs["library_id"] == request.param).to_numpy()
    counts = adata.X.toarray()
    logs = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
    panel = predictions["mine"]["D1"].columns
    columns = adata.var_names.get_indexer(panel)
    said = table[table["library"] == request.param].set_index(["method", "gene"])
    train = logs[(adata.obs["donor"] == "D2").to_numpy()][:, columns]
    frames = {name: groups["D1"].loc[adata.obs_names[rows]].to_numpy() for name, groups in predictions.items()}
    return said, logs[rows][:, columns], frames, counts[rows], columns, train


def of(said, method, column):
    return said.loc[method, column].to_numpy()


def test_correlations_are_those_inside_the_slide(held_out):
    said, truth, frames, *_ = held_out
    slow = [np.corrcoef(frames["mine"][:, gene], truth[:, gene])[0, 1] for gene in range(truth.shape[1])]
    np.testing.assert_allclose(of(said, "mine", "pearson"), slow, atol=1e-5)
    np.testing.assert_allclose(of(said, "mine", "measured_variance"), truth.var(axis=0), rtol=1e-4)


def test_what_location_copy_explains_is_taken_out_of_prediction_and_truth(held_out):
    said, truth, frames, *_ = held_out
    expected = metrics.partial_pearson(frames["mine"], truth, frames["location"])
    np.testing.assert_allclose(of(said, "mine", "partial"), expected, atol=1e-5)
    assert not np.allclose(expected, metrics.partial_pearson(frames["mine"], frames["location"], truth), atol=0.05)
    assert np.isnan(of(said, "location", "partial")).all()


def test_every_gene_has_the_ceiling_of_its_own_counts_on_the_slide(held_out):
    said, _, _, counts, columns, _ = held_out
    expected = metrics.noise_ceiling(counts)[columns]
    for method in ("mine", "mean", "permuted"):
        np.testing.assert_allclose(of(said, method, "ceiling"), expected)


def test_gene_sets_come_from_where_they_say(held_out):
    said, truth, _, _, _, train = held_out
    for name, values in (("reference", train), ("truth", truth)):
        for gene_set, moment in (("HEG", values.mean(axis=0)), ("HVG", values.var(axis=0))):
            flagged = np.flatnonzero(of(said, "mine", f"{gene_set}_{name}"))
            assert set(flagged) == set(np.argsort(-moment, kind="stable")[:50])
    assert not np.array_equal(of(said, "mine", "HVG_reference"), of(said, "mine", "HVG_truth"))
    assert set(said.loc["mine"].index[of(said, "mine", "MG")]) == set(MARKERS)


def test_weights_are_scored_as_the_distribution_of_the_training_spots(held_out):
    said, truth, frames, *_ = held_out
    np.testing.assert_allclose(of(said, "mine", "crps"), np.abs(frames["mine"] - truth).mean(axis=0), rtol=1e-4)
    assert (of(said, "location", "crps") < np.abs(frames["location"] - truth).mean(axis=0)).all()


def test_the_null_is_the_best_known_prediction_with_its_spots_shuffled_inside_the_slide(held_out):
    said, *_ = held_out
    for moment in ("predicted_mean", "predicted_variance"):
        np.testing.assert_allclose(of(said, "permuted", moment), of(said, "mine", moment), rtol=1e-4)
    assert np.nanmean(of(said, "mine", "pearson")) > 0.1
    assert abs(np.nanmean(of(said, "permuted", "pearson"))) < 0.05


def test_the_mean_is_that_of_the_training_spots(held_out):
    _, _, frames, _, _, train = held_out
    np.testing.assert_allclose(frames["mean"], np.tile(train.mean(axis=0), (len(frames["mean"]), 1)), rtol=1e-4)


def test_the_summary_is_of_slides_within_donors(compared):
    _, table, _ = compared
    donors = {"slice1": "D1", "slice2": "D1", "slice3": "D2"}
    assert dict(zip(table["library"], table["donor"], strict=True)) == donors
    assert not table["same_donor"].any()
    summary = bs.bm.summarise(table)
    assert summary["held_out"].unique().tolist() == ["another donor"]
    row = summary.query("method == 'mine' and gene_set == 'HVG' and genes_from == 'reference'").iloc[0]
    part = table[(table["method"] == "mine") & table["HVG_reference"]]
    of_slides = [part.loc[part["library"] == slide, "pearson"].fillna(0).mean() for slide in donors]
    expected = metrics.bootstrap_interval(np.array(of_slides), np.array(["D1", "D1", "D2"]))
    assert (row["mean"], row["lower"], row["upper"]) == pytest.approx((expected.mean, expected.lower, expected.upper))
    assert (row["n_donors"], row["n_slides"], row["n_genes"]) == (2, 3, 50)
    markers = summary.query("method == 'mine' and gene_set == 'MG'").iloc[0]
    assert markers["n_genes"] == 2


def test_the_figures_show_one_slide_of_a_group_of_several(compared, tmp_path):
    adata, table, predictions = compared
    bs.bm.report(adata, (table, predictions), tmp_path, group_key="donor", library_id="slice2", genes=["CYP3A4"])
    page = (tmp_path / "report.html").read_text()
    assert "CYP3A4 over the H&amp;E of slice2" in page
    assert "Predictions of mine for slide slice2" in page
    assert "<h1>Another donor: one donor left out after another</h1>" in page
    assert "No slide of the same donor was trained on. The intervals resample 2 donors" in page
    with pytest.raises(KeyError, match=r"library_id='slice9' was not predicted"):
        bs.bm.report(adata, (table, predictions), tmp_path, group_key="donor", library_id="slice9")
