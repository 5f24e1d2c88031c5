"""Numbers behind the figures of an evaluation."""

import numpy as np
import pytest
import scanpy as sc
from sklearn.decomposition import PCA

import bleep_sc as bs


@pytest.fixture
def predicted(fitted, query):
    bs.tl.impute(query, ref=fitted)
    return query


def test_the_truth_clusters_like_itself_and_nothing_of_the_user_is_touched(predicted):
    predicted.layers["truth"] = predicted.X.toarray()
    predicted.obsm["X_pca"] = np.zeros((predicted.n_obs, 2))
    bs.tl.leiden(predicted, "truth", resolutions=[0.5, 1.0])
    table = predicted.uns["truth_leiden"]
    assert table["resolution"].tolist() == [0.5, 1.0]
    np.testing.assert_allclose(table[["ari", "nmi", "ami"]], 1)
    assert (predicted.obs["truth_leiden"] == predicted.obs["measured_leiden"]).all()
    assert not predicted.obsm["X_pca"].any()
    assert "neighbors" not in predicted.uns
    assert table["n_measured"].iloc[1] == predicted.obs["measured_leiden"].nunique()


def test_a_constant_prediction_has_no_clusters(predicted):
    predicted.layers["bleep"][:] = 1
    with pytest.raises(ValueError, match="is the same for all spots"):
        bs.tl.leiden(predicted)
    assert "bleep_leiden" not in predicted.obs


def test_gene_correlation_is_stored_by_gene(predicted):
    genes = ["HAL", "CYP3A4", "GLUL"]
    predicted.obs["depth"] = np.log1p(predicted.layers["counts"].sum(axis=1))
    bs.tl.gene_correlation(predicted, genes=genes)
    matrix = predicted.varp["bleep_correlation"]
    a, b = (predicted.var_names.get_loc(gene) for gene in ("HAL", "CYP3A4"))
    values = predicted.layers["bleep"]
    assert matrix[a, b] == pytest.approx(np.corrcoef(values[:, a], values[:, b])[0, 1], abs=1e-4)
    assert matrix[a, b] == matrix[b, a]
    assert matrix.nnz == 9
    assert predicted.uns["bleep_gene_correlation"]["n_pairs"] == 3
    before = predicted.varp["measured_correlation"][a, b]
    bs.tl.gene_correlation(predicted, genes=genes, covariate="depth")
    assert predicted.varp["measured_correlation"][a, b] != before
    assert predicted.varp["bleep_correlation"][a, b] == matrix[a, b]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"genes": ["NOPE", "HAL"]}, KeyError, "genes='NOPE' were not predicted"),
        ({"genes": ["HAL"]}, ValueError, "names 1 genes"),
        ({"covariate": "depth"}, KeyError, r"obs\['depth'\] not found"),
        ({"layer": "none"}, KeyError, r"layers\['none'\] not found"),
    ],
)
def test_bad_genes_write_nothing(predicted, kwargs, error, message):
    with pytest.raises(error, match=message):
        bs.tl.gene_correlation(predicted, **kwargs)
    assert not list(predicted.varp)


def test_predictions_are_projected_into_the_space_of_the_reference(fitted, predicted):
    bs.tl.joint_umap(predicted, fitted)
    record = predicted.uns["bleep_umap"]
    assert predicted.obsm["X_bleep_umap"].shape == (predicted.n_obs, 2)
    assert record["reference"].shape == (fitted.n_obs, 2)
    assert record["reference_library"].tolist() == fitted.obs["library_id"].tolist()
    theirs = fitted.X.toarray()
    pca = PCA(20, random_state=0).fit(theirs)
    joint = np.concatenate([pca.transform(theirs), pca.transform(predicted.layers["bleep"])]).astype(np.float32)
    slides = np.concatenate([fitted.obs["library_id"].astype(str), predicted.obs["library_id"].astype(str)])
    assert record["silhouette"] == pytest.approx(bs.metrics.batch_mixing(joint, slides).silhouette, abs=1e-3)
    with pytest.raises(KeyError, match="lacks 1 of the predicted genes"):
        bs.tl.joint_umap(predicted, fitted[:, fitted.var_names != "HAL"].copy())


def test_a_prediction_that_is_a_reference_profile_lies_on_it(fitted):
    """Spots and coordinates belong together: the first hundred reference profiles, as predictions, find themselves."""
    query = fitted[:100].copy()
    query.obs["library_id"] = "query"
    query.layers["copied"] = query.X.toarray()
    bs.tl.joint_umap(query, fitted, "copied")
    moved = np.linalg.norm(query.obsm["X_copied_umap"] - query.uns["copied_umap"]["reference"][:100], axis=1)
    spread = query.uns["copied_umap"]["reference"].std(axis=0).mean()
    assert np.median(moved) < 0.2 * spread


def test_clusters_belong_to_their_spots(predicted):
    """Two kinds of spots, in a random order, are told apart."""
    kind = np.random.default_rng(0).random(predicted.n_obs) < 0.4
    planted = np.random.default_rng(1).random(predicted.shape).astype(np.float32)
    planted[kind, :100] += 2
    predicted.layers["bleep"] = planted
    bs.tl.leiden(predicted, resolution=0.1, resolutions=[0.1])
    assert bs.metrics.cluster_agreement(kind, predicted.obs["bleep_leiden"])["ari"] == pytest.approx(1)
    predicted.X = planted
    del predicted.uns["bleep_imputed"]
    bs.tl.leiden(predicted, resolution=0.1, resolutions=[0.1])
    assert bs.metrics.cluster_agreement(kind, predicted.obs["measured_leiden"])["ari"] == pytest.approx(1)


@pytest.mark.parametrize("function", [bs.tl.leiden, bs.tl.gene_correlation, bs.pl.mean_variance])
def test_counts_are_no_truth_for_logarithms(predicted, function):
    with pytest.raises(ValueError, match=r"layers\['counts'\] holds counts, but layers\['bleep'\] holds logarithms"):
        function(predicted, truth="counts")


@pytest.mark.parametrize("function", [bs.tl.leiden, bs.tl.gene_correlation, bs.tl.score, bs.pl.mean_variance])
def test_missing_values_in_a_gene_that_is_called_predicted_are_named(predicted, function):
    predicted.layers["bleep"][3, predicted.var_names.get_loc("HAL")] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinite values in 1 genes that var\['bleep_predicted'\] .*'HAL'"):
        function(predicted)
    with pytest.raises(ValueError, match="NaN or infinite values in 1 genes"):
        bs.tl.joint_umap(predicted, predicted)


@pytest.mark.parametrize("function", [bs.tl.leiden, bs.tl.gene_correlation, bs.tl.score, bs.pl.mean_variance])
def test_a_prediction_without_a_measurement_says_how_to_use_it_alone(predicted, function):
    """What the message names is done: the prediction by itself, in scanpy."""
    predicted.X = None
    with pytest.raises(
        KeyError, match=r"adata\.X is empty .*pass truth=.* bleep_sc\.tl\.to_anndata returns, for sc\.pp\.pca"
    ):
        function(predicted)
    alone = bs.tl.to_anndata(predicted)
    sc.pp.pca(alone)
    sc.pp.neighbors(alone)
    sc.tl.leiden(alone, flavor="igraph", n_iterations=2, directed=False)
    assert alone.obs["leiden"].nunique() > 1
