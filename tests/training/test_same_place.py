import numpy as np
import pytest

from bleep_sc.training.same_place import learn_place

N = 90


@pytest.fixture
def sections():
    """Three sections of one field: genes 0 to 5 by place, 6 to 11 by morphology, 12 to 14 by both, the rest by chance."""
    rng = np.random.default_rng(0)
    x, y = (axis.ravel() * 100.0 for axis in np.meshgrid(np.arange(10), np.arange(9)))
    centers = np.tile(np.stack([x, y], axis=1), (3, 1)) + rng.uniform(-40, 40, (3 * N, 2))
    slides = np.repeat(["a", "b", "c"], N)
    hidden, shown = np.sin(centers[:, :1] / 200), rng.normal(size=(3 * N, 1))
    signal = np.concatenate([np.repeat(hidden, 6, 1), np.repeat(shown, 6, 1), np.repeat(hidden + shown, 3, 1)], axis=1)
    truth = np.concatenate([signal, np.zeros((3 * N, 3))], axis=1) + rng.normal(0, 0.4, (3 * N, 18))
    morphology = np.concatenate([np.zeros((3 * N, 6)), np.repeat(shown, 9, 1), np.zeros((3 * N, 3))], axis=1)
    morphology += rng.normal(0, 0.2, morphology.shape)
    laid = {name: np.where((slides == name)[:, None], np.nan, centers) for name in "abc"}
    return morphology.astype(np.float32), truth.astype(np.float32), slides, centers, laid


def test_genes_go_by_place_as_far_as_that_says_more(sections):
    _, learnt = learn_place(*sections)
    by_place, by_morphology, by_both = learnt.shrinkage[:6], learnt.shrinkage[6:12], learnt.shrinkage[12:15]
    assert by_place.min() > 0.8
    assert by_morphology.max() < 0.2
    assert by_both.min() > by_morphology.max()
    assert by_both.max() < by_place.min()
    assert learnt.predictability[:12].min() > 0.7
    assert np.abs(learnt.predictability[15:]).max() < 0.3


def test_places_count_as_far_as_neighbours_are_alike(sections):
    morphology, truth, slides, centers, laid = sections
    near, _ = learn_place(morphology, truth, slides, centers, laid)
    wide = np.sin(centers[:, :1] / 900) + np.random.default_rng(1).normal(0, 1.5, truth.shape)
    far, _ = learn_place(morphology, wide.astype(np.float32), slides, centers, laid)
    assert near <= 100 < far


def test_the_order_of_the_spots_changes_nothing(sections):
    morphology, truth, slides, centers, laid = sections
    width_um, learnt = learn_place(morphology, truth, slides, centers, laid)
    order = np.random.default_rng(0).permutation(len(slides))
    turned = {name: points[order] for name, points in laid.items()}
    again_um, again = learn_place(morphology[order], truth[order], slides[order], centers[order], turned)
    assert again_um == width_um
    for name in ("shrinkage", "predictability", "residuals", "error"):
        np.testing.assert_allclose(getattr(again, name), getattr(learnt, name), rtol=1e-3, atol=1e-4)


def test_spots_that_morphology_did_not_hold_out_are_copied_from_and_not_judged(sections):
    morphology, truth, slides, centers, laid = sections
    whole = learn_place(morphology, truth, slides, centers, laid)[1]
    morphology = morphology.copy()
    morphology[::3] = np.nan
    learnt = learn_place(morphology, truth, slides, centers, laid)[1]
    np.testing.assert_allclose(learnt.shrinkage[:12], whole.shrinkage[:12], atol=0.15)
    assert learnt.std == pytest.approx(truth[np.arange(3 * N) % 3 > 0].std(axis=0), rel=1e-5)


def test_what_a_section_measured_says_nothing_of_what_it_is_predicted_as(sections):
    """Its own spots have no place on it: were they copied, noise would be predicted."""
    morphology, truth, slides, centers, laid = sections
    noise = np.random.default_rng(2).normal(size=truth.shape).astype(np.float32)
    _, learnt = learn_place(np.zeros_like(morphology), noise, slides, centers, laid)
    assert np.nanmax(np.abs(learnt.predictability)) < 0.35
    assert learnt.typical_shrinkage < 0.3
