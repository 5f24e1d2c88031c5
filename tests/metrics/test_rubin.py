import numpy as np
import pytest
from scipy import stats

from bleep_sc.metrics import rubin


def test_a_case_by_hand():
    pooled = rubin([1.0, 2.0, 3.0], [0.4, 0.5, 0.6], df=10)
    share = (4 / 3) / (0.5 + 4 / 3)
    observed = 11 / 13 * 10 * (1 - share)
    df = 1 / (share**2 / 2 + 1 / observed)
    assert pooled.estimate == pytest.approx(2)
    assert pooled.variance == pytest.approx(0.5 + 4 / 3)
    assert pooled.df == pytest.approx(df)
    assert pooled.pvalue == pytest.approx(2 * stats.t.sf(2 / np.sqrt(0.5 + 4 / 3), df))
    assert rubin([1.0, 2.0, 3.0], [0.4, 0.5, 0.6]).df == pytest.approx(2 / share**2)


def test_identical_imputations_are_the_plain_test_with_a_little_fewer_degrees_of_freedom():
    random = np.random.default_rng(0)
    for n in (5, 4000):
        one, other = random.normal(size=n), random.normal(0.3, size=n)
        plain = stats.ttest_ind(one, other)
        error = (one.mean() - other.mean()) / plain.statistic
        pooled = rubin(np.full(7, one.mean() - other.mean()), np.full(7, error**2), df=plain.df)
        assert pooled.estimate / np.sqrt(pooled.variance) == pytest.approx(plain.statistic)
        assert pooled.df == pytest.approx(plain.df * (plain.df + 1) / (plain.df + 3))
        assert pooled.pvalue >= plain.pvalue
    assert pooled.pvalue == pytest.approx(plain.pvalue, rel=1e-3)  # with many samples it is the same


def test_arrays_are_pooled_element_by_element():
    random = np.random.default_rng(1)
    estimates, variances, df = random.normal(size=(6, 3, 4)), random.random((6, 3, 4)), random.uniform(3, 9, (3, 4))
    pooled = rubin(estimates, variances, df=df)
    for place in np.ndindex(3, 4):
        one = rubin(estimates[:, *place], variances[:, *place], df=df[place])
        for field in ("estimate", "variance", "df", "pvalue"):
            assert getattr(pooled, field)[place] == pytest.approx(float(getattr(one, field)))


def test_it_holds_its_level_where_values_are_missing_at_random():
    """Half of the values of two groups of ten, filled in by an approximate Bayesian bootstrap of the others."""
    random, pvalues, single = np.random.default_rng(2), [], []
    for _ in range(1500):
        estimates, variances = np.empty((2, 20, 2)), None
        for group in range(2):
            seen = random.normal(size=5)
            for draw in range(20):
                pool = random.choice(seen, size=5)
                values = np.concatenate([seen, random.choice(pool, size=5)])
                estimates[group, draw] = values.mean(), values.var(ddof=1) / 10
        variances = estimates[..., 1].sum(axis=0)
        difference = estimates[0, :, 0] - estimates[1, :, 0]
        pvalues.append(rubin(difference, variances, df=18).pvalue)
        single.append(2 * stats.t.sf(abs(difference[0]) / np.sqrt(variances[0]), 18))
    assert np.mean(np.array(pvalues) < 0.05) < 0.09  # five donors are few
    assert np.mean(np.array(single) < 0.05) > 0.15


def test_nothing_varies():
    assert (rubin(np.zeros((3, 2)), np.zeros((3, 2)), df=4).pvalue == 1).all()
    assert rubin([1.0, 1.0], [0.0, 0.0], df=4).pvalue == 0


def test_all_variance_is_between():
    nothing_observed = rubin([1.0, 2.0], [0.0, 0.0], df=4)
    assert (nothing_observed.df, nothing_observed.pvalue) == (0, 1)
    large_samples = rubin([1.0, 2.0], [0.0, 0.0])
    assert large_samples.df == 1
    assert large_samples.pvalue == pytest.approx(2 * stats.t.sf(1.5 / np.sqrt(0.75), 1))


def test_without_variance_between_it_is_the_test_of_one():
    for df, plain in ((None, stats.norm.sf(2)), (np.inf, stats.norm.sf(2)), (6, stats.t.sf(2, 6 * 7 / 9))):
        pooled = rubin([1.0, 1.0, 1.0], [0.25, 0.25, 0.25], df=df)
        assert pooled.pvalue == pytest.approx(2 * plain)
    many = rubin([[1.0, 1.0]] * 3, [[0.25, 0.25]] * 3, df=[6, np.inf])
    np.testing.assert_allclose(many.df, [6 * 7 / 9, np.inf])


def test_nan_stays_with_its_estimate():
    pooled = rubin([[1.0, 1.0], [np.nan, 1.0]], [[1.0, 1.0], [1.0, 1.0]], df=4)
    for field in ("estimate", "variance", "df", "pvalue"):
        np.testing.assert_array_equal(np.isnan(getattr(pooled, field)), [True, False])


@pytest.mark.parametrize(
    ("estimates", "variances", "df"),
    [([1.0], [1.0], 5), ([1.0, 2.0], [1.0], 5), ([1.0, 2.0], [-1.0, 1.0], 5), ([1.0, 2.0], [1.0, 1.0], 0)],
)
def test_bad_input(estimates, variances, df):
    with pytest.raises(ValueError, match=r"two or more imputations|must not be negative"):
        rubin(estimates, variances, df=df)
