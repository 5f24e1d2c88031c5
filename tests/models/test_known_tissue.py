import numpy as np
import pytest

from bleep_sc.models.known_tissue import KnownTissue
from bleep_sc.training.held_out_tissue import learn_typicality

SLIDES = np.repeat(["a", "b", "c", "d"], 150)


def nothing(values):
    return values


def of_neighbours(values):
    """Average five neighbours in a row, within slides."""
    parts = []
    for slide in np.unique(SLIDES):
        part = values[slide == SLIDES]
        parts.append(np.mean([np.roll(part, shift, axis=0) for shift in range(-2, 3)], axis=0))
    return np.concatenate(parts)


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(600, 3))
    return (hidden @ rng.normal(size=(3, 20)) + 0.3 * rng.normal(size=(600, 20)) + 5).astype(np.float32)


def test_the_distance_is_that_of_a_gaussian_with_the_covariance_of_the_reference(features):
    model = KnownTissue.fit(features, nothing, np.ones(600, dtype=bool), 0)
    # All 20 components are kept, so this is the Mahalanobis distance, whatever the units of the features are.
    centred = features - features.mean(axis=0)
    expected = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(np.cov(features.T, bias=True)), centred)
    np.testing.assert_allclose(model.distance(features, nothing), expected, rtol=1e-2)
    scaled = features * np.linspace(1, 100, 20, dtype=np.float32)
    other = KnownTissue.fit(scaled, nothing, np.ones(600, dtype=bool), 0)
    np.testing.assert_allclose(other.distance(scaled, nothing), expected, rtol=1e-2)


def test_a_slide_like_those_of_the_reference_has_all_ranks(features):
    known = learn_typicality(features[:450], SLIDES[:450], nothing)
    ranks = known.share_beyond(features[450:], nothing)
    np.testing.assert_allclose(np.quantile(ranks, [0.05, 0.25, 0.5, 0.75]), [0.05, 0.25, 0.5, 0.75], atol=0.08)


def test_what_is_held_out_has_no_part_in_what_judges_it(features):
    changed = features.copy()
    changed[SLIDES == "d"] += 50
    rows = SLIDES != "d"
    before, after = (KnownTissue.fit(each, of_neighbours, rows, 0) for each in (features, changed))
    for name, array in vars(before).items():
        np.testing.assert_array_equal(getattr(after, name), array, err_msg=name)


def test_a_shift_that_all_spots_share_shows_in_their_surroundings(features):
    direction = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)[2][0]
    shift = 1.5 * (features @ direction).std() * direction
    flagged = {}
    for name, around in (("spot", nothing), ("surroundings", of_neighbours)):
        model = learn_typicality(features, SLIDES, around)
        flagged[name] = (model.share_beyond(features + shift, around) < 0.05).mean()
        assert (model.share_beyond(features, around) < 0.05).mean() < 0.08
    assert flagged["surroundings"] > flagged["spot"] + 0.2


def test_components_are_a_quarter_of_the_spots_at_most(features):
    model = learn_typicality(features, SLIDES, nothing)
    assert model.components.shape == (20, 20)
    assert KnownTissue.fit(features[:40], nothing, np.ones(40, dtype=bool), 0).components.shape == (10, 20)


def test_rounding_of_a_constant_feature_is_not_taken_for_tissue(features):
    whole = np.ones(600, dtype=bool)
    expected = KnownTissue.fit(features, nothing, whole, 0).distance(features, nothing)
    noise = 1000 + 6e-5 * np.random.default_rng(1).normal(size=(600, 1)).astype(np.float32)
    found = KnownTissue.fit(np.hstack([features, noise]), nothing, whole, 0)
    np.testing.assert_allclose(found.distance(np.hstack([features, noise + 1]), nothing), expected, rtol=1e-3)
