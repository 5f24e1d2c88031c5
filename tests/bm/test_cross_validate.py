import json
from functools import partial
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge

import bleep_sc as bs
from bleep_sc import metrics
from bleep_sc.bm import _cross_validate, _folds
from bleep_sc.bm._guards import check_groups_are_apart

REP = "X_stain_stats"


@pytest.fixture
def counts(toy):
    """Three slides with raw counts in X."""
    toy.X = toy.layers["counts"].copy()
    return toy


def my_method(train, query):
    panel = train.var["highly_variable"].to_numpy()
    model = Ridge(1e2).fit(train.obsm[REP], train[:, panel].X.toarray())
    return model.predict(query.obsm[REP])


def uniform(train, query):
    return sparse.csr_matrix(np.full((query.n_obs, train.n_obs), 1 / train.n_obs))


def validate(adata, methods=None, **kwargs):
    methods = {"mine": my_method} if methods is None else methods
    settings = {"group_key": "library_id", "use_rep": REP, "n_top_genes": 40, **kwargs}
    return bs.bm.cross_validate(adata, methods, **settings)


def test_a_method_of_ten_lines_is_scored_by_hand(counts):
    table, predictions = validate(counts, return_predictions=True)
    assert set(table["method"]) == {"mine", "permuted"}
    assert table.groupby("method")["library"].nunique().tolist() == [3, 3]
    slide = bs.bm.held_out(counts, predictions, "slice2", group_key="library_id")
    totals = counts[counts.obs["library_id"] == "slice2"].X.toarray().sum(axis=1, keepdims=True)
    whole = np.log1p(1e4 * counts[slide.obs_names].X.toarray() / totals)
    np.testing.assert_allclose(slide.X.toarray(), whole[:, counts.var_names.get_indexer(slide.var_names)], rtol=1e-5)
    part = table.query("library == 'slice2' and method == 'mine'").set_index("gene")
    assert part.index.tolist() == slide.var_names.tolist()
    np.testing.assert_allclose(
        part["pearson"], metrics.pearson(slide.layers["mine"], slide.X.toarray()), equal_nan=True
    )
    np.testing.assert_allclose(part["measured_mean"], slide.X.toarray().mean(axis=0), rtol=1e-4)
    top = part["measured_variance"].nlargest(50).index
    assert set(part.index[part["HVG_truth"]]) == set(top)
    assert part.loc["CYP3A4", "pearson"] > 0.5


def test_the_query_holds_no_expression_and_nothing_that_was_computed_from_it(counts):
    counts.obs["total_counts"] = counts.X.sum(axis=1)
    counts.obsm["X_umap"] = np.zeros((counts.n_obs, 2))
    counts.layers["logs"] = counts.X.copy()
    counts.uns["secret"] = 1
    seen = []

    def spy(train, query):
        seen.append((train, query))
        return my_method(train, query)

    validate(counts, {"spy": spy})
    for (train, query), held in zip(seen, ("slice1", "slice2", "slice3"), strict=True):
        assert query.X is None
        assert [name for name in query.layers if name is not None] == []
        assert set(query.obs) <= {"library_id", "array_row", "array_col", "in_tissue"}
        assert set(query.obsm) == {"spatial", "patches", REP}
        assert query.var.shape[1] == 0
        assert set(query.uns) <= {"spatial", "patches", REP}
        assert set(query.uns["spatial"]) == {held}
        assert held not in train.uns["spatial"]
        assert held not in set(train.obs["library_id"])
        assert not set(train.obs_names) & set(query.obs_names)


def test_noise_in_the_held_out_section_changes_no_fitted_object_and_no_prediction(counts):
    """What is fitted without slice3 is the same, byte for byte, whatever the expression of slice3."""
    models = {}

    def capture(name):
        def method(train, query):
            bs.tl.fit_ridge(train, use_rep=REP)
            if "slice3" in set(query.obs["library_id"]):
                models[name] = (train.uns["ridge"]["model"].tobytes(), train.var_names[train.var["highly_variable"]])
            bs.tl.predict(query, ref=train, key="ridge")
            return query[:, train.var["highly_variable"].to_numpy()].layers["ridge"]

        return method

    _, before = validate(counts, {"m": capture("before")}, return_predictions=True)
    held = (counts.obs["library_id"] == "slice3").to_numpy()
    noise = counts.X.toarray()
    noise[held] = np.random.default_rng(0).poisson(5, (held.sum(), counts.n_vars))
    counts.X = sparse.csr_matrix(noise)
    _, after = validate(counts, {"m": capture("after")}, return_predictions=True)
    assert models["before"][0] == models["after"][0]
    assert models["before"][1].equals(models["after"][1])
    np.testing.assert_array_equal(before["m"]["slice3"], after["m"]["slice3"])


def test_a_gene_that_names_the_held_out_section_changes_nothing(counts):
    spy = counts.copy()
    expression = spy.X.toarray()
    expression[:, spy.var_names.get_loc("GENE200")] = 0
    base = spy.copy()
    base.X = sparse.csr_matrix(expression)
    _, before = validate(base, return_predictions=True)
    expression[(spy.obs["library_id"] == "slice3").to_numpy(), spy.var_names.get_loc("GENE200")] = 50
    spy.X = sparse.csr_matrix(expression)
    _, after = validate(spy, return_predictions=True)
    np.testing.assert_array_equal(before["mine"]["slice3"], after["mine"]["slice3"])
    assert "GENE200" not in after["mine"]["slice3"].columns


def test_weights_are_averaged_and_scored_as_a_distribution(counts):
    table, predictions = validate(counts, {"uniform": uniform, "mine": my_method}, return_predictions=True)
    constant = predictions["uniform"]["slice1"]
    np.testing.assert_allclose(np.ptp(constant.to_numpy(), axis=0), 0, atol=1e-5)
    part = table.query("library == 'slice1'").set_index(["method", "gene"])
    assert (part.loc["uniform", "crps"] < part.loc["uniform", "mae"]).all()
    np.testing.assert_array_equal(part.loc["mine", "crps"], part.loc["mine", "mae"])


def test_an_error_of_a_method_says_which_where_and_with_what_seed(counts):
    with pytest.raises(ZeroDivisionError) as error:
        bs.bm.cross_validate(counts, {"bad": lambda train, query: 1 / 0}, group_key="library_id", n_top_genes=20)
    assert error.value.__notes__ == ["This was in methods['bad'], with 'slice1' held out, seed 0."]


def test_what_is_no_array_is_named_with_what_a_method_returns(counts):
    with pytest.raises(
        TypeError, match=r"methods\['bad'\] returned an AnnData, .* must return an array \(n_query, n_g"
    ):
        bs.bm.cross_validate(counts, {"bad": lambda X, y: X}, group_key="library_id", n_top_genes=20)


def test_seeds_are_for_methods_that_take_one(counts):
    def seeded(train, query, random_state):
        return my_method(train, query) + np.random.default_rng(random_state).normal(0, 0.1)

    table = validate(counts, {"seeded": seeded, "mine": my_method}, n_seeds=3, random_state=5)
    assert sorted(table.query("method == 'seeded'")["seed"].unique()) == [5, 6, 7]
    assert table.query("method == 'mine'")["seed"].unique().tolist() == [5]


def test_an_interrupted_call_goes_on_where_it_was(counts, tmp_path):
    calls = []

    def stumbles(train, query):
        calls.append(query.obs["library_id"].iloc[0])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return my_method(train, query)

    with pytest.raises(KeyboardInterrupt):
        validate(counts, {"m": stumbles}, path=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 1
    assert len(list(tmp_path.iterdir())) == 2  # and the settings
    resumed = validate(counts, {"m": stumbles}, path=tmp_path)
    assert calls == ["slice1", "slice2", "slice2", "slice3"]
    fresh = validate(counts, {"m": my_method})
    np.testing.assert_array_equal(resumed["pearson"], fresh["pearson"])
    assert len(calls) == 4


def test_the_same_features_from_more_threads_go_on(counts, tmp_path):
    first = validate(counts, path=tmp_path)
    counts.obsm[REP] = counts.obsm[REP] * np.float32(1 + 2e-6)
    np.testing.assert_array_equal(validate(counts, path=tmp_path)["pearson"], first["pearson"])
    order = np.arange(counts.n_obs)
    order[[3, 8]] = [8, 3]
    counts.obsm[REP] = counts.obsm[REP][order]
    with pytest.raises(ValueError, match="another comparison: obsm differ"):
        validate(counts, path=tmp_path)


def test_runs_of_other_data_are_refused(counts, tmp_path):
    validate(counts, path=tmp_path)
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings["n_top_genes"] == 40
    with pytest.raises(ValueError, match="another comparison: n_top_genes differ"):
        validate(counts, path=tmp_path, n_top_genes=30)
    counts.obsm[REP] = counts.obsm[REP] + 1
    counts.obs["array_row"] += 1
    counts.uns["spatial"]["slice1"]["scalefactors"]["microns_per_pixel"] = 2.0
    with pytest.raises(ValueError, match="another comparison: obs, obsm, scalefactors differ"):
        validate(counts, path=tmp_path)


def test_runs_of_a_method_with_other_arguments_are_refused(counts, tmp_path):
    def scaled(train, query, *, factor, show_progress_bar=False):
        return factor * my_method(train, query)

    validate(counts, {"m": partial(scaled, factor=2)}, path=tmp_path)
    again = validate(counts, {"m": partial(scaled, factor=2, show_progress_bar=True)}, path=tmp_path)
    assert (again["seconds"].dropna() > 0).all()
    with pytest.raises(ValueError, match=r"a run of 'm' with other arguments: factor differ"):
        validate(counts, {"m": partial(scaled, factor=3)}, path=tmp_path)


def test_a_method_that_fails_takes_no_other_with_it(counts, tmp_path, caplog):
    """It fails on the second fold, and is left out of all of them; its kept run is not run again."""
    calls = []

    def fails(train, query):
        calls.append(str(query.obs["library_id"].iloc[0]))
        if calls[-1] == "slice2" and len(calls) < 4:
            raise RuntimeError("out of memory")
        return my_method(train, query)

    both = {"fails": fails, "mine": my_method}
    with pytest.raises(RuntimeError, match="out of memory") as error:
        validate(counts, both)
    assert error.value.__notes__ == ["This was in methods['fails'], with 'slice2' held out, seed 0."]
    calls.clear()
    table, predictions = validate(counts, both, path=tmp_path, keep_going=True, return_predictions=True)
    assert set(table["method"]) == {"mine", "permuted"}
    assert table.index.tolist() == list(range(len(table)))
    assert list(predictions) == ["mine"]
    assert table.attrs["failed"] == {"fails": "RuntimeError: out of memory"}
    assert "Going on without methods['fails'], which failed." in caplog.text
    assert calls == ["slice1", "slice2"]
    alone = validate(counts)
    assert table[table["method"] == "mine"]["pearson"].tolist() == alone[alone["method"] == "mine"]["pearson"].tolist()
    calls += ["slice2", "slice2"]  # from now on it works
    again = validate(counts, both, path=tmp_path, keep_going=True)
    assert calls == ["slice1", "slice2", "slice2", "slice2", "slice2", "slice3"]
    assert set(again["method"]) == {"fails", "mine", "permuted"}
    assert again.attrs["failed"] == {}


def test_where_every_method_fails_the_last_error_is_raised(counts):
    def fails(train, query):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        validate(counts, {"one": fails, "other": fails}, keep_going=True)


def test_markers_are_predicted_whether_they_were_chosen_or_not(counts):
    table = validate(counts, markers=["GENE200"], n_top_genes=10)
    assert table.loc[table["MG"], "gene"].unique().tolist() == ["GENE200"]
    assert not validate(counts, n_top_genes=10)["MG"].any()


def test_genes_that_are_not_predicted_are_counted_and_shift_no_other(counts):
    def holed(train, query):
        values = my_method(train, query)
        values[:, 3] = np.nan
        return values

    full, part = (validate(counts, {"m": method}).query("method == 'm'") for method in (my_method, holed))
    missing = part["pearson"].isna().to_numpy() & full["pearson"].notna().to_numpy()
    assert part.loc[missing].groupby("library").size().tolist() == [1, 1, 1]
    np.testing.assert_array_equal(part["gene"], full["gene"])
    np.testing.assert_array_equal(part["pearson"][~missing], full["pearson"][~missing])
    summary = bs.bm.summarise(part).set_index(["method", "gene_set", "genes_from"])
    assert summary.loc[("m", "all", "panel"), "n_undefined"] == 1


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (lambda train, query: None, "returned nothing"),
        (lambda train, query: my_method(train, query)[:, 1:], r"returned an array of shape .*is expected"),
        (lambda train, query: my_method(train, query) * np.nan, "nothing but NaN"),
        (
            lambda train, query: np.where(np.arange(query.n_obs)[:, None] < 2, np.nan, my_method(train, query)),
            "for some",
        ),
        (lambda train, query: sparse.eye(query.n_obs, format="csr"), "returned weights of shape"),
        (lambda train, query: 2 * uniform(train, query), r"weights that are no means.*spot 0 sum to 2\)"),
        (lambda train, query: sparse.csr_matrix((query.n_obs, train.n_obs)), r"spot 0 sum to 0\)"),
    ],
)
def test_a_method_that_returns_something_else_is_named(counts, method, message):
    with pytest.raises(ValueError, match=message):
        validate(counts, {"wrong": method})


def logs(adata):
    adata.X = np.log1p(adata.X.toarray())


def torn(adata):
    adata.obs["group"] = np.arange(adata.n_obs) % 3


@pytest.mark.parametrize(
    ("change", "kwargs", "error", "message"),
    [
        (logs, {}, ValueError, "adata.X holds no raw counts"),
        (lambda a: None, {"layer": "none"}, KeyError, r"layers\['none'\] not found"),
        (lambda a: None, {"group_key": "patient"}, KeyError, r"obs\['patient'\] not found"),
        (torn, {"group_key": "group"}, ValueError, "A group must hold whole slides"),
        (
            lambda a: a.obs.__setitem__("one", "same"),
            {"group_key": "one"},
            ValueError,
            "nothing would be left to train",
        ),
        (lambda a: None, {"use_rep": "X_none"}, KeyError, "use_rep='X_none' not found"),
        (
            lambda a: a.uns["patches"]["slice2"].update(size_um=60.0),
            {},
            ValueError,
            "show 60 µm on slide 'slice2' and 112 µm on slide",
        ),
        (lambda a: None, {"use_rep": "X_pca"}, ValueError, "computed from the expression of all spots"),
        (lambda a: None, {"use_rep": "X_mine_image"}, ValueError, "computed from the expression of all spots"),
        (lambda a: None, {"use_rep": "X_corrected"}, ValueError, "computed from the expression of all spots"),
        (lambda a: None, {"methods": {}}, ValueError, r"methods=\{\} is empty"),
        (lambda a: None, {"methods": {"permuted": my_method}}, ValueError, "'permuted', which stands for something"),
        (lambda a: None, {"methods": {"mine": "ridge"}}, TypeError, "is a name and no function"),
        (lambda a: None, {"n_seeds": 0}, ValueError, "n_seeds=0 must be at least 1"),
        (lambda a: None, {"markers": ["CYP3A4", "INS"]}, KeyError, r"markers='INS' are not in adata.var_names"),
        (lambda a: a.X.data.__setitem__(slice(0, a.X.indptr[1]), 0), {}, ValueError, "1 spots have no counts"),
    ],
)
def test_bad_input(counts, change, kwargs, error, message):
    for key in ("X_pca", "X_mine_image", "X_corrected"):
        counts.obsm[key] = np.random.default_rng(0).random((counts.n_obs, 2))
    counts.uns["X_corrected"] = {"var_names": np.array(["A", "B"])}
    change(counts)
    with pytest.raises(error, match=message):
        validate(counts, **kwargs)


def test_small_slides_are_refused(counts):
    few = counts[(counts.obs["library_id"] != "slice3") | (np.arange(counts.n_obs) > counts.n_obs - 5)].copy()
    few.obs["donor"] = few.obs["library_id"].map({"slice1": "D1", "slice2": "D2", "slice3": "D2"})
    for group_key in ("library_id", "donor"):
        with pytest.raises(ValueError, match=r"Slides of fewer than 10 spots .*'slice3 \(4\)'"):
            validate(few, group_key=group_key)


def test_the_same_image_file_in_two_groups_is_refused(counts):
    for name in ("slice1", "slice2"):
        counts.uns["spatial"][name]["metadata"] = {"source_image_path": "/slides/one.tif"}
    with pytest.raises(ValueError, match=r"same image file is in several groups: '/slides/one.tif'"):
        validate(counts)


def test_near_identical_images_in_two_groups_are_refused(counts):
    images = counts.uns["spatial"]
    brighter = np.clip(images["slice1"]["images"]["hires"].astype(int) + 3, 0, 255).astype(np.uint8)
    images["slice2"]["images"]["hires"] = brighter[::2, ::2]
    with pytest.raises(ValueError, match="near-identical images: 'slice1 and slice2'"):
        validate(counts)


def test_spots_with_the_same_counts_in_two_groups_are_refused(counts):
    expression = counts.X.toarray()
    first, second = ((counts.obs["library_id"] == name).to_numpy().nonzero()[0][:100] for name in ("slice1", "slice2"))
    expression[second] = expression[first]
    counts.X = sparse.csr_matrix(expression)
    with pytest.raises(ValueError, match=r"exactly the same counts .*'slice1 \(100 spots\)', 'slice2 \(100 spots\)'"):
        validate(counts)


def test_a_small_slide_that_was_copied_is_found_among_large_ones(counts):
    """Its twelve spots are no hundredth of all spots, but all of its own; under a new name, with features of its own."""
    copied = counts[counts.obs["library_id"] == "slice1"][:12].copy()
    copied.obs_names = [f"copy{i}" for i in range(12)]
    copied.obs["library_id"] = "copied"
    copied.uns = {}
    copied.X = sparse.csr_matrix(np.random.default_rng(0).poisson(3, copied.shape))
    both = ad.concat([counts, copied], uns_merge="unique")
    with pytest.raises(ValueError, match=r"exactly the same obsm\['patches'\] .*'copied \(12 spots\)'"):
        validate(both)
    both.obsm["patches"][-12:] //= 2
    with pytest.raises(ValueError, match=r"exactly the same obsm\['X_stain_stats'\] .*'copied \(12 spots\)'"):
        validate(both)
    both.obsm[REP][-12:] += 0.1
    assert "copied" in set(validate(both)["library"])


def test_blank_patches_and_pictures_of_one_colour_are_no_twins(counts):
    for name in ("slice1", "slice2"):
        rows = np.flatnonzero(counts.obs["library_id"] == name)[:30]
        counts.obsm["patches"][rows] = 255
        counts.obsm[REP][rows] = 0
        counts.uns["spatial"][name]["images"] = {"thumbnail": np.full((20, 20, 3), 255, dtype=np.uint8)}
    assert len(validate(counts))


@pytest.mark.parametrize("depth", [5, 15])
def test_spots_of_few_genes_are_nearly_equal_by_chance(depth):
    """Bins of two slides with the same six kinds of cells, and 5 or 15 counts in each bin."""
    rng = np.random.default_rng(0)
    kinds, slides = rng.dirichlet(np.full(2000, 0.3), 6)[rng.integers(0, 6, 6000)], np.repeat(["a", "b"], 3000)
    sparse_bins = SimpleNamespace(
        counts=sparse.csr_matrix(rng.poisson(kinds * rng.gamma(2, depth / 2, 6000)[:, None])),
        slides=slides,
        groups=slides,
        obsm={},
        adata=SimpleNamespace(uns={}),
        images=dict,
    )
    check_groups_are_apart(sparse_bins)
    sparse_bins.counts = sparse_bins.counts[:, :30].minimum(1)  # no spot has enough
    check_groups_are_apart(sparse_bins)


def test_nothing_of_the_input_is_changed(counts):
    before = counts.copy()
    validate(counts)
    assert set(counts.uns) == set(before.uns)
    assert set(counts.obs) == set(before.obs)
    assert (counts.X != before.X).nnz == 0


def test_seeds_of_partials_that_are_set():
    def method(train, query, random_state=0):
        return None

    def wrapped(train, query, **kwargs):
        return method(train, query, **kwargs)

    assert _cross_validate._takes_seed(method)
    assert not _cross_validate._takes_seed(partial(method, random_state=1))
    assert not _cross_validate._takes_seed(my_method)
    assert _cross_validate._takes_seed(wrapped)


TURNED = {
    "turned": lambda image: np.rot90(image),
    "turned twice": lambda image: np.rot90(image, 2),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and turned": lambda image: np.rot90(image[::-1]),
    "brighter, turned and small": lambda image: np.clip(np.rot90(image, 3)[::3, ::3].astype(int) + 9, 0, 255).astype(
        np.uint8
    ),
}


@pytest.mark.parametrize("how", TURNED)
def test_turned_and_mirrored_copies_of_an_image_in_two_groups_are_refused(counts, how):
    images = counts.uns["spatial"]
    images["slice2"]["images"]["hires"] = np.ascontiguousarray(TURNED[how](images["slice1"]["images"]["hires"]))
    with pytest.raises(ValueError, match="near-identical images: 'slice1 and slice2'"):
        validate(counts)


def copied_under_another_name(counts, share=1.0):
    """The first slide once more, without pictures and patches."""
    rows = np.flatnonzero(counts.obs["library_id"] == "slice1")
    copied = counts[rows[: int(share * len(rows))]].copy()
    copied.obs_names = [f"copy{i}" for i in range(copied.n_obs)]
    copied.obs["library_id"] = "copied"
    copied.uns = {}
    both = ad.concat([counts, copied], uns_merge="unique")
    del both.obsm["patches"]
    return both, np.flatnonzero(both.obs["library_id"] == "copied")


CHANGED = {
    "one more": lambda values, random: values + 1,
    "twice": lambda values, random: 2 * values,
    "some more": lambda values, random: values + random.poisson(0.1, values.shape),
    "four fifths": lambda values, random: random.binomial(values.astype(int), 0.8),
    "of another efficiency of every gene": lambda values, random: values + np.arange(values.shape[1]) % 3,
}


@pytest.mark.parametrize("how", CHANGED)
@pytest.mark.parametrize("share", [1.0, 0.2])
def test_copies_of_a_slide_whose_counts_were_changed_are_refused(counts, how, share):
    both, rows = copied_under_another_name(counts, share)
    random = np.random.default_rng(0)
    both.obsm[REP][rows] = random.permutation(both.obsm[REP][rows]) + random.normal(0, 0.1, both.obsm[REP][rows].shape)
    expression = both.X.toarray()
    expression[rows] = CHANGED[how](expression[rows], random)
    both.X = sparse.csr_matrix(expression.astype(np.float32))
    with pytest.raises(ValueError, match=r"nearly the same counts as one spot of another group.*'copied \("):
        validate(both)


def test_copies_of_a_slide_whose_features_were_changed_a_little_are_refused(counts):
    both, rows = copied_under_another_name(counts)
    both.obsm[REP][rows] += 1e-6
    expression = both.X.toarray()
    expression[rows] = np.random.default_rng(0).poisson(3, expression[rows].shape)
    both.X = sparse.csr_matrix(expression.astype(np.float32))
    with pytest.raises(ValueError, match=r"nearly the same obsm\['X_stain_stats'\] as one spot .*'copied \("):
        validate(both)


def test_turned_patches_of_a_slide_under_another_name_are_refused(counts):
    held = np.flatnonzero(counts.obs["library_id"] == "slice2")[:200]
    counts.obsm["patches"][held] = np.rot90(counts.obsm["patches"][:200], axes=(1, 2))
    with pytest.raises(ValueError, match=r"nearly the same obsm\['patches'\] as one spot of another group"):
        validate(counts)


@pytest.mark.parametrize(
    "names",
    [
        ("P1", "p1"),
        ("P1", "P1 "),
        ("P 1", "P1"),
        ("P1", "\uff301"),
        ("1", "1.0"),
        ("01", "1"),
        ("Patient", "PATIENT\t"),
    ],
)
def test_groups_that_differ_in_case_or_spaces_are_refused(counts, names):
    counts.obs["patient"] = counts.obs["library_id"].map({"slice1": names[0], "slice2": names[1], "slice3": "other"})
    with pytest.raises(ValueError, match=r"obs\['patient'\] has .*which differ in case, spaces or zeros alone"):
        validate(counts, group_key="patient")


@pytest.mark.parametrize("names", [("P1", "P10"), ("1", "10"), ("1.1", "11"), ("a-b", "ab"), ("0", "00a"), ("1", "-1")])
def test_groups_of_other_names_are_others(names):
    _folds._check_names("patient", list(names))


def test_groups_without_a_name_are_refused(counts):
    counts.obs["patient"] = counts.obs["library_id"].map({"slice1": " ", "slice2": "B", "slice3": "C"})
    with pytest.raises(ValueError, match=r"obs\['patient'\] has ' '"):
        validate(counts, group_key="patient")


def test_nothing_rides_along_with_what_a_method_may_see(counts):
    """Third columns, values of other columns, entries of records, pictures that are none."""
    expression = counts.X.toarray()
    counts.obsm["spatial"] = np.column_stack([counts.obsm["spatial"], expression[:, :3]])
    counts.obs["in_tissue"] = counts.obs["in_tissue"].astype("category")
    counts.obs["array_row"] = counts.obs["array_row"].astype(float)
    counts.raw = counts.copy()
    counts.varm["loadings"], counts.obsp["near"] = expression.T.copy(), sparse.eye(counts.n_obs, format="csr")
    for name in ("slice1", "slice2", "slice3"):
        library = counts.uns["spatial"][name]
        library["truth"] = expression
        library["images"]["truth"] = expression
        library["scalefactors"]["truth"] = expression
        library["metadata"] = {"truth": expression, "technology": "a" * 5000}
        counts.uns["patches"][name]["truth"] = expression
    counts.uns["patches"]["truth"] = counts.uns[REP]["truth"] = expression
    counts.uns[REP]["by_spot"] = dict.fromkeys(counts.obs_names, 1.0)
    seen = []

    def spy(train, query):
        seen.append(query)
        return my_method(train, query)

    validate(counts, {"spy": spy})
    for query in seen:
        (library,) = query.uns["spatial"].values()
        (patches,) = (value for value in query.uns["patches"].values() if isinstance(value, dict))
        assert query.obsm["spatial"].shape[1] == 2
        assert query.obsm["spatial"].dtype == np.float64
        assert set(query.obs) == {"library_id", "array_row", "array_col"}
        assert query.obs["library_id"].cat.categories.tolist() == query.obs["library_id"].unique().tolist()
        assert set(library) == {"images", "scalefactors", "metadata"}
        assert set(library["images"]) == {"hires"}
        assert set(library["scalefactors"]) == {"tissue_hires_scalef", "spot_diameter_fullres"}
        assert library["metadata"] == {}
        assert not {"truth", "by_spot"} & {*patches, *query.uns["patches"], *query.uns[REP]}
        assert {"size_um", "mpp", "library_key"} <= patches.keys()
        assert query.uns[REP]["encoder"] == "stain_stats"
        assert query.raw is None
        assert not [*query.varm, *query.obsp, *query.varp]


def test_the_order_of_the_spots_says_nothing(counts):
    """Spots that were sorted by their counts come by their place, and what is predicted goes back to its spot."""
    seen, (_, expected) = [], validate(counts, return_predictions=True)

    def spy(train, query):
        seen.append(query.obs_names.tolist())
        return my_method(train, query)

    validate(counts, {"spy": spy})
    by_depth = counts[np.argsort(np.asarray(counts.X.sum(axis=1)).ravel())].copy()
    by_depth.obs["library_id"] = by_depth.obs["library_id"].astype(str)
    _, sorted_ = validate(by_depth, {"spy": spy}, return_predictions=True)
    assert sorted(map(tuple, seen[:3])) == sorted(map(tuple, seen[3:]))
    for slide, frame in expected["mine"].items():
        np.testing.assert_allclose(sorted_["spy"][slide].loc[frame.index, frame.columns], frame, atol=1e-3)


def test_weights_go_back_to_their_spots(counts):
    def nearest(train, query):
        place = np.argmin(np.abs(query.obsm[REP][:, [0]] - train.obsm[REP][:, 0]), axis=1)
        return sparse.csr_matrix((np.ones(query.n_obs), (np.arange(query.n_obs), place)), (query.n_obs, train.n_obs))

    _, predictions = validate(counts, {"nearest": nearest}, return_predictions=True)
    held = (counts.obs["library_id"] == "slice2").to_numpy()
    frame, train = predictions["nearest"]["slice2"], counts[~held]
    logs = np.log1p(1e4 * train.X.toarray() / train.X.sum(axis=1))
    place = np.argmin(np.abs(counts.obsm[REP][held][:, [0]] - train.obsm[REP][:, 0]), axis=1)
    wanted = np.asarray(logs)[place][:, counts.var_names.get_indexer(frame.columns)]
    np.testing.assert_allclose(frame, wanted, rtol=1e-4)


@pytest.mark.parametrize("value", [0, False, "False", "0"])
def test_spots_beside_the_tissue_are_refused(counts, value):
    counts.obs["in_tissue"] = [1] * (counts.n_obs - 1) + [value]
    with pytest.raises(
        ValueError, match=r"obs\['in_tissue'\] is 0 for 1 spots.* Drop them: adata = adata\[~adata.obs\['in_tissue'\]"
    ):
        validate(counts)


def test_rows_that_are_no_numbers_are_refused(counts):
    counts.obs["array_row"] = [f"r{row}" for row in counts.obs["array_row"]]
    with pytest.raises(ValueError, match=r"obs\['array_row'\] holds 'r\d+', which is no number"):
        validate(counts)


def test_what_is_held_out_from_is_said_slide_by_slide_and_methods_know_whose_tissue_is_whose(counts, caplog):
    """Of three slides two are one animal's: the third is another donor, and the first two know each other."""
    counts.obs["animal"] = counts.obs["library_id"].map({"slice1": 1, "slice2": 1, "slice3": 2})
    seen = []

    def spy(train, query):
        seen.append((set(train.obs["donor"]), set(query.obs["donor"])))
        return my_method(train, query)

    with caplog.at_level("WARNING", logger="bleep_sc"):
        table = validate(counts, {"spy": spy})
    assert seen == [({"1", "2"}, {"1"}), ({"1", "2"}, {"1"}), ({"1"}, {"2"})]
    by_slide = table.drop_duplicates("library").set_index("library")[["donor", "same_donor"]]
    assert by_slide["donor"].tolist() == ["1", "1", "2"]
    assert by_slide["same_donor"].tolist() == [True, True, False]
    assert "Other slides of the same donor are trained on where 'slice1', 'slice2' are held out" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING", logger="bleep_sc"):
        whole = validate(counts, group_key="animal")
    assert not whole["same_donor"].any()
    assert "same donor" not in caplog.text


def test_a_donor_column_that_is_named_wins_and_none_is_not_guessed(counts):
    untold = validate(counts)
    assert untold[["donor", "same_donor"]].isna().all(axis=None)
    counts.obs["patient"], counts.obs["block"] = "P", counts.obs["library_id"].astype(str)
    assert validate(counts)["same_donor"].all()
    assert not validate(counts, donor_key="block")["same_donor"].any()


def test_kept_runs_of_other_donors_are_refused(counts, tmp_path):
    counts.obs["donor"] = "P"
    validate(counts, path=tmp_path)
    counts.obs["donor"] = counts.obs["library_id"].astype(str)
    with pytest.raises(ValueError, match="runs of another comparison: donors differ"):
        validate(counts, path=tmp_path)
