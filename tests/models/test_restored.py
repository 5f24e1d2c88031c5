import numpy as np
import pytest
from scipy import sparse

from bleep_sc.models.restored import restore_variance, variance_within

SLIDES = np.repeat(["a", "b"], [40, 60])


@pytest.fixture
def predicted():
    random = np.random.default_rng(0)
    values = 3 + random.normal(size=(100, 4)) * [0.1, 0.2, 0.3, 2.0]
    values[SLIDES == "b"] += 0.5
    return values.astype(np.float32)


def test_variance_means_and_correlations_are_as_promised(predicted):
    wanted = np.array([0.2, 0.5, 0.1, 1.0])
    restored = restore_variance(predicted, SLIDES, wanted, max_factor=10, lowest=-np.inf)
    for slide in ("a", "b"):
        ours, before = restored[slide == SLIDES], predicted[slide == SLIDES]
        np.testing.assert_allclose(ours.var(axis=0), wanted, rtol=1e-4)
        np.testing.assert_allclose(ours.mean(axis=0), before.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(np.corrcoef(ours.T), np.corrcoef(before.T), atol=1e-4)


def test_noise_is_not_made_large_and_what_does_not_vary_stays(predicted):
    predicted[:, 0] = 1 + 1e-2 * predicted[:, 0]
    predicted[:, 1] = 0.7
    restored = restore_variance(predicted, SLIDES, np.ones(4), max_factor=5, lowest=0)
    for slide in ("a", "b"):
        rows = slide == SLIDES
        np.testing.assert_allclose(restored[rows, 0].std(), 5 * predicted[rows, 0].std(), rtol=1e-2)
    np.testing.assert_array_equal(restored[:, 1], predicted[:, 1])
    assert restored.min() >= 0


def test_it_changes_no_input_and_slides_do_not_touch_each_other(predicted):
    before = predicted.copy()
    both = restore_variance(predicted, SLIDES, np.ones(4), max_factor=5, lowest=0)
    np.testing.assert_array_equal(predicted, before)
    alone = restore_variance(predicted[:40], SLIDES[:40], np.ones(4), max_factor=5, lowest=0)
    np.testing.assert_array_equal(both[:40], alone)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_variance_within_slides_knows_nothing_of_differences_between_them(predicted, kind):
    expected = np.mean([predicted[slide == SLIDES].astype(float).var(axis=0) for slide in ("a", "b")], axis=0)
    np.testing.assert_allclose(variance_within(kind(predicted), SLIDES), expected, rtol=1e-5)
