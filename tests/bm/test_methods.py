from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

import bleep_sc as bs
from bleep_sc.bm import _baselines, _methods, _probes
from bleep_sc.bm._cross_validate import _takes_seed
from bleep_sc.bm._folds import split
from bleep_sc.metrics import highest_genes, pearson
from bleep_sc.models.methods import METHODS

fit = bs.tl.fit

REP = "X_stain_stats"


@pytest.fixture
def quick(monkeypatch):
    """Three epochs for every network, and three trees for every forest."""
    monkeypatch.setattr(_probes, "N_TREES", 3)
    monkeypatch.setattr(_probes, "N_ROUNDS", 3)
    for method in METHODS.values():
        kind = method.load("config")
        if kind is not None:
            few = lambda self, kind=kind, **how: kind.__init__(self, **{"max_epochs": 3, **how})  # noqa: E731
            monkeypatch.setattr(method.config.replace(":", "."), type(kind.__name__, (kind,), {"__init__": few}))
    monkeypatch.setattr(bs.tl, "FitConfig", METHODS["bleep"].load("config"))


@pytest.fixture
def fold(toy):
    toy.X = toy.layers["counts"].copy()
    data = split(
        toy, "library_id", use_rep=[REP], patches_key="patches", layer=None, library_key="library_id", n_top_genes=40
    )
    return data.fold("slice3")


def test_all_are_all_that_can_run():
    every = bs.bm.methods("all", use_rep="X_stain_stats")
    assert list(every) == _methods.known_names()
    assert not {"ridge", "he2rna", "hest_ridge"} & set(bs.bm.methods("all"))
    assert set(bs.bm.methods("all", use_rep="X_stain_stats", paper="both")) == {
        *_methods.known_names(),
        "bleep_published",
    }


def test_names(fold):
    every = [
        "mean",
        "location",
        "knn",
        "hest_ridge",
        "ridge",
        "stnet",
        "histogene",
        "he2rna",
        "hist2rna",
        "bleep",
    ]
    assert list(bs.bm.methods(use_rep=REP)) == every
    small = bs.bm.methods(use_rep=REP, paper=False)
    assert [name for name in small if name not in every] == ["hist2st"]  # which takes hours as published
    assert list(bs.bm.methods(["boosting", "random_forest"], use_rep=REP)) == ["boosting", "random_forest"]  # if named
    assert list(bs.bm.methods()) == ["mean", "location", "stnet", "histogene", "bleep"]
    assert list(bs.bm.methods(["bleep_place"], use_rep=REP)) == ["bleep_place"]  # and only where it is named
    with pytest.raises(
        ValueError, match="names= has 'magic', which is no method of the package\\. It has: mean, location"
    ):
        bs.bm.methods(["magic"])
    variants = ["clip", "bleep_simple", "bleep_weighted", "bleep_anchors"]
    assert list(bs.bm.methods([*variants, "bleep"], use_rep=REP, paper="both")) == [
        *variants,
        "bleep",
        "bleep_published",
    ]
    with pytest.raises(ValueError, match="ridge need image features; use_rep= names them"):
        bs.bm.methods(["mean", "ridge"])


def test_published_and_default_bleep_come_in_one_call():
    both = bs.bm.methods(use_rep=REP, paper="both")
    assert [*both][-2:] == ["bleep", "bleep_published"]
    assert list(bs.bm.methods(["ridge", "bleep"], use_rep=REP, paper="both")) == ["ridge", "bleep", "bleep_published"]
    alone = {paper: bs.bm.methods(use_rep=REP, paper=paper) for paper in (True, False)}
    of = lambda method: (method.func, method.args, method.keywords)  # noqa: E731
    assert of(both["bleep_published"]) == of(alone[True]["bleep"])  # so that kept runs are taken for the same
    assert of(both["bleep"]) == of(alone[False]["bleep"])
    assert of(both["stnet"]) == of(alone[True]["stnet"])


TRIED = [*(name for name in _methods.known_names() if name not in _methods.VARIANTS), "bleep_anchors"]


@pytest.mark.parametrize("name", TRIED)
def test_every_method_predicts_every_spot(fold, quick, name):
    method = bs.bm.methods([name], use_rep=REP, paper=False)[name]
    seed = {"random_state": 0} if _takes_seed(method) else {}
    result = method(fold.train.copy(), fold.query.copy(), **seed)
    shape = (fold.query.n_obs, fold.train.n_obs if sparse.issparse(result) else len(fold.panel))
    assert result.shape == shape
    if sparse.issparse(result):
        np.testing.assert_allclose(np.asarray(result.sum(axis=1)).ravel(), 1, rtol=1e-5)
    else:
        assert np.isfinite(result).all()


@pytest.mark.parametrize("name", [name for name in TRIED if name not in ("mean", "ridge")])
def test_noise_in_the_held_out_section_changes_no_prediction_of(toy, quick, name):
    """Ridge is tested beside the cross-validation itself, with its fitted weights."""
    method = bs.bm.methods([name], use_rep=REP, paper=False)[name]
    counts = toy[:, :60].copy()
    counts.X = counts.layers["counts"].copy()
    held = (counts.obs["library_id"] == "slice3").to_numpy()
    noisy = counts.copy()
    expression = noisy.X.toarray()
    expression[held] = np.random.default_rng(0).poisson(5, (held.sum(), noisy.n_vars))
    noisy.X = sparse.csr_matrix(expression)
    settings = {"use_rep": [REP], "patches_key": "patches", "layer": None, "library_key": "library_id"}
    folds = [split(each, "library_id", **settings, n_top_genes=20).fold("slice3") for each in (counts, noisy)]
    seed = {"random_state": 0} if _takes_seed(method) else {}
    before, after = (method(fold.train, fold.query, **seed) for fold in folds)
    np.testing.assert_array_equal(*(sparse.csr_matrix(each).toarray() for each in (before, after)))


@pytest.mark.parametrize("paper", [True, False, "both"])
def test_variants_are_bleep_with_one_thing_changed(fold, paper, monkeypatch):
    """As published or by default, whichever `bleep` is in the same call."""
    seen = {}

    def fit(train, *, config, **_):
        seen["config"] = config
        raise InterruptedError

    monkeypatch.setattr(bs.tl, "fit", fit)
    changed = {
        "clip": {"soft_targets": False},
        "bleep_simple": {"n_neighbors": 1},
        "bleep_weighted": {"neighbor_weights": "distance"},
        "bleep_anchors": {"neighbor_weights": "anchors"},
    }
    methods = bs.bm.methods([*changed, "bleep"], use_rep=REP, paper=paper)
    kind = bs.tl.FitConfig.paper() if paper is True else bs.tl.FitConfig()
    for name, fields in {**changed, "bleep": {}}.items():
        with pytest.raises(InterruptedError):
            methods[name](fold.train, fold.query, random_state=0)
        assert seen["config"] == replace(kind, **fields)


def test_neighbours_are_the_nearest_by_standardised_features(fold):
    train, query = fold.train, fold.query
    weights = _baselines.knn(train, query, use_rep=[REP])
    k = np.diff(weights.indptr)[0]
    assert k in _baselines.N_NEIGHBORS
    mean, std = train.obsm[REP].mean(axis=0), train.obsm[REP].std(axis=0)
    a, b = ((side.obsm[REP] - mean) / np.where(std > 0, std, 1) for side in (query, train))
    cosine = (a @ b.T) / np.outer(np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1))
    expected = np.sort(np.argsort(-cosine[7])[:k])
    assert weights[7].indices.tolist() == expected.tolist()


def test_location_copy_finds_the_same_place_on_a_section_that_was_turned(fold):
    train, query = fold.train.copy(), fold.train[fold.train.obs["library_id"] == "slice1"].copy()
    train = train[train.obs["library_id"] == "slice1"].copy()
    place = train.obsm["spatial"].copy()
    query.obsm["spatial"] = place @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + 3000
    weights = _baselines.location(train, query, patches_key="patches")
    copied = weights @ place
    assert np.median(np.linalg.norm(copied - place, axis=1)) < 100  # of spots 100 px apart
    np.testing.assert_array_equal(np.diff(weights.indptr), _baselines.N_PLACES)


def test_location_copy_needs_patches(fold):
    train, query = fold.train.copy(), fold.query.copy()
    del train.obsm["patches"]
    with pytest.raises(KeyError, match=r"obsm\['patches'\] not found .*patches_key="):
        _baselines.location(train, query, patches_key="patches")


def test_how_many_neighbours_is_what_predicts_left_out_slides_best(fold):
    train = fold.train
    keys = _baselines._standardized(train, fold.query, [REP])[0]
    expression = train[:, fold.panel].X.toarray()
    slides = train.obs["library_id"].to_numpy()
    genes = highest_genes(expression, slides, by="variance")
    scores = {}
    for k in _baselines.N_NEIGHBORS:
        of_slides = []
        for slide in ("slice1", "slice2"):
            out = slides == slide
            index = NearestNeighbors(n_neighbors=k, metric="cosine").fit(keys[~out]).kneighbors(keys[out])[1]
            predicted = expression[~out][index].mean(axis=1)
            of_slides.append(np.nan_to_num(pearson(predicted, expression[out])[genes]).mean())
        scores[k] = np.mean(of_slides)
    weights = _baselines.knn(train, fold.query, use_rep=[REP])
    assert np.diff(weights.indptr)[0] == max(scores, key=scores.get)


def test_bleep_is_trained_on_corrected_expression_where_that_is_asked_for(fold, quick, monkeypatch):
    seen = []
    monkeypatch.setattr(bs.tl, "fit", lambda train, **kwargs: seen.append(kwargs["target_rep"]) or fit(train, **kwargs))
    for batch_correct in (False, True):
        method = bs.bm.methods(["bleep"], use_rep=REP, paper=False, batch_correct=batch_correct)["bleep"]
        train = fold.train.copy()
        method(train, fold.query.copy(), random_state=0)
        assert ("X_harmony" in train.obsm) == batch_correct
    assert seen == [None, "X_harmony"]


def test_histogene_reads_the_middle_of_larger_patches_and_large_sections_in_windows(fold, monkeypatch):
    seen = {}
    monkeypatch.setattr(_methods, "fit_method", lambda train, name, **kwargs: seen.update(kwargs, train=train))

    def predict(query, ref, key):
        seen["query"] = query
        query.layers[key] = np.zeros(query.shape)

    monkeypatch.setattr(bs.tl, "predict", predict)
    monkeypatch.setattr("bleep_sc.training.baseline_configs.LARGEST_SECTION", 200)
    train, query = fold.train.copy(), fold.query.copy()
    for side in (train, query):
        side.obsm["patches"] = np.random.default_rng(0).integers(0, 255, (side.n_obs, 120, 120, 3), dtype=np.uint8)
    whole = train.obsm["patches"]
    bs.bm.methods(["histogene"])["histogene"](train, query, random_state=0)
    assert seen["query"].obsm["patches"].shape == (query.n_obs, 112, 112, 3)
    np.testing.assert_array_equal(seen["train"].obsm["patches"], whole[:, 4:116, 4:116])
    record = seen["train"].uns["patches"]["slice1"]
    assert (record["size"], record["size_um"]) == (112, pytest.approx(112 * 112 / 120))
    assert seen["config"].max_spots == 128


def test_location_copy_measures_all_slides_alike(fold):
    """One slide whose µm are not known: the distances between spots serve for all."""
    train, query = fold.train.copy(), fold.query.copy()
    expected = _baselines.location(train.copy(), query.copy(), patches_key="patches")
    for side in (train, query):
        del side.obs["array_row"], side.uns["patches"]
        for record in side.uns["spatial"].values():
            record["scalefactors"].pop("microns_per_pixel", None)
    weights = _baselines.location(train, query, patches_key="patches")
    assert (weights.multiply(expected) > 0).sum() > 0.9 * expected.nnz
    points = _baselines._to_scale({"train": fold.train, "query": query})["train"]
    points = points[(fold.train.obs["library_id"] == "slice1").to_numpy()]
    spacing = NearestNeighbors(n_neighbors=2).fit(points).kneighbors(points)[0][:, 1]
    assert np.median(spacing) == pytest.approx(1)
