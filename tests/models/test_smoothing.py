import numpy as np
import pytest

from bleep_sc.models.regression import unit
from bleep_sc.models.smoothing import smoothed


@pytest.fixture
def spots():
    """Embeddings of spots on two slides that lie at the same places."""
    rng = np.random.default_rng(0)
    embedding = (rng.normal(size=(120, 5)) * rng.uniform(0.1, 10, size=(120, 1))).astype(np.float32)
    return embedding, np.repeat(["a", "b"], 60), np.tile(rng.uniform(0, 1000, size=(60, 2)), (2, 1))


def test_it_is_a_weighted_mean_of_directions_on_the_slide(spots):
    embedding, slides, centers = spots
    result = smoothed(embedding, slides, centers, 90.0)
    for i in range(len(embedding)):
        weighted, total = np.zeros(5), 0.0
        for j in range(len(embedding)):
            distance = np.hypot(*(centers[i] - centers[j]))
            if slides[i] == slides[j] and distance <= 270:
                weight = np.exp(-(distance**2) / (2 * 90**2))
                weighted += weight * embedding[j] / np.linalg.norm(embedding[j])
                total += weight
        np.testing.assert_allclose(result[i], weighted / total, atol=1e-5)
    assert result.dtype == np.float32
    assert np.linalg.norm(result, axis=1).min() < 0.9  # a mean of directions that differ says so by its length


def test_slides_do_not_mix(spots):
    embedding, slides, centers = spots
    other = embedding.copy()
    other[slides == "b"] += 5
    one, two = (smoothed(each, slides, centers, 90.0) for each in (embedding, other))
    np.testing.assert_array_equal(one[slides == "a"], two[slides == "a"])
    assert not np.allclose(one[slides == "b"], two[slides == "b"])


def test_nothing_is_averaged_over_no_tissue_or_where_places_are_not_known(spots):
    embedding, slides, centers = spots
    for where, sigma in ((centers, 0.0), (None, 90.0), (None, 0.0)):
        np.testing.assert_array_equal(smoothed(embedding, slides, where, sigma), unit(embedding))
    np.testing.assert_allclose(smoothed(embedding, slides, centers, 1e-3), unit(embedding), atol=1e-6)


def test_lengths_of_embeddings_do_not_count(spots):
    embedding, slides, centers = spots
    np.testing.assert_allclose(
        smoothed(embedding * 7, slides, centers, 90.0), smoothed(embedding, slides, centers, 90.0), atol=1e-6
    )
