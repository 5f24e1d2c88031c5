import warnings

import numpy as np
import pytest

from bleep_sc.models.alignment import Alignment
from bleep_sc.training import alignment as module
from bleep_sc.training.alignment import learn_alignment

COUNTS = {"a": (150, 100, 50), "b": (60, 100, 140), "c": (150, 150, 0)}


@pytest.fixture(scope="module")
def stained():
    """Three kinds of tissue in ten features, on slides of other compositions and other stains."""
    rng = np.random.default_rng(0)
    profiles, stains = rng.normal(0, 2, (3, 10)), {name: rng.normal(0, 1, 10) for name in COUNTS}
    kinds = np.concatenate([np.repeat(np.arange(3), counts) for counts in COUNTS.values()])
    slides = np.repeat(list(COUNTS), 300)
    noise = rng.normal(0, 0.7, (900, 10))
    features = profiles[kinds] + noise + np.stack([stains[name] for name in slides])
    return features.astype(np.float32), slides, kinds, (profiles[kinds] + noise).astype(np.float32)


def between_slides(features, slides, kinds):
    """How far the tissue of one kind is from itself on another slide, as the root of the mean square."""
    means = [
        [features[(slides == name) & (kinds == kind)].mean(axis=0) for name in COUNTS if COUNTS[name][kind]]
        for kind in range(3)
    ]
    return np.sqrt(np.mean([np.var(each, axis=0).mean() for each in means]))


def test_tissue_of_a_kind_is_the_same_on_every_slide(stained):
    features, slides, kinds, _ = stained
    aligned = learn_alignment(features, slides).apply(features, slides)
    centred = np.concatenate([features[slides == name] - features[slides == name].mean(axis=0) for name in COUNTS])
    of_stain, of_mean, of_kinds = (between_slides(each, slides, kinds) for each in (features, centred, aligned))
    assert of_stain > 0.5
    assert of_mean > 0.35
    assert of_kinds < 0.12


def test_a_slide_that_was_not_learnt_from_is_aligned_too(stained):
    features, slides, _, clean = stained
    of_two = learn_alignment(features[slides != "c"], slides[slides != "c"])
    here = slides == "c"
    found = of_two.apply(features[here], slides[here])
    others = of_two.apply(features[~here], slides[~here])
    shift = found.mean(axis=0) - others.mean(axis=0)
    true = clean[here].mean(axis=0) - clean[~here].mean(axis=0)
    assert np.linalg.norm(shift - true) < 0.3 * np.linalg.norm(true)  # of its mean nothing would be left


def test_what_was_learnt_describes_the_reference(stained):
    features, slides, _, _ = stained
    features = np.column_stack([features, np.full(900, 7, dtype=np.float32)])
    known = learn_alignment(features, slides)
    assert known.shares.sum() == pytest.approx(1, abs=1e-5)
    assert known.variances.min() > 0
    np.testing.assert_allclose(known.profiles @ known.components.T, known.centers, atol=0.05)
    assert known.std[-1] == 0
    np.testing.assert_array_equal(known.components[:, -1], 0)
    np.testing.assert_array_equal(known.apply(features, slides)[:, -1], 0)
    within = np.mean([features[slides == name].var(axis=0) for name in COUNTS], axis=0)
    np.testing.assert_allclose(known.std, np.sqrt(within), rtol=1e-4)


def test_a_seed_decides_everything_and_a_sample_is_enough(stained, monkeypatch):
    features, slides, kinds, _ = stained
    first, again = (learn_alignment(features, slides, 3) for _ in range(2))
    for name, array in vars(first).items():
        np.testing.assert_array_equal(getattr(again, name), array)
    monkeypatch.setattr(module, "MAX_SPOTS", 400)
    some, other = (learn_alignment(features, slides, seed) for seed in (3, 4))
    assert not np.array_equal(some.profiles, other.profiles)
    assert between_slides(some.apply(features, slides), slides, kinds) < 0.15


def test_too_few_spots_for_kinds_are_aligned_by_their_means():
    features = np.random.default_rng(0).normal(5, 1, (24, 3)).astype(np.float32)
    slides = np.repeat(["a", "b"], 12)
    known = learn_alignment(features, slides)
    np.testing.assert_array_equal(known.shares, [1, *[0] * 7])
    expected = [
        (12 * features[slides == name].mean(axis=0) + 10 * known.mean) / 22 for name in "ab"
    ]  # as of a SlideScale
    for name, offset in zip("ab", expected, strict=True):
        np.testing.assert_allclose(known.offset(features[slides == name]), offset, atol=0.1)


@pytest.mark.parametrize("n", [2, 3, 31, 65])
@pytest.mark.parametrize("n_features", [1, 4, 40])
def test_any_reference_can_be_learnt_from(n, n_features):
    features = np.random.default_rng(0).normal(size=(n, n_features)).astype(np.float32)
    known = learn_alignment(features, np.full(n, "a"))
    assert isinstance(known, Alignment)
    for array in vars(known).values():
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert np.isfinite(known.apply(features, np.full(n, "a"))).all()


def test_nothing_is_said_of_mixtures_that_go_on_changing_or_of_spots_that_are_alike():
    """A user can do nothing about either."""
    rng = np.random.default_rng(0)
    alike = np.repeat(rng.normal(size=(3, 6)), 100, axis=0).astype(np.float32)
    noise = rng.normal(size=(4000, 30)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for features in (alike, noise):
            known = learn_alignment(features, np.full(len(features), "a"))
            assert np.isfinite(known.apply(features, np.full(len(features), "a"))).all()
