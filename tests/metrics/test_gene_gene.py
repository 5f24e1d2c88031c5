import numpy as np
import pytest

from bleep_sc.metrics import correlation_agreement, gene_correlation, gene_modules, gene_order, module_agreement


@pytest.fixture
def modular():
    """Twelve genes in three modules, shuffled, and the module of each."""
    random = np.random.default_rng(0)
    modules = random.permutation(np.repeat([0, 1, 2], 4))
    return random.normal(size=(300, 3))[:, modules] + 0.5 * random.normal(size=(300, 12)), modules


def test_it_is_numpys_and_constants_are_nan(modular):
    values, _ = modular
    np.testing.assert_allclose(gene_correlation(values), np.corrcoef(values.T))
    values[:, 3] = 7.0
    matrix = gene_correlation(values)
    assert np.isnan(matrix[3]).all()
    assert np.isnan(matrix[:, 3]).all()
    others = np.delete(np.delete(matrix, 3, 0), 3, 1)
    np.testing.assert_allclose(others, np.corrcoef(np.delete(values, 3, 1).T))


def test_a_covariate_is_taken_out():
    random = np.random.default_rng(0)
    depth = random.normal(size=500)
    values = random.normal(size=(500, 4)) + 3 * depth[:, None]
    upper = np.triu_indices(4, 1)
    assert gene_correlation(values)[upper].min() > 0.8
    residuals = values - np.outer(depth, [np.polyfit(depth, column, 1)[0] for column in values.T])
    np.testing.assert_allclose(gene_correlation(values, covariate=depth), np.corrcoef(residuals.T))
    values[:, 0] = 2 * depth
    assert np.isnan(gene_correlation(values, covariate=depth)[0]).all()


def test_agreement_is_over_pairs_that_both_have(modular):
    values, _ = modular
    matrix = gene_correlation(values)
    same = correlation_agreement(matrix, matrix)
    assert (same.pearson, same.rmse, same.n_pairs) == (pytest.approx(1), 0, 66)
    holed = matrix.copy()
    holed[2] = holed[:, 2] = np.nan
    assert correlation_agreement(holed, matrix).n_pairs == 55
    assert correlation_agreement(matrix / 2, matrix).rmse > 0.1
    with pytest.raises(ValueError, match="different shapes"):
        correlation_agreement(matrix, matrix[:3, :3])


def test_modules_are_found_and_kept_together(modular):
    values, truth = modular
    matrix = gene_correlation(values)
    found = gene_modules(matrix, 3)
    assert len(set(zip(found, truth, strict=True))) == 3
    ordered = truth[gene_order(matrix)]
    assert np.count_nonzero(np.diff(ordered)) == 2


def test_agreement_of_modules(modular):
    values, _ = modular
    matrix = gene_correlation(values)
    right = module_agreement(matrix, matrix, 3)
    assert right.ari == 1
    assert right.contrast > 0.6
    order = np.random.default_rng(1).permutation(12)
    wrong = module_agreement(matrix[np.ix_(order, order)], matrix, 3)
    assert wrong.ari < 0.5
    assert wrong.contrast < right.contrast
    with pytest.raises(ValueError, match="holds NaN"):
        gene_modules(np.full((3, 3), np.nan), 2)
