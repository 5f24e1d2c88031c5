import numpy as np
import pytest

from bleep_sc.models.slide_scale import FAR, PRIOR_SPOTS, SlideScale


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    slides = np.repeat(["a", "b"], [300, 500])
    values = rng.normal(size=(800, 4)) * [1, 2, 3, 4] + np.where(slides == "a", 0, 7)[:, None]
    return values.astype(np.float32), slides


def test_moments_are_those_of_a_typical_slide(features):
    values, slides = features
    scale = SlideScale.of(values, slides)
    means = [values[slides == name].mean(axis=0) for name in "ab"]
    np.testing.assert_allclose(scale.mean, np.average(means, axis=0, weights=[300 / 310, 500 / 510]), rtol=1e-5)
    np.testing.assert_allclose(scale.std, [1, 2, 3, 4], rtol=0.1)


def test_a_slide_of_two_spots_hardly_counts(features):
    values, slides = features
    alone = SlideScale.of(values, slides)
    two = np.full((2, 4), 7, dtype=np.float32)
    with_two = SlideScale.of(np.concatenate([values, two]), np.concatenate([slides, ["c", "c"]]))
    np.testing.assert_allclose(with_two.std, alone.std, rtol=0.05)


def test_large_slides_speak_for_themselves_and_few_tiles_for_the_reference(features):
    values, slides = features
    scale = SlideScale.of(values, slides)
    many = np.tile(values[slides == "b"] * 3 + 100, (100, 1))
    result = scale.apply(many, np.full(len(many), "q"))
    np.testing.assert_allclose(result.mean(axis=0), 0, atol=0.05)
    np.testing.assert_allclose(result.std(axis=0), 1, atol=0.05)
    one = values[:1]
    expected_mean = (one[0] + PRIOR_SPOTS * scale.mean) / (1 + PRIOR_SPOTS)
    expected_std = np.sqrt(PRIOR_SPOTS * scale.std**2 / (1 + PRIOR_SPOTS))
    np.testing.assert_allclose(scale.apply(one, np.array(["q"]))[0], (one[0] - expected_mean) / expected_std, rtol=1e-5)


def test_slides_do_not_see_each_other(features):
    values, slides = features
    scale = SlideScale.of(values, slides)
    alone = scale.apply(values[slides == "a"], slides[slides == "a"])
    np.testing.assert_allclose(scale.apply(values, slides)[slides == "a"], alone, rtol=1e-6)


@pytest.mark.parametrize("noise", [0.0, 1e-7])
@pytest.mark.parametrize("level", [0.0, 1.0, 1e4])
def test_a_feature_that_is_constant_on_every_slide_is_zero_whatever_a_query_has(features, level, noise):
    values, slides = features
    rng = np.random.default_rng(1)
    values[:, 0] = (level + np.where(slides == "a", 0, 1)) * (1 + noise * rng.normal(size=800))
    scale = SlideScale.of(values, slides)
    for query in (values, values + np.float32(50), rng.normal(size=(40, 4)).astype(np.float32)):
        result = scale.apply(query, np.resize(slides, len(query)))
        np.testing.assert_array_equal(result[:, 0], 0)
        assert np.abs(result[:, 1:]).max() < 2 * FAR


@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e-3])
def test_what_is_constant_on_one_slide_does_not_drown_the_others(features, spread):
    values, slides = features
    rng = np.random.default_rng(1)
    dead = (100 + spread * rng.normal(size=300)).astype(np.float32)
    query, on_query = values[:300].copy(), np.full(300, "q")
    query[:, 0] = dead
    assert np.abs(SlideScale.of(values, slides).apply(query, on_query)[:, 0]).max() < 1
    values[slides == "a", 0] = dead
    assert np.abs(SlideScale.of(values, slides).apply(values, slides)[:, 0]).max() < 6


def test_slides_that_differ_by_far_more_than_a_feature_varies_are_not_drawn_to_each_other():
    rng = np.random.default_rng(0)
    slides = np.repeat(["a", "b"], 200)
    values = (np.where(slides == "a", 0, 1) + 1e-3 * rng.normal(size=400)).astype(np.float32)[:, None]
    result = SlideScale.of(values, slides).apply(values, slides)
    for name in "ab":
        assert abs(result[slides == name].mean()) < 0.1
        assert result[slides == name].std() == pytest.approx(1, abs=0.1)
