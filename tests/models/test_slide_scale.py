import numpy as np
import pytest

from bleep_sc.models.slide_scale import PRIOR_SPOTS, SlideScale


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
    np.testing.assert_allclose(scale.mean, np.mean(means, axis=0), rtol=1e-5)
    np.testing.assert_allclose(scale.std, [1, 2, 3, 4], rtol=0.1)


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


def test_a_feature_that_never_varies_is_finite():
    values = np.ones((50, 2), dtype=np.float32)
    slides = np.full(50, "a")
    assert np.isfinite(SlideScale.of(values, slides).apply(values, slides)).all()
