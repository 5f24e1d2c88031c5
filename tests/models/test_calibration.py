import numpy as np
import pytest

from bleep_sc.models.calibration import PROBABILITIES, Calibration, design, disagreement, interval_scale


def test_intervals_are_as_wide_as_neighbours_differ_and_never_next_to_nothing():
    variance = np.array([[4.0, 0.0], [0.0, 0.25]], dtype=np.float32)
    scale = interval_scale(variance, np.array([10.0, 2.0], dtype=np.float32))
    np.testing.assert_allclose(scale, [[np.sqrt(4 + 3**2), 0.6], [3, np.sqrt(0.25 + 0.6**2)]], rtol=1e-5)
    np.testing.assert_allclose(interval_scale(variance, np.zeros(2, dtype=np.float32)), np.sqrt(variance), atol=1e-5)


def test_disagreement_is_in_units_of_the_variance_of_each_gene():
    variance = np.array([[4.0, 1.0], [2.0, 0.0]], dtype=np.float32)
    std = np.array([2.0, 0.5], dtype=np.float32)
    np.testing.assert_allclose(disagreement(variance, std), [(1 + 4) / 2, (0.5 + 0) / 2], rtol=1e-6)


@pytest.fixture
def known():
    """Two genes: the ends of the first move with the prediction, those of the second do not."""
    empty = np.empty(0, dtype=np.float32)
    steps = np.arange(len(PROBABILITIES), dtype=np.float32)
    return Calibration(
        shrinkage=empty,
        typical_shrinkage=empty,
        predictability=empty,
        std=np.ones(2, dtype=np.float32),
        residuals=np.column_stack([steps, 100 * steps]),
        levels=np.column_stack([-steps, 10 * steps]),
        is_local=np.tile([True, False], (len(PROBABILITIES), 1)),
        monitored=np.ones(2, dtype=bool),
        error=np.array([1.0, -2.0, 3.0]),
        errors=np.linspace(0, 10, 101),
    )


def test_ends_between_the_probabilities_that_are_kept_are_interpolated(known):
    predicted = np.array([[5.0, 5.0], [7.0, 7.0]], dtype=np.float32)
    scale = np.array([[2.0, 2.0], [0.5, 0.5]], dtype=np.float32)
    place = PROBABILITIES.index(0.1)
    np.testing.assert_allclose(
        known.end(0.1, predicted, scale), [[5 + 2 * place, 10 * place], [7 + place / 2, 10 * place]]
    )
    place += 0.4  # 0.16 lies there between 0.1 and 0.25
    np.testing.assert_allclose(known.end(0.16, predicted, scale)[0], [5 + 2 * place, 10 * place], rtol=1e-6)


def test_confidence_is_the_share_of_spots_with_a_larger_expected_error(known):
    similarity, spread = np.array([0.5, 0.0, 0.9], dtype=np.float32), np.array([1.0, 2.0, 9.0], dtype=np.float32)
    np.testing.assert_array_equal(
        design(similarity, spread), [[1, s, d] for s, d in zip(similarity, spread, strict=True)]
    )
    expected_errors = np.array([1 - 1 + 3, 1 - 0 + 6, 1 - 1.8 + 27])
    np.testing.assert_allclose(known.confidence(similarity, spread), 1 - np.minimum(expected_errors / 10, 1), rtol=1e-5)
