"""What must be true of the pure math, whatever it is given: order, chunks, kinds of numbers, ties, too little, NaN.

Arrays are drawn by hypothesis, the same ones every time.
"""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import sparse

from bleep_sc import metrics, slides
from bleep_sc._arrays.around import average_around
from bleep_sc.models import exact_search, retrieval
from bleep_sc.models.slide_scale import SlideScale
from bleep_sc.slides._grid import covered
from bleep_sc.slides._lattice import fit_lattice

thrifty = settings(max_examples=20, deadline=None, derandomize=True, database=None)
WHOLE = st.integers(-3, 3).map(float)
"""Few values, so that there are ties, duplicates and constants."""
ANY = st.one_of(WHOLE, st.floats(-1e6, 1e6, width=32), st.sampled_from([np.nan, np.inf, -np.inf]))
SHAPES = st.tuples(st.integers(0, 9), st.integers(1, 4))


def matrices(values=WHOLE, shapes=SHAPES):
    return arrays(np.float64, shapes, elements=values)


def pairs(values=WHOLE):
    return SHAPES.flatmap(lambda shape: st.tuples(*[arrays(np.float64, shape, elements=values)] * 2))


def other_kinds(values):
    """The same numbers, laid out otherwise."""
    yield values.astype(">f8")
    yield np.asfortranarray(values)
    yield np.repeat(values, 2, axis=0)[::2]
    yield values[::-1].copy()[::-1]
    if np.array_equal(values, values.astype(np.float32), equal_nan=True):
        yield values.astype(np.float32)
    if np.isfinite(values).all() and np.array_equal(values, np.rint(values)):
        yield values.astype(np.int64)
    locked = values.copy()
    locked.flags.writeable = False
    yield locked


BETWEEN = {
    "pearson": metrics.pearson,
    "spearman": metrics.spearman,
    "concordance": metrics.concordance,
    "rmse": metrics.rmse,
    "mae": metrics.mae,
    "partial": lambda a, b: metrics.partial_pearson(a, b, np.roll(a, 1, axis=0)),
    "ssim": lambda a, b: metrics.ssim(a, b, np.arange(len(a)) // 3, np.arange(len(a)) % 3),
    "interval_score": lambda a, b: metrics.interval_score(a, a + 1, b, share=0.9),
}
BOUNDED = ("pearson", "spearman", "concordance", "partial")


@pytest.mark.parametrize("name", BETWEEN)
@thrifty
@given(sides=pairs(ANY))
def test_a_measure_says_one_number_a_gene_or_nan_and_never_warns(name, sides):
    found = BETWEEN[name](*sides)
    assert found.shape == sides[0].shape[1:]
    finite = np.isfinite(sides).all(axis=(0, 1))
    assert not np.isinf(found[finite]).any()
    if name in BOUNDED:
        assert np.isnan(found[~finite]).all() or name == "spearman"
        assert (np.abs(found[~np.isnan(found)]) <= 1).all()
    if not len(sides[0]):
        assert np.isnan(found).all()


@pytest.mark.parametrize("name", BETWEEN)
@thrifty
@given(sides=pairs())
def test_a_measure_does_not_depend_on_kind_or_layout_and_treats_genes_alone(name, sides):
    expected = BETWEEN[name](*sides)
    for changed in zip(*map(other_kinds, sides), strict=False):
        np.testing.assert_allclose(BETWEEN[name](*changed), expected, rtol=1e-6, atol=1e-6)
    alone = [BETWEEN[name](*(side[:, [gene]] for side in sides))[0] for gene in range(sides[0].shape[1])]
    np.testing.assert_allclose(alone, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", [each for each in BETWEEN if each not in ("partial", "ssim")])
@thrifty
@given(sides=pairs(), seed=st.integers(0, 9))
def test_the_order_of_spots_does_not_matter(name, sides, seed):
    order = np.random.default_rng(seed).permutation(len(sides[0]))
    expected = BETWEEN[name](*sides)
    np.testing.assert_allclose(BETWEEN[name](*(side[order] for side in sides)), expected, rtol=1e-9, atol=1e-12)


@thrifty
@given(sides=pairs(), exponent=st.integers(-300, 300), shift=WHOLE)
def test_a_correlation_is_that_of_any_unit(sides, exponent, shift):
    a, b = sides
    expected = metrics.pearson(a, b)
    np.testing.assert_allclose(metrics.pearson(a * 2.0**exponent, b), expected, atol=1e-9)
    np.testing.assert_allclose(metrics.pearson(2 * a + shift, -b), -expected, atol=1e-9)


@pytest.mark.parametrize("name", BETWEEN)
def test_shapes_that_numpy_would_stretch_are_refused(name):
    with pytest.raises(ValueError, match=r"shapes differ: .* \(6, 1\), .* \(6, 3\)"):
        BETWEEN[name](np.zeros((6, 1)), np.zeros((6, 3)))


@thrifty
@given(values=matrices(ANY), covariate=st.booleans())
def test_correlations_of_genes_are_symmetric_and_bounded(values, covariate):
    found = metrics.gene_correlation(values, covariate=np.arange(len(values)) if covariate else None)
    np.testing.assert_array_equal(found, found.T)
    known = ~np.isnan(np.diag(found))
    assert (np.diag(found)[known] == 1).all()
    assert np.isnan(found[~known]).all()
    assert (np.abs(found[np.ix_(known, known)]) <= 1).all()
    finite = np.isfinite(values).all(axis=0)
    assert not known[~finite].any()


@thrifty
@given(values=matrices(ANY, st.tuples(st.integers(1, 6), st.integers(1, 5))), n_top=st.integers(1, 7))
def test_the_highest_genes_are_distinct_columns(values, n_top):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # infinite values have no variance
        found = metrics.highest_genes(values, np.repeat("a", len(values)), by="variance", n_top=n_top)
    assert len(set(found.tolist())) == len(found) == min(n_top, values.shape[1])


@thrifty
@given(
    weights=arrays(np.int64, st.tuples(st.integers(0, 4), st.just(5)), elements=st.integers(0, 3)),
    seed=st.integers(0, 9),
)
def test_the_crps_is_the_expectation_over_pairs_and_never_negative(weights, seed):
    random = np.random.default_rng(seed)
    weights[:, 0] += 1
    weights = weights / weights.sum(axis=1, keepdims=True)
    values, truth = random.integers(0, 3, (5, 2)).astype(float), random.integers(0, 3, (len(weights), 2)).astype(float)
    found = metrics.crps(sparse.csr_matrix(weights), values, truth)
    if not len(weights):
        assert np.isnan(found).all()
        return
    error = np.einsum("qk,qkg->qg", weights, np.abs(values - truth[:, None]))
    spread = np.einsum("qk,ql,klg->qg", weights, weights, np.abs(values[:, None] - values))
    np.testing.assert_allclose(found, (error - spread / 2).mean(axis=0), atol=1e-9)
    assert (found > -1e-9).all()


@thrifty
@given(
    estimates=arrays(np.float64, st.tuples(st.integers(2, 5), st.just(3)), elements=WHOLE),
    variances=arrays(np.float64, 3, elements=st.sampled_from([0.0, 0.5, 2.0])),
    df=st.sampled_from([None, 1.0, 4.0, np.inf]),
)
def test_pooled_pvalues_are_between_zero_and_one(estimates, variances, df):
    pooled = metrics.rubin(estimates, np.tile(variances, (len(estimates), 1)), df=df)
    assert ((pooled.pvalue >= 0) & (pooled.pvalue <= 1)).all()
    assert (pooled.df >= 0).all()
    assert (pooled.variance >= variances).all()


@thrifty
@given(counts=arrays(np.int64, st.tuples(st.integers(0, 8), st.integers(1, 4)), elements=st.integers(0, 6)))
def test_a_ceiling_is_between_zero_and_one_and_below_the_reliability(counts):
    ceiling, reliability = metrics.noise_ceiling(counts), metrics.reliability(counts)
    np.testing.assert_array_equal(np.isnan(ceiling), np.isnan(reliability))
    known = ~np.isnan(ceiling)
    assert ((ceiling[known] >= 0) & (ceiling[known] <= np.sqrt(reliability[known]) + 1e-9)).all()
    for changed in (sparse.csr_matrix(counts), counts.astype(">i4"), counts.astype(np.float32)):
        np.testing.assert_array_equal(metrics.noise_ceiling(changed), ceiling)


@thrifty
@given(values=matrices(WHOLE, st.tuples(st.integers(6, 14), st.just(2))), seed=st.integers(0, 9))
def test_lisi_lies_between_one_and_the_number_of_labels(values, seed):
    labels = np.random.default_rng(seed).integers(0, 3, len(values))
    found = metrics.lisi(values, labels, perplexity=2)
    assert ((found >= 1 - 1e-9) & (found <= len(np.unique(labels)) + 1e-9)).all()


KEYS = arrays(np.float32, st.tuples(st.integers(1, 60), st.just(3)), elements=st.integers(-2, 2).map(float))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@thrifty
@given(query=arrays(np.float32, st.tuples(st.integers(0, 5), st.just(3)), elements=WHOLE), keys=KEYS, data=st.data())
def test_neighbours_are_those_of_a_full_sort_in_any_company(metric, query, keys, data):
    n = data.draw(st.integers(1, len(keys)))
    similarity, index = retrieval.nearest(query, keys, n_neighbors=n, metric=metric)
    for row, (of_row, found) in enumerate(zip(similarity.numpy(), index.numpy(), strict=True)):
        assert len(set(found.tolist())) == n
        assert (np.diff(of_row) <= 0).all()
        assert (np.diff(found)[np.diff(of_row) == 0] > 0).all()
        alone = retrieval.nearest(query[[row]], keys, n_neighbors=n, metric=metric)
        np.testing.assert_array_equal(alone[1][0], found)
        a, b = query[row].astype(np.float64), keys.astype(np.float64)
        exact = -((b - a) ** 2).sum(axis=1) / 2
        if metric == "cosine":
            lengths = np.maximum(np.linalg.norm(a) * np.linalg.norm(b, axis=1), 1e-12)
            exact = b @ a / lengths
        np.testing.assert_allclose(of_row, np.sort(exact)[::-1][:n], atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@thrifty
@given(keys=KEYS, chunk=st.integers(1, 40))
def test_chunks_and_layout_of_keys_do_not_show(metric, keys, chunk):
    n, query = min(5, len(keys)), keys[:4]
    expected = retrieval.nearest(query, keys, n_neighbors=n, metric=metric)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_search, "CHUNK", chunk)
        for changed in (*other_kinds(keys.astype(np.float64)), *other_kinds(keys)):
            found = retrieval.nearest(query, changed, n_neighbors=n, metric=metric)
            np.testing.assert_array_equal(found[1], expected[1])


@thrifty
@given(values=matrices(ANY, st.tuples(st.integers(1, 9), st.just(3))))
def test_embeddings_that_are_not_finite_are_refused_and_no_others(values):
    if np.isfinite(values).all():
        retrieval.nearest(values, values, n_neighbors=1)
    else:
        with pytest.raises(ValueError, match="NaN or infinite"):
            retrieval.nearest(values, values, n_neighbors=1)


@thrifty
@given(
    values=matrices(st.floats(-100, 100, width=32), st.tuples(st.integers(1, 20), st.just(3))), seed=st.integers(0, 9)
)
def test_means_of_neighbours_do_not_depend_on_how_expression_is_kept(values, seed):
    random = np.random.default_rng(seed)
    keys = random.normal(size=(len(values), 4)).astype(np.float32)
    n = int(random.integers(1, len(values) + 1))
    expected, weights = retrieval.impute(keys[:6], keys, values, n_neighbors=n)
    np.testing.assert_allclose(expected, weights @ values, rtol=1e-4, atol=1e-4)
    for changed in (*other_kinds(values), sparse.csr_matrix(values), sparse.csc_matrix(values)):
        np.testing.assert_allclose(
            retrieval.impute(keys[:6], keys, changed, n_neighbors=n)[0], expected, rtol=1e-4, atol=1e-4
        )


@thrifty
@given(values=matrices(WHOLE, st.tuples(st.integers(1, 12), st.just(3))), seed=st.integers(0, 9))
def test_features_in_units_of_their_slide_are_finite_and_in_the_order_of_the_spots(values, seed):
    random = np.random.default_rng(seed)
    names, order = random.choice(["a", "b"], len(values)), random.permutation(len(values))
    scale = SlideScale.of(values, names)
    result = scale.apply(values, names)
    assert np.isfinite(result).all()
    assert np.abs(result).max(initial=0) < 100
    np.testing.assert_allclose(scale.apply(values[order], names[order]), result[order], atol=1e-6)


@thrifty
@given(
    width=st.floats(1, 300),
    height=st.floats(1, 300),
    spacing=st.floats(20, 400),
    layout=st.sampled_from(["square", "hexagonal"]),
)
def test_tiles_lie_on_the_slide_and_as_far_apart_as_was_asked(width, height, spacing, layout):
    centers, rows, columns = slides.grid(width, height, spacing, layout=layout)
    assert len(centers) == len(rows) == len(columns) >= 1
    assert (centers >= 0).all()
    assert (centers <= [width, height]).all()
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == len(rows)
    if len(centers) > 1:
        apart = np.sqrt(((centers[:, None] - centers) ** 2).sum(axis=2)) + 1e9 * np.eye(len(centers))
        assert apart.min() == pytest.approx(spacing, rel=1e-6) or layout == "hexagonal"
        assert apart.min() >= spacing * (1 - 1e-6)


@thrifty
@given(
    mask=arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))),
    centers=arrays(np.float64, st.tuples(st.integers(0, 5), st.just(2)), elements=st.floats(-20, 20)),
    side=st.floats(0.1, 30),
)
def test_the_share_of_tissue_is_a_share(mask, centers, side):
    found = covered(mask, centers, side)
    assert found.shape == (len(centers),)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(covered(~mask, centers, side), 1 - found, atol=1e-12)


@thrifty
@given(pixels=arrays(np.uint8, st.tuples(st.integers(0, 150), st.just(3)), elements=st.integers(0, 255)))
@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_stains_are_found_and_leave_their_own_pixels_as_they_are_or_the_reason_is_said(method, pixels):
    fit = {"reinhard": slides.fit_reinhard, "macenko": slides.fit_macenko}[method]
    pixels = np.concatenate([pixels, pixels[::-1] // 2])
    try:
        stains = fit(pixels)
    except ValueError as error:
        assert "tissue" in str(error)  # noqa: PT017
        return
    assert np.isfinite(stains.numbers()).all()
    np.testing.assert_allclose(fit(np.flip(pixels, axis=0)).numbers(), stains.numbers(), rtol=1e-6, atol=1e-6)
    changed = slides.restain(pixels, stains, stains)
    assert np.abs(changed.astype(int) - pixels).max() <= 1


@thrifty
@given(values=matrices(WHOLE, st.tuples(st.integers(1, 12), st.just(2))), seed=st.integers(0, 9))
def test_averages_of_what_is_around_stay_within_it_and_forget_the_order(values, seed):
    random = np.random.default_rng(seed)
    centers, order = random.integers(0, 5, (len(values), 2)) * 50.0, random.permutation(len(values))
    found = average_around(values, centers, 120)
    assert (found >= values.min(axis=0) - 1e-5).all()
    assert (found <= values.max(axis=0) + 1e-5).all()
    np.testing.assert_allclose(average_around(values[order], centers[order], 120), found[order], atol=1e-5)


@thrifty
@given(
    turn=st.floats(-3, 3),
    step=st.floats(5, 500),
    origin=arrays(np.float64, 2, elements=st.floats(-1000, 1000)),
    kind=st.sampled_from(["<i4", ">i8", "<f4", ">f8"]),
)
def test_the_lattice_is_found_however_it_is_turned_numbered_and_ordered(turn, step, origin, kind):
    row, column = (each.ravel() for each in np.mgrid[0:5, 0:6])
    points = np.column_stack([column, row]) * step
    points = points @ [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]] + origin
    order = np.random.default_rng(0).permutation(30)
    lattice = fit_lattice(column, row, points)
    again = fit_lattice(column[order].astype(kind), row[order].astype(kind), np.asfortranarray(points[order]))
    assert again.pitch_px == pytest.approx(lattice.pitch_px)
    assert lattice.pitch_px == pytest.approx(step)
    assert not lattice.is_mirrored
