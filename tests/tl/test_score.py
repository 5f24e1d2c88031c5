import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bleep_sc as bs
from bleep_sc.tl._score import MARKERS


@pytest.fixture
def predicted(fitted, toy):
    """All three slides with a prediction, so that scores are averaged over slides."""
    with pytest.warns(UserWarning, match="leak|meaningless"):
        bs.tl.impute(toy, ref=fitted)
    return toy


def test_correlations_are_taken_inside_slides_and_averaged(predicted):
    bs.tl.score(predicted)
    gene = predicted.var_names.get_loc("CYP3A4")
    by_slide = []
    for library in predicted.obs["library_id"].unique():
        rows = (predicted.obs["library_id"] == library).to_numpy()
        truth = predicted.X[rows].toarray()[:, gene]
        by_slide.append(stats.pearsonr(predicted.layers["bleep"][rows, gene], truth).statistic)
    assert predicted.var["bleep_pearson"].iloc[gene] == pytest.approx(np.mean(by_slide))
    table = predicted.uns["bleep_score"].set_index(["library", "gene_set"])
    assert table.loc[("mean", "HEG"), "pearson"] == pytest.approx(
        np.mean([table.loc[(library, "HEG"), "pearson"] for library in ("slice1", "slice2", "slice3")])
    )


def test_gene_sets_come_from_the_truth_or_from_the_training_slides(fitted, query):
    bs.tl.impute(query, ref=fitted)
    bs.tl.score(query)
    table = query.uns["bleep_score"].query("library == 'slice3'").set_index("gene_set")
    truth, r = query.X.toarray(), query.var["bleep_pearson"].to_numpy()
    assert table.loc["HEG", "pearson"] == pytest.approx(r[np.argsort(-truth.mean(axis=0))[:50]].mean())
    assert table.loc["HVG", "pearson"] == pytest.approx(r[np.argsort(-truth.var(axis=0))[:50]].mean())
    assert table.loc["MG", "pearson"] == pytest.approx(query.var.loc[list(MARKERS), "bleep_pearson"].mean())
    assert table["genes_from"].to_dict() == {"all": "fixed", "MG": "fixed", "HEG": "truth", "HVG": "truth"}
    bs.tl.score(query, gene_sets=fitted)
    table = query.uns["bleep_score"].query("library == 'slice3'").set_index("gene_set")
    slides = [fitted.X.toarray()[(fitted.obs["library_id"] == name).to_numpy()] for name in ("slice1", "slice2")]
    variance = np.mean([slide.var(axis=0) for slide in slides], axis=0)
    assert table.loc["HVG", "pearson"] == pytest.approx(r[np.argsort(-variance)[:50]].mean())
    assert table.loc["HVG", "genes_from"] == "reference"
    bs.tl.score(query, gene_sets={"zone": ["CYP3A4", "HAL", "not a gene"]})
    table = query.uns["bleep_score"].query("library == 'mean'").set_index("gene_set")
    assert table.loc["zone", "pearson"] == pytest.approx(query.var.loc[["CYP3A4", "HAL"], "bleep_pearson"].mean())
    assert table.loc["zone", ["genes_from", "n_genes"]].tolist() == ["given", 2]


def test_the_training_slides_are_read_once_for_all_slides(predicted, fitted, monkeypatch):
    from bleep_sc.tl import _score

    read, of_source = [], _score.libraries
    monkeypatch.setattr(_score, "libraries", lambda adata, key: read.append(adata) or of_source(adata, key))
    bs.tl.score(predicted, gene_sets=fitted)
    assert read == [predicted, fitted]
    table = predicted.uns["bleep_score"]
    assert table.groupby("gene_set")["n_genes"].nunique().eq(1).all()
    assert set(table["library"]) == {"slice1", "slice2", "slice3", "mean"}


def test_a_constant_gene_counts_as_zero_and_shifts_no_other(fitted, query):
    bs.tl.impute(query, ref=fitted)
    bs.tl.score(query)
    before, table = query.var["bleep_pearson"].copy(), query.uns["bleep_score"].copy()
    gene = query.var_names.get_loc("CYP3A4")
    query.layers["bleep"][:, gene] = 1.0
    bs.tl.score(query)
    assert np.isnan(query.var.loc["CYP3A4", "bleep_pearson"])
    pd.testing.assert_series_equal(query.var["bleep_pearson"].drop("CYP3A4"), before.drop("CYP3A4"))
    marker = query.uns["bleep_score"].query("gene_set == 'MG' and library == 'slice3'").iloc[0]
    expected = table.query("gene_set == 'MG' and library == 'slice3'").iloc[0]["pearson"] - before["CYP3A4"] / 8
    assert marker["pearson"] == pytest.approx(expected)
    assert marker["n_undefined"] == 1


def test_units_must_agree(fitted, query):
    bs.tl.impute(query, ref=fitted)
    with pytest.raises(ValueError, match=r"layers\['counts'\] holds counts, but layers\['bleep'\] holds logarithms"):
        bs.tl.score(query, truth="counts")
    bs.tl.impute(query, ref=fitted, layer="counts", key_added="umi")
    with pytest.raises(ValueError, match=r"X holds no counts, but layers\['umi'\] was imputed in counts"):
        bs.tl.score(query, "umi")
    bs.tl.score(query, "umi", truth="counts")
    assert "bleep_score" not in query.uns


def test_bad_input(fitted, query):
    with pytest.raises(KeyError, match=r"layers\['bleep'\] not found .*Run bleep_sc.tl.impute"):
        bs.tl.score(query)
    bs.tl.impute(query, ref=fitted)
    with pytest.raises(ValueError, match="gene_sets='zone': none of its genes was predicted"):
        bs.tl.score(query, gene_sets={"zone": ["INS"]})
    with pytest.raises(ValueError, match="the training slides lack 1 predicted genes"):
        bs.tl.score(query, gene_sets=fitted[:, 1:].copy())
    query.X = None
    with pytest.raises(KeyError, match="compares with measured expression: pass truth="):
        bs.tl.score(query)


def test_markers_of_the_liver_are_scored_only_where_there_are_all(fitted, query):
    bs.tl.impute(query, ref=fitted, genes=[name for name in query.var_names if name != "HAL"])
    bs.tl.score(query)
    assert set(query.uns["bleep_score"]["gene_set"]) == {"all", "HEG", "HVG"}


def test_several_layers_are_compared_over_the_genes_that_all_hold(fitted, query):
    bs.tl.impute(query, ref=fitted)
    bs.tl.fit_ridge(fitted, use_rep="X_stain_stats")
    bs.tl.predict(query, ref=fitted, key="ridge")
    bs.tl.score(query, ["bleep", "ridge"])
    panel = int(fitted.var["highly_variable"].sum())
    for layer in ("bleep", "ridge"):
        table = query.uns[f"{layer}_score"].set_index(["library", "gene_set"])
        assert table.loc[("slice3", "all"), "n_genes"] == panel < query.n_vars
        assert query.var[f"{layer}_pearson"].notna().sum() <= panel
    alone = query.copy()
    bs.tl.score(alone, "ridge")
    pd.testing.assert_frame_equal(alone.uns["ridge_score"], query.uns["ridge_score"])


def test_other_totals_and_missing_values_are_refused(fitted, query):
    bs.tl.impute(query, ref=fitted)
    other = query.copy()
    other.X = np.log1p(100 * np.expm1(query.X.toarray()))
    with pytest.raises(ValueError, match=r"X is normalised to 1e\+06 counts a spot, but layers\['bleep'\] to 1e\+04"):
        bs.tl.score(other)
    other.X = query.X.toarray()
    other.X[3, 3] = np.nan
    with pytest.raises(ValueError, match="measured expression holds NaN"):
        bs.tl.score(other)
    assert "bleep_score" not in other.uns
