import dataclasses

import numpy as np
import pytest
from scipy import stats

from bleep_sc.models.alignment import CLOSE, MAX_STEPS, N_COMPONENTS, N_TISSUES, PRIOR_SPOTS, Alignment
from bleep_sc.models.slide_scale import PRIOR_SPOTS as PRIOR_OF_MEAN

N_FEATURES, SPREAD = 12, 0.5


def padded(values, n_rows):
    return np.concatenate([values, np.zeros((n_rows - len(values), *values.shape[1:]))]).astype(np.float32)


@pytest.fixture
def alignment():
    """Three kinds of tissue, the third a tenth of the reference, and a feature that never varies."""
    rng = np.random.default_rng(0)
    profiles = rng.normal(0, 2, size=(3, N_FEATURES))
    profiles[:, -1] = 0
    shares = np.array([0.6, 0.3, 0.1])
    profiles -= shares @ profiles
    std = np.sqrt(shares @ np.square(profiles) + SPREAD**2)
    std[-1] = 0
    components = np.linalg.qr(rng.normal(size=(N_FEATURES, N_FEATURES)))[0][:4]
    components[:, -1] = 0
    variances = np.ones((N_TISSUES, N_COMPONENTS))
    variances[:3, :4] = np.square(components).sum(axis=1) * SPREAD**2
    centers = np.zeros((N_TISSUES, N_COMPONENTS))
    centers[:3, :4] = profiles @ components.T
    return Alignment(
        mean=np.full(N_FEATURES, 3, dtype=np.float32),
        std=std.astype(np.float32),
        components=padded(components, N_COMPONENTS),
        profiles=padded(profiles, N_TISSUES),
        centers=centers.astype(np.float32),
        variances=variances.astype(np.float32),
        shares=padded(shares, N_TISSUES),
    )


def drawn(alignment, counts, stain=0.0, seed=1):
    """Spots of the kinds, as many as ``counts`` say, on a slide of this stain."""
    kinds = np.repeat(np.arange(len(counts)), counts)
    noise = np.random.default_rng(seed).normal(0, SPREAD, size=(len(kinds), N_FEATURES)) * (alignment.std > 0)
    return (alignment.profiles[kinds] + noise + alignment.mean + stain).astype(np.float32)


def slow_offset(alignment, features):
    """The docstring, spot by spot and kind by kind."""
    there = np.flatnonzero(alignment.shares)
    start = features.mean(axis=0, dtype=np.float64)
    along = (features - start) @ alignment.components.T.astype(np.float64)
    shares, shift = alignment.shares[there].astype(np.float64), np.zeros(N_COMPONENTS)

    def kinds_of(spot):
        likely = [
            share * np.prod(stats.norm.pdf(spot - shift, alignment.centers[k], np.sqrt(alignment.variances[k])))
            for share, k in zip(shares, there, strict=True)
        ]
        return np.array(likely) / np.sum(likely)

    for _ in range(MAX_STEPS):
        kinds = np.array([kinds_of(spot) for spot in along])
        shares = (kinds.sum(axis=0) + PRIOR_SPOTS * alignment.shares[there]) / (len(along) + PRIOR_SPOTS)
        before, shift = shift, np.empty(N_COMPONENTS)
        for i in range(N_COMPONENTS):
            weight = kinds / alignment.variances[there, i]
            shift[i] = (weight * (along[:, [i]] - alignment.centers[there, i])).sum() / weight.sum()
        if np.abs(shift - before).max() < CLOSE:
            break
    kinds = np.array([kinds_of(spot) for spot in along])
    return np.mean(features - kinds @ alignment.profiles[there].astype(np.float64), axis=0)


@pytest.mark.parametrize("counts", [(600, 300, 100), (450, 300, 250), (250, 300, 450), (900, 100, 0)])
def test_the_stain_of_a_slide_is_found_whatever_it_is_made_of(alignment, counts):
    stain = np.random.default_rng(2).normal(0, 1, N_FEATURES) * (alignment.std > 0)
    features = drawn(alignment, counts, stain)
    error = (alignment.offset(features) - alignment.mean - stain)[:-1] / alignment.std[:-1]
    of_mean = (features.mean(axis=0) - alignment.mean - stain)[:-1] / alignment.std[:-1]
    assert np.abs(error).max() < 0.06  # the noise of a thousand spots, and a hundredth of the way to the reference
    if counts != (600, 300, 100):  # those of the reference
        assert np.abs(of_mean).max() > 0.4


def test_a_slide_that_lost_a_tissue_keeps_what_it_has_as_it_was(alignment):
    features, stain = drawn(alignment, (4000, 4000, 4000)), np.linspace(-1, 1, N_FEATURES) * (alignment.std > 0)
    whole = alignment.apply(features, np.full(12000, "a"))
    lost = alignment.apply(features[:8000] + stain.astype(np.float32), np.full(8000, "b"))
    assert np.abs(lost - whole[:8000]).max() < 0.02
    assert np.abs(whole.mean(axis=0) - whole[:8000].mean(axis=0)).max() > 0.5


def test_it_is_expectation_and_maximisation(alignment):
    """On few spots as well, where compositions of the reference count."""
    broad = dataclasses.replace(alignment, variances=(6 * alignment.variances).astype(np.float32))
    for counts in ((30, 2, 0), (10, 10, 10), (0, 0, 4), (1, 0, 0)):
        features, n = drawn(alignment, counts, stain=0.3), sum(counts)
        for each in (alignment, broad):
            found, varies = slow_offset(each, features), each.std > 0
            expected = (n * found + PRIOR_OF_MEAN * each.mean) / (n + PRIOR_OF_MEAN)  # all nearer than 10 of their std
            np.testing.assert_allclose(each.offset(features)[varies], expected[varies], atol=1e-4)


def test_few_spots_are_drawn_to_the_reference(alignment):
    features = drawn(alignment, (2000, 1000, 1000), stain=2.0)
    far = [
        np.abs(alignment.offset(features[i::step]) - alignment.mean - 2)[:-1].mean() for i, step in ((0, 1), (3, 800))
    ]
    assert far[0] < 0.05
    assert far[1] == pytest.approx(2 * PRIOR_OF_MEAN / (5 + PRIOR_OF_MEAN), abs=0.3)


def test_one_spot_is_aligned(alignment):
    spot = drawn(alignment, (0, 1, 0), stain=1.0)
    result = alignment.apply(spot, np.array(["q"]))
    assert np.isfinite(result).all()
    kind = alignment.profiles[1]
    assert np.linalg.norm(result - kind) < np.linalg.norm(spot - alignment.mean - kind) + SPREAD


def test_what_does_not_vary_in_the_reference_is_zero_whatever_a_query_has(alignment):
    features = drawn(alignment, (50, 50, 50))
    features[:, -1] = np.random.default_rng(3).normal(100, 50, 150)
    result = alignment.apply(features, np.full(150, "a"))
    np.testing.assert_array_equal(result[:, -1], 0)
    features[:, -1] = 0
    np.testing.assert_array_equal(alignment.apply(features, np.full(150, "a")), result)  # and moves nothing else


def test_slides_do_not_see_each_other_and_order_does_not_count(alignment):
    features = np.concatenate([drawn(alignment, (40, 40, 40)), drawn(alignment, (10, 0, 90), stain=2.0, seed=5)])
    slides = np.repeat(["a", "b"], [120, 100])
    together = alignment.apply(features, slides)
    alone = alignment.apply(features[slides == "b"], slides[slides == "b"])
    np.testing.assert_allclose(together[slides == "b"], alone, atol=1e-5)
    order = np.random.default_rng(6).permutation(220)
    np.testing.assert_allclose(alignment.apply(features[order], slides[order]), together[order], atol=1e-3)


def test_kinds_that_the_reference_lacks_are_never_found(alignment):
    """Places of the arrays beyond its kinds are zeros, and no spot is taken for one of those."""
    features = drawn(alignment, (60, 30, 10))
    other = dataclasses.replace(alignment, profiles=np.where(alignment.shares[:, None] > 0, alignment.profiles, 1e6))
    np.testing.assert_array_equal(other.offset(features), alignment.offset(features))
