import json

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.preprocessing import StandardScaler

import bleep_sc as bs
from bleep_sc.training.validation import monitored_genes


def by_hand(train, test, alpha):
    """Ridge by its normal equations, on standardised features."""
    scaler = StandardScaler().fit(train.obsm["X_stain_stats"])
    x, y = scaler.transform(train.obsm["X_stain_stats"]).astype(np.float64), train.X.toarray().astype(np.float64)
    weight = np.linalg.solve(x.T @ x + alpha * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
    return scaler.transform(test.obsm["X_stain_stats"]) @ weight + y.mean(axis=0)


def test_predictions_equal_the_normal_equations(reference, query, monkeypatch):
    monkeypatch.setattr("bleep_sc.training.ridge.ALPHAS", [30.0])
    del reference.var["highly_variable"]
    bs.tl.fit_ridge(reference, use_rep="X_stain_stats")
    bs.tl.predict(query, ref=reference, key="ridge")
    np.testing.assert_allclose(query.layers["ridge"], by_hand(reference, query, 30.0), rtol=1e-3, atol=1e-3)


def test_the_penalty_is_chosen_by_leaving_slides_out(reference, monkeypatch):
    alphas = [0.1, 10.0, 1000.0, 100000.0]
    monkeypatch.setattr("bleep_sc.training.ridge.ALPHAS", alphas)
    bs.tl.fit_ridge(reference, use_rep="X_stain_stats")
    chosen = reference[:, reference.var["highly_variable"]].copy()
    genes = monitored_genes(chosen.X.toarray(), chosen.obs["library_id"].to_numpy())
    scores = []
    for alpha in alphas:
        folds = []
        for library in ("slice1", "slice2"):
            train = chosen[chosen.obs["library_id"] != library]
            test = chosen[chosen.obs["library_id"] == library]
            scaler = StandardScaler().fit(train.obsm["X_stain_stats"])
            model = Ridge(alpha).fit(scaler.transform(train.obsm["X_stain_stats"]), train.X.toarray())
            predicted = model.predict(scaler.transform(test.obsm["X_stain_stats"]))
            folds.append(np.mean([np.corrcoef(predicted[:, g], test.X.toarray()[:, g])[0, 1] for g in genes]))
        scores.append(np.mean(folds))
    assert json.loads(reference.uns["ridge"]["params"])["alpha"] == alphas[int(np.argmax(scores))]


def test_one_slide_is_split_at_random(query):
    bs.tl.fit_ridge(query, use_rep="X_stain_stats")
    assert "ridge" in query.uns


def test_it_predicts_what_the_image_shows(reference, query):
    bs.tl.fit_ridge(reference, use_rep="X_stain_stats")
    bs.tl.predict(query, ref=reference, key="ridge")
    bs.tl.score(query, "ridge")
    assert query.var.loc["CYP3A4", "ridge_pearson"] > 0.6


def test_bad_input(reference):
    with pytest.raises(KeyError, match=r"obsm\['X_none'\] not found"):
        bs.tl.fit_ridge(reference, use_rep="X_none")
    with pytest.raises(ValueError, match="looks like counts"):
        bs.tl.fit_ridge(reference, use_rep="X_stain_stats", layer="counts")
    assert "ridge" not in reference.uns


def test_rounding_of_a_constant_feature_is_not_scaled_up(reference, query):
    bs.tl.fit_ridge(reference, use_rep="X_stain_stats", key_added="alone")
    noise = 6e-5 * np.random.default_rng(0).normal(size=(reference.n_obs, 1))
    reference.obsm["X_level"] = (1000 + noise).astype(np.float32)
    query.obsm["X_level"] = np.full((query.n_obs, 1), 1001, dtype=np.float32)
    bs.tl.fit_ridge(reference, use_rep=["X_stain_stats", "X_level"], key_added="ridge")
    for key in ("alone", "ridge"):
        bs.tl.predict(query, ref=reference, key=key)
    np.testing.assert_allclose(query.layers["ridge"], query.layers["alone"], atol=1e-3)


@pytest.mark.parametrize(("donor_key", "units"), [(None, {"P", "Q"}), ("library_id", {"slice1", "slice2", "slice3"})])
def test_the_penalty_is_chosen_on_donors_that_were_held_out(toy, monkeypatch, donor_key, units):
    """No slide is predicted while another one of its donor is learnt from."""
    toy.obs["patient"] = np.where(toy.obs["library_id"] == "slice3", "Q", "P")
    held_out, split = [], LeaveOneGroupOut.split

    def watched(self, images, groups):
        held_out.append(set(groups))
        return split(self, images, groups=groups)

    monkeypatch.setattr(LeaveOneGroupOut, "split", watched)
    bs.tl.fit_ridge(toy, use_rep="X_stain_stats", donor_key=donor_key)
    assert held_out == [units]
    assert bs.tl.load_model(toy, "ridge").description.params["donor_key"] == (donor_key or "patient")
